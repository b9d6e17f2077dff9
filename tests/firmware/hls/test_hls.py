"""HLS projects: what is written, what is refused, and that the C simulation computes what the adder graph does."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import math
import re
import shutil
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.firmware.models import PART, samples
from weft.adder_graph import AdderGraph
from weft.config import HlsConfig
from weft.errors import ConfigError, RunError, ShapeError, ToolError, ToolNotFoundError, UnsupportedError
from weft.firmware import extreme_inputs, verify
from weft.firmware.hls import (
    HlsProject,
    HlsSimulation,
    compare,
    csim,
    emit,
    level_of,
    objection,
    project,
    simulate,
)
from weft.firmware.hls.project import Tap

CLOCK_NS = 2.5


@pytest.fixture(scope="session")
def x(graph):
    return np.concatenate([samples(1000, 6), extreme_inputs(graph)])


@pytest.fixture(scope="session")
def simulation(model, tmp_path_factory):
    """A project for Vitis whose layers share multipliers, compiled."""
    config = HlsConfig(strategy="resource", reuse_factor={"d0": 6, "d1": 4})
    return HlsSimulation(emit(model, tmp_path_factory.mktemp("hls") / "project", config, PART, CLOCK_NS))


def test_the_c_simulation_computes_what_the_adder_graph_computes(simulation, graph, x):
    pair = compare(simulation, graph, x)
    assert pair.levels == ("adder_graph", "hls_csim") and simulation.name == "hls_csim"
    assert (pair.mismatches, pair.values) == (0, 3 * len(x)) and len(x) >= 1000


def test_the_c_simulation_is_a_level_of_verification(simulation, model, graph, x):
    found = verify(model, graph, None, x[:200], further=[simulation], seek=False)
    assert found.status == "exact" and found.levels == ("keras", "adder_graph", "hls_csim")
    assert found.pairs[-1].levels == ("adder_graph", "hls_csim") and found.pairs[-1].values == 3 * found.samples


def test_a_level_that_cannot_be_simulated_says_why(tmp_path, monkeypatch):
    assert level_of(tmp_path) == (None, {"hls_csim": f"there is no HLS project in {tmp_path}"})
    made = HlsProject(tmp_path, "oneapi", "resource", "parallel", "Agilex7", 5.0, 2, 1, "hls4ml 1.3.0")
    (tmp_path / "hls_project.json").write_text(json.dumps({"schema": 1, **made.describe()}))
    assert "does not compile for oneapi, since its projects need SYCL" in level_of(tmp_path)[1]["hls_csim"]
    made = dataclasses.replace(made, backend="vitis")
    (tmp_path / "hls_project.json").write_text(json.dumps({"schema": 1, **made.describe()}))
    monkeypatch.setattr(csim.shutil, "which", lambda name: None)
    assert level_of(tmp_path) == (
        None,
        {"hls_csim": "C simulation needs g++, which is not on PATH; install it ('apt install g++' on Debian)"},
    )


def test_an_unchanged_project_is_compiled_once_even_if_moved_and_a_changed_one_anew(simulation, graph, x, tmp_path):
    there = shutil.copytree(simulation.project.directory, tmp_path / "moved", copy_function=shutil.copy)
    log, source = there / csim.LOG, there / "firmware" / "model.cpp"
    [first] = there.glob("csim-*")
    log.write_text("not compiled")
    again = HlsSimulation(HlsProject.open(there))
    shutil.move(simulation.project.directory, tmp_path / "away")  # nothing of it is read
    try:
        assert compare(again, graph, x).mismatches == 0 and log.read_text() == "not compiled"
    finally:
        shutil.move(tmp_path / "away", simulation.project.directory)

    changed, n = re.subn(r"(layer\d+_out)(, w\d+, b\d+\);) // d2", r"\1\2 \1[0] = \1[1];", source.read_text())
    assert n == 1
    source.write_text(changed)
    pair = compare(level_of(there)[0], graph, x)
    assert pair.outputs == (0,) and log.read_text() == ""
    [second] = there.glob("csim-*")
    assert second.name != first.name


def test_one_changed_weight_is_found_in_its_layer(simulation, model, graph, x):
    """hls4ml's C++ reads weights from text when the program starts."""
    inside = simulation.project.directory / "firmware"
    [name] = re.findall(r"(w\d+), b\d+\); // d1$", (inside / "model.cpp").read_text(), re.MULTILINE)
    place = inside / "weights" / f"{name}.txt"
    before = place.read_text()
    values = before.split(", ")
    place.write_text(", ".join([str(float(values[0]) + 0.125), *values[1:]]))
    try:
        found = verify(model, graph, None, x, further=[simulation], seek=False)
    finally:
        place.write_text(before)
    pair = found.pairs[-1]
    assert pair.mismatches > 100 and pair.first_sample is not None
    assert (pair.first_diverging_layer, pair.layer_format) == ("d1", "fixed<6,4,RND,WRAP,0>")
    assert found.sentence.endswith("from layer 'd1' on")


ROUNDED = {
    "TRN": math.floor,
    "RND": lambda code: math.floor(code + Fraction(1, 2)),
    "RND_CONV": round,  # of a Fraction: half to even
}


@given(
    st.integers(1, 8),
    st.integers(-3, 9),
    st.sampled_from(list(ROUNDED)),
    st.sampled_from(["WRAP", "SAT", "SAT_SYM"]),
    st.booleans(),
    st.lists(st.integers(-(2**13), 2**13), min_size=1, max_size=20),
)
def test_a_value_is_cast_as_the_types_of_hls_do(width, integer, rounding, overflow, signed, sixteenths):
    low, high = (-(2 ** (width - 1)), 2 ** (width - 1) - 1) if signed else (0, 2**width - 1)
    step, expected = Fraction(2) ** (integer - width), []
    for value in sixteenths:
        code = ROUNDED[rounding](Fraction(value, 16) / step)
        if overflow == "WRAP":
            code = (code - low) % 2**width + low
        else:
            code = max(-high if overflow == "SAT_SYM" and signed else low, min(high, code))
        expected.append(float(code * step))
    name = f"{'' if signed else 'u'}fixed<{width},{integer},{rounding},{overflow},0>"
    assert csim._cast(np.array(sixteenths) / 16, name).tolist() == expected


def test_a_type_that_is_not_known_and_a_variable_that_is_not_written_are_left_out():
    taps = [Tap("a", "layer4_out", "a_t", 2, "fixed<4,2,TRN,WRAP,0>"), Tap("b", "layer5_out", "b_t", 1, "int<4>")]
    code = "a_t layer4_out[2];\n    nnet::dense<x, a_t>(x, layer4_out); // a\n    nnet::relu<a_t, y>(layer4_out, y);"
    tapped, found = csim._tapped(code, taps)
    assert found == taps[:1] and tapped.splitlines()[2] == (
        '    nnet::save_layer_output<a_t>(layer4_out, "layer4_out", 2);'
    )
    assert len(tapped.splitlines()) == 4 and csim._FORMAT.fullmatch("int<4>") is None


def test_a_project_says_what_it_is_and_can_be_opened_again(simulation):
    made = simulation.project
    assert HlsProject.open(made.directory) == made
    assert made.describe() == {
        "backend": "vitis", "strategy": "resource", "io": "parallel", "part": PART, "clock_period_ns": CLOCK_NS,
        "n_in": 6, "n_out": 3, "compiler": f"hls4ml {importlib.metadata.version('hls4ml')}",
    }  # fmt: skip
    tcl = (made.directory / "project.tcl").read_text()
    assert f'set part "{PART}"' in tcl and f"set clock_period {CLOCK_NS}" in tcl
    written = (made.directory / "firmware" / "parameters.h").read_text()
    assert [f"reuse_factor = {n};" in written for n in (6, 4, 1)] == [True] * 3
    scratch = [p for p in made.directory.rglob("*") if p.is_file() and b".project." in p.read_bytes()]
    assert scratch == []  # no file names the directory it was written in


def test_inputs_of_another_size_are_named(simulation):
    with pytest.raises(ShapeError, match=r"takes 6 values an input; got 4, from an array of shape \(2, 4\)"):
        simulation.run(np.zeros((2, 4)))


def test_a_program_that_crashes_or_stops_halfway_is_an_error(tmp_path):
    made = object.__new__(HlsSimulation)
    made.project = HlsProject(tmp_path, "vitis", "latency", "parallel", PART, 5.0, 2, 1, "hls4ml 1.3.0")
    made._directory, made._timeout_s = tmp_path, 5.0
    program = made._program = tmp_path / "simulate"
    for script, message in (("kill -SEGV $$", "killed by SIGSEGV"), ("printf 12345678", "put out 1 values instead of")):
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        with pytest.raises(ToolError, match=message):
            made.run(np.zeros((3, 2)))


@pytest.mark.parametrize(
    ("backend", "part", "holds"),
    [
        ("oneapi", "Agilex7", ("CMakeLists.txt", 'set(FPGA_DEVICE "Agilex7")')),
        ("libero", "MPF300", ("config.tcl", "set_project PolarFire MPF300")),
        ("catapult", "xcvu13p-flga2577-2-e", ("build_prj.tcl", "xcvu13p-flga2577-2-e")),
        ("vivado", None, ("project.tcl", 'set backend "vivado"')),
    ],
)
def test_a_backend_gets_its_own_configuration(model, graph, tmp_path, backend, part, holds):
    config = HlsConfig.model_validate({"backend": backend, "strategy": "resource", "part": part})
    made = emit(model, tmp_path / "project", config, PART, CLOCK_NS)
    name, text = holds
    assert text in (made.directory / name).read_text()
    assert (made.backend, made.part) == (backend, part or PART)
    if backend in ("oneapi", "libero"):
        found = simulate(made, graph, samples(2, 6))
        assert found["status"] == "not simulated" and f"written for {backend}, and not simulated" in found["sentence"]
        with pytest.raises(
            UnsupportedError, match=f"g.. alone does not compile for {backend}, since its projects need"
        ):
            HlsSimulation(made)


def test_layers_whose_names_are_none_in_cpp_are_renamed_in_the_project_only(tmp_path):
    import keras
    from hgq.layers import QDense

    x = inputs = keras.Input((4,), name="input")
    for name in ("a-b", "a_b", "output"):
        x = QDense(2, name=name)(x)
    model = keras.Model(inputs, x)
    made = emit(model, tmp_path / "project", HlsConfig(strategy="resource", reuse_factor={"a-b": 4}), PART, CLOCK_NS)
    source = (made.directory / "firmware" / "model.cpp").read_text()
    assert all(f"// {name}\n" in source for name in ("layer_a_b", "a_b", "output"))
    assert "reuse_factor = 4;" in (made.directory / "firmware" / "parameters.h").read_text()
    assert [layer.name for layer in model.layers] == ["input", "a-b", "a_b", "output"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backend", "strategy", "io"),
    [
        ("vitis", "latency", "parallel"),
        ("vitis", "latency", "stream"),
        ("vitis", "distributed_arithmetic", "parallel"),
        ("vivado", "latency", "parallel"),
        ("quartus", "resource", "parallel"),
        ("catapult", "latency", "stream"),
    ],
)
def test_every_backend_that_gxx_compiles_is_exact(model, graph, x, tmp_path, backend, strategy, io):
    part = "Arria10" if backend == "quartus" else None
    config = HlsConfig.model_validate({"backend": backend, "strategy": strategy, "io": io, "part": part})
    made = emit(model, tmp_path / "project", config, PART, CLOCK_NS)
    found = simulate(made, graph, x)
    assert found["status"] == "exact", found["sentence"]
    assert found["sentence"].startswith(f"adder_graph = hls_csim on {len(x)} inputs, bit for bit")


def test_parts_of_other_makers_are_refused(model, tmp_path):
    quartus = HlsConfig(backend="quartus", strategy="resource")
    with pytest.raises(
        ConfigError, match=r"quartus backend does not compile for 'xcvu13p.*firmware\.hls\.part.*Arria10"
    ):
        emit(model, tmp_path / "a", quartus, PART, CLOCK_NS)
    with pytest.raises(ConfigError, match=r"vitis backend compiles for AMD's parts, and target.part is 'lfe5u-85f'"):
        emit(model, tmp_path / "a", HlsConfig(), "lfe5u-85f", CLOCK_NS)
    assert not (tmp_path / "a").exists()


def test_other_files_are_not_written_over(model, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match=r"will not write an HLS project over .* holds other files"):
        emit(model, tmp_path, HlsConfig(), PART, CLOCK_NS)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    with pytest.raises(RunError, match=r"cannot open the HLS project .* run 'weft hls' again"):
        HlsProject.open(tmp_path)


def test_what_hls4ml_cannot_convert_leaves_nothing_behind(model, tmp_path, monkeypatch):
    def convert(*_):
        raise AssertionError("no such thing")

    monkeypatch.setattr(project, "_convert", convert)
    with pytest.raises(
        UnsupportedError, match=r"cannot write an HLS project of 'mlp' by hls4ml .*no such thing; its lay"
    ):
        emit(model, tmp_path / "project", HlsConfig(), PART, CLOCK_NS)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("package", "strategy"), [("hls4ml", "latency"), ("da4ml", "distributed_arithmetic")])
def test_a_missing_package_is_named_with_its_cure(monkeypatch, package, strategy):
    def missing(name):
        if name == package:
            raise importlib.metadata.PackageNotFoundError(name)
        return "1.3.0"

    monkeypatch.setattr(project, "version", missing)
    monkeypatch.setattr(project.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        ToolNotFoundError, match=rf"'{package}', which is missing; pip install 'weft\[hls4ml\]'"
    ) as error:
        project.find(strategy)
    assert error.value.exit_code == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backend": "quartus"}, "quartus backend has no strategy 'latency'; it has resource"),
        ({"backend": "catapult", "strategy": "distributed_arithmetic"}, "it has latency, resource"),
        ({"strategy": "distributed_arithmetic", "reuse_factor": 2}, "no multipliers to share; got 2, set 1"),
        ({"reuse_factor": {"a": 0}}, "a multiplier makes one product or more; got 0"),
        ({"backend": "libero", "io": "stream"}, "libero backend has no streams; set parallel"),
        ({"cosim": True}, "the vendor's tool simulates the RTL that it makes; set build: vendor, or false"),
        ({"backend": "catapult", "build": "vendor"}, "weft runs the tools of vitis and vivado only; set none"),
    ],
)
def test_what_a_backend_cannot_do_is_refused_with_the_configuration(options, message):
    with pytest.raises(ValueError, match=message):
        HlsConfig.model_validate(options)


def test_an_illegal_reuse_factor_is_refused_before_conversion(model):
    config = HlsConfig(strategy="resource", reuse_factor={"d0": 5})
    assert objection(model, config) == (
        "layer 'd0' of 6 inputs and 8 outputs cannot have reuse factor 5 under strategy resource; the nearest that it "
        "can have are 3 and 6 (of 1, 2, 3, 6, 12, 24, 48)"
    )
    assert "names 'd7', which is no layer with products" in objection(model, HlsConfig(reuse_factor={"d7": 2}))
    assert "fewer than its reuse factor of 49" in objection(model, HlsConfig(reuse_factor={"d0": 49}))
    assert objection(model, HlsConfig(strategy="resource", reuse_factor={"d0": 6})) is None


def test_nothing_is_written_for_a_design_that_is_refused(model, tmp_path):
    config = HlsConfig(strategy="resource", reuse_factor={"d0": 5})
    with pytest.raises(
        UnsupportedError,
        match=r"will not write an HLS project of '.*' by hls4ml .*, backend vitis, strategy resource, io parallel:",
    ):
        emit(model, tmp_path / "a", config, PART, CLOCK_NS)
    assert not (tmp_path / "a").exists()


def test_layers_that_come_out_wrong_are_refused_with_the_reason():
    import keras
    from hgq.config import QuantizerConfigScope
    from hgq.layers import QGRU, QAdd, QConv1D, QConv2D, QDense, QMultiHeadAttention, QSoftmax

    def said(shape, build, **options):
        inputs = keras.Input(shape, name="features")
        return objection(keras.Model(inputs, build(inputs)), HlsConfig(**options))

    dense = lambda name: QDense(3, name=name)  # noqa: E731
    assert said((4,), dense("d")) is None
    assert "compiles and is wrong; use activation='relu'" in said((4,), lambda i: keras.layers.ReLU()(dense("d")(i)))
    assert "its fall-back it compiles and is wrong" in said((4, 3), lambda i: QMultiHeadAttention(1, 2)(i, i))
    assert "no exact types for recurrent layers" in said((4, 3), QGRU(2))
    assert "is of no kind that was found to come out right" in said((4,), lambda i: keras.layers.UnitNormalization()(i))
    assert "is an operation on tensors (GetItem)" in said((4,), lambda i: dense("d")(i)[:, :2])
    with QuantizerConfigScope(place="datalane", default_q_type="kif", i0=3, f0=2):
        mixed = dense("d")
    assert said((4,), mixed, io="stream") is None  # all alike so far
    mixed.iq.quantizer._f.assign(np.arange(4.0)[None])
    assert "and a stream has one" in objection(keras.Model(mixed.input, mixed.output), HlsConfig(io="stream"))
    merged = lambda i: QAdd()([dense("e")(i), dense("f")(i)])  # noqa: E731
    assert said((4,), merged) is None
    assert "what 'features' gives is read by e and f: a stream cannot" in said((4,), merged, io="stream")
    assert "is a dilated convolution" in said((6, 2), QConv1D(2, 2, dilation_rate=2))
    assert "reads its inputs as if it were not" in said((6, 6, 2), QConv2D(2, 2, dilation_rate=(1, 2)))
    three = lambda join: lambda i: join([dense("e")(i), dense("f")(i), dense("g")(i)])  # noqa: E731
    for join in (QAdd(), keras.layers.Concatenate()):
        assert "hls4ml two; join them in pairs" in said((4,), three(join))
    two = lambda axis: lambda i: keras.layers.Concatenate(axis=axis)([dense("e")(i), dense("f")(i)])  # noqa: E731
    assert "joins along axis 1, which hls4ml counts without the batch; write axis=-2" in said((4, 2), two(1))
    assert said((4, 2), two(-2)) is None
    softmax = QSoftmax()
    assert said((4,), softmax) is None
    softmax.inv_table.iq.quantizer._i.assign([[-1.0]])
    softmax.exp_table.oq.quantizer._i.assign([[2.0]])
    assert "has exponentials with more integer bits than their sum has" in objection(
        keras.Model(softmax.input, softmax.output), HlsConfig()
    )


def test_a_description_that_is_damaged_is_named(tmp_path):
    (tmp_path / "hls_project.json").write_text(json.dumps({"schema": 9}))
    with pytest.raises(RunError, match="its schema is 9, this weft reads 1"):
        HlsProject.open(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("what", ["one input", "one output", "everything"])
def test_pruned_designs_are_exact_down_to_nothing_but_biases(pruned, tmp_path, what):
    small = pruned(what)
    x = samples(1000, 4)
    found = simulate(emit(small, tmp_path / "project", HlsConfig(), PART, CLOCK_NS), AdderGraph.from_model(small), x)
    assert found["status"] == "exact", found["sentence"]

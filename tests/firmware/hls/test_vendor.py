"""Building with the vendor's tools: stand-ins on PATH that work, fail, hang, or leave half of a report."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.firmware.hls import recorded
from tests.firmware.models import PART
from weft.adder_graph import AdderGraph
from weft.config import HlsConfig
from weft.errors import ToolError, ToolNotFoundError, UnsupportedError, VerificationError
from weft.firmware.hls import HlsProject, build, emit
from weft.firmware.hls.cosim import check_outputs, some_rows, write_bench

XML = "model_prj/solution1/syn/report/model_csynth.xml"
COSIM = "model_prj/solution1/sim/report/model_cosim.rpt"
RTL_LOG = "tb_data/rtl_cosim_results.log"
BENCH = np.float32([[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 0.1]]), np.array([[0.5, 0.0, 1 / 3], [1.0, 2.0, 3.0]])


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A PATH with the shell's own programs and stand-ins only; returns what puts a stand-in there."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("sh", "cat", "mkdir", "sleep"):
        (tools / name).symlink_to(shutil.which(name))
    monkeypatch.setenv("PATH", str(tools))

    def put(name: str, *lines: str, files: dict[str, str] | None = None, version: str = "2023.2") -> None:
        for i, (path, text) in enumerate((files or {}).items()):
            (tools / f"{name}.{i}").write_text(text)
            lines = (f"mkdir -p {os.path.dirname(path) or '.'}; cat {tools}/{name}.{i} > {path}", *lines)
        asked = f'if [ "$1" = -version ]; then echo "vivado v{version} (64-bit)"; exit 0; fi'
        (tools / name).write_text("\n".join(["#!/bin/sh", asked, f'echo "{name}" "$@" >> called', *lines, ""]))
        (tools / name).chmod(0o755)

    return put


def project_in(place, backend="vitis"):
    place.mkdir()
    return HlsProject(place, backend, "latency", "parallel", PART, 5.0, 6, 3, "hls4ml 1.3.0")


ROUTED = {
    "weft_synth.rpt": recorded.utilization_rpt(),
    "weft_route.rpt": recorded.utilization_rpt("Routed", lut=1400),
    "weft_timing.rpt": recorded.TIMING_RPT,
}


def test_a_build_goes_from_c_synthesis_to_routing(machine, tmp_path):
    machine(
        "vitis-run",
        "echo working",
        files={XML: recorded.csynth_xml("2024.1"), COSIM: recorded.COSIM_RPT, RTL_LOG: "0.5 0 0.333333 \n1 2 3 \n"},
    )
    machine("vivado", files=ROUTED)
    project = project_in(tmp_path / "project")
    found = build(project, cosim=BENCH)
    assert (
        project.directory / "tb_data" / "tb_input_features.dat"
    ).read_text() == "0 1 2 3 4 5\n6 7 8 9 10 0.10000000149011612\n"
    assert {stage: quantities["lut"].value for stage, quantities in found.items() if stage != "cosim"} == {
        "hls_report": 2532, "synthesis": 1526, "post_route": 1400,
    }  # fmt: skip
    assert found["hls_report"]["lut"].source == "Vitis HLS 2024.1, C synthesis"
    assert found["cosim"]["latency_cycles"].value == 9
    assert found["post_route"]["fmax_mhz"].value == 250
    called = (project.directory / "called").read_text().splitlines()
    assert called[0] == "vitis-run --mode hls --tcl build_prj.tcl"
    assert called[1] == "vivado -mode batch -nojournal -nolog -source weft_route.tcl"
    assert (project.directory / "vendor.log").read_text() == "working\n"
    options = (project.directory / "build_opt.tcl").read_text()
    assert "synth 1" in options and "cosim 1" in options and "csim 0" in options
    script = (project.directory / "weft_route.tcl").read_text()
    assert f"-part {PART} -mode out_of_context" in script and "create_clock -period 5.0" in script


@pytest.mark.parametrize(
    ("backend", "tool", "xml", "call"),
    [
        ("vitis", "vitis_hls", recorded.csynth_xml(), "vitis_hls -f build_prj.tcl"),
        ("vivado", "vivado_hls", recorded.csynth_xml("2019.2", "DSP48E"),
         "vivado_hls -f build_prj.tcl reset=0 csim=0 synth=1 cosim=0 validation=0 export=0 vsynth=0 fifo_opt=0"),
    ],
)  # fmt: skip
def test_older_tools_are_called_in_their_own_way(machine, tmp_path, backend, tool, xml, call):
    machine(tool, files={XML: xml})
    project = project_in(tmp_path / "project", backend)
    found = build(project)
    assert (project.directory / "called").read_text().strip() == call
    assert found["hls_report"]["dsp"].value == 66
    for stage in ("synthesis", "post_route"):
        assert {(q.value, q.stage, q.reason) for q in found[stage].values()} == {(None, stage, "vivado is not on PATH")}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (("echo 'ERROR: [HLS 200-70] no licence'; exit 1",), r"with Vitis HLS: .*exit code 1.*\n.*no licence"),
        (("kill -SEGV $$",), "killed by SIGSEGV"),
        (("echo done",), r"left no report model_csynth.xml \(No such file or directory\); see vendor.log"),
        ((f"{sys.executable} -c 'x = bytearray(3_000_000_000)'",), r"exit code 1(.|\n)*MemoryError"),
    ],
    ids=["fails", "crashes", "leaves nothing", "takes too much memory"],
)
def test_a_tool_that_goes_wrong_is_an_error_with_its_words(machine, tmp_path, lines, message):
    machine("vitis-run", *lines)
    with pytest.raises(ToolError, match=message) as error:
        build(project_in(tmp_path / "project"), memory_gb=1.0)
    assert error.value.exit_code == 3


def test_a_tool_that_hangs_is_stopped_with_its_children_and_its_log_is_there_meanwhile(machine, tmp_path):
    machine("vitis-run", "echo begun; sleep 60 & sleep 60")
    project = project_in(tmp_path / "project")
    start = time.monotonic()
    with pytest.raises(ToolError, match=r"not done after the limit of 1 s; the end of .*vendor.log:\nbegun"):
        build(project, timeout_s=1.0)
    assert time.monotonic() - start < 20


def test_half_a_report_is_no_result(machine, tmp_path):
    whole = recorded.csynth_xml()
    machine("vitis-run", files={XML: whole[: len(whole) // 2]})
    with pytest.raises(ToolError, match="cannot read the C synthesis report"):
        build(project_in(tmp_path / "project"))


def test_what_an_earlier_build_left_is_no_result_of_this_one(machine, tmp_path):
    machine("vitis-run", files={XML: recorded.csynth_xml()})
    machine("vivado", files=ROUTED)
    project = project_in(tmp_path / "project")
    build(project)
    machine("vivado", "true")  # ends well, and writes nothing
    with pytest.raises(ToolError, match=r"left no report weft_synth.rpt"):
        build(project)
    machine("vitis-run", "true")
    with pytest.raises(ToolError, match=r"left no report model_csynth.xml"):
        build(project)


def test_tools_that_are_too_old_are_named(machine, tmp_path):
    machine("vitis-run", files={XML: recorded.csynth_xml("2012.1")})
    with pytest.raises(ToolNotFoundError, match=r"Vitis HLS 2012.1 is too old: its reports are read from 2018.1 on"):
        build(project_in(tmp_path / "project"))
    machine("vivado", version="2014.1")
    with pytest.raises(ToolNotFoundError, match=r"Vivado 2014.1 is too old: its reports are read from 2019.2 on"):
        build(project_in(tmp_path / "other"))
    assert not (tmp_path / "other" / "called").exists()  # before hours of C synthesis


def test_a_design_that_vivado_finds_too_large_is_named_with_its_part(machine, tmp_path):
    machine("vitis-run", files={XML: recorded.csynth_xml()})
    machine("vivado", "echo 'ERROR: [DRC UTLZ-1] Resource utilization: LUT over-utilized'; exit 1")
    with pytest.raises(ToolError, match=rf"does not fit on {PART}: Vivado says 'ERROR: .DRC UTLZ-1. .*; compress it"):
        build(project_in(tmp_path / "project"))


def test_what_every_stage_counts_beyond_the_part_is_said(machine, tmp_path):
    machine("vitis-run", files={XML: recorded.csynth_xml()})
    machine("vivado", files=ROUTED | {"weft_synth.rpt": recorded.utilization_rpt(lut=432_001)})
    project = project_in(tmp_path / "project")
    found = build(project)
    assert found["hls_report"]["lut"].reason is None
    assert found["synthesis"]["lut"].reason == "spans super logic regions: 432,001 LUT of 432,000 in one"
    other = build(dataclasses.replace(project, part="xc7a35ticsg324-1L"))
    assert other["synthesis"]["lut"].reason == "does not fit: 432,001 LUT of 20,800"
    unknown = build(dataclasses.replace(project, part="a part of its own"))
    assert unknown["synthesis"]["lut"].reason is None


def test_rtl_that_differs_from_its_c_is_a_failed_verification(machine, tmp_path):
    machine("vitis-run", files={XML: recorded.csynth_xml(), COSIM: recorded.COSIM_RPT.replace("Pass", "Fail")})
    with pytest.raises(VerificationError, match=r"the co-simulation ended with status Fail; see vendor.log"):
        build(project_in(tmp_path / "project"), cosim=BENCH)


@pytest.mark.parametrize(
    ("log", "error", "message"),
    [
        ("0.5 0 0.333333\n1 2 3.00001\n", VerificationError,
         r"differs from its C\+\+ in 1 of 6 outputs: in row 1, output 2 is 3.00001 and not 3; report it to the maker"),
        ("0.5 0 0.333333\n", ToolError, r"put out 1 rows in .*cosim_results.log, not 2 of 3 values; see vendor.log"),
        ("0.5 0 nonsense\n1 2 3\n", ToolError, r"cannot read what the co-simulation put out in .*: could not convert"),
        (None, ToolError, r"cannot read what the co-simulation put out in .*log: .*No such file"),
    ],
    ids=["differs", "half", "no numbers", "nothing"],
)  # fmt: skip
def test_a_co_simulation_that_passed_is_still_compared_value_by_value(machine, tmp_path, log, error, message):
    files = {XML: recorded.csynth_xml(), COSIM: recorded.COSIM_RPT} | ({RTL_LOG: log} if log else {})
    machine("vitis-run", files=files)
    project = project_in(tmp_path / "project")
    (project.directory / "tb_data").mkdir()
    (project.directory / RTL_LOG).write_text("0.5 0 0.333333\n1 2 3\n")  # of an earlier simulation
    with pytest.raises(error, match=message):
        build(project, cosim=BENCH)


def test_what_the_test_bench_of_hls4ml_prints_is_what_is_compared(model, tmp_path):
    """g++ stands for the simulator: the C++ is what the RTL should be."""
    project = emit(model, tmp_path / "project", HlsConfig(), PART, 5.0)
    x = np.random.default_rng(0).normal(size=(20, *model.input_shape[1:])).astype(np.float32)
    expected = AdderGraph.from_model(model).predict(x)
    write_bench(project, x, expected)
    flags = ("-std=c++17", "-DRTL_SIM", '-DWEIGHTS_DIR="firmware/weights"', "-I.", "-Ifirmware/ap_types")
    for command in (("g++", *flags, "model_test.cpp", "firmware/model.cpp", "-o", "bench"), ("./bench",)):
        subprocess.run(command, cwd=project.directory, check=True, capture_output=True, timeout=300)
    check_outputs(project, expected)
    with pytest.raises(VerificationError, match="differs from its C"):
        check_outputs(project, expected + 2.0**-8 * (np.arange(expected.size) == 7).reshape(expected.shape))


def test_co_simulated_rows_are_from_all_of_them():
    assert some_rows(np.arange(7)).tolist() == list(range(7))
    rows = some_rows(np.arange(5000))
    assert len(rows) == 100 and (rows[0], rows[-1]) == (0, 4999)


def test_a_missing_tool_is_named_with_its_cure(machine, tmp_path):
    with pytest.raises(
        ToolNotFoundError, match=r"needs Vitis HLS, and there is no vitis-run or vitis_hls on PATH; source set"
    ):
        build(project_in(tmp_path / "project"))
    with pytest.raises(UnsupportedError, match="not those of quartus"):
        build(project_in(tmp_path / "other", "quartus"))


@pytest.mark.vendor
@pytest.mark.parametrize("backend", ["vitis", "vivado"])
def test_the_real_tools(model, tmp_path, backend):
    tools = {"vitis": ("vitis-run", "vitis_hls"), "vivado": ("vivado_hls",)}[backend]
    if not any(shutil.which(tool) for tool in tools):
        pytest.skip(f"none of {', '.join(tools)} is on PATH")
    config = HlsConfig.model_validate({"backend": backend})
    x = np.random.default_rng(0).normal(size=(20, *model.input_shape[1:])).astype(np.float32)
    bench = x, AdderGraph.from_model(model).predict(x)
    found = build(emit(model, tmp_path / "project", config, PART, 5.0), cosim=bench)
    assert found["hls_report"]["lut"].value > 0 and found["hls_report"]["ii_cycles"].value == 1
    assert found["cosim"]["latency_cycles"].value >= 1

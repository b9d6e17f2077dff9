"""Vivado, with a stand-in on PATH: the script it is given, the reports it leaves, and every way it fails."""

from __future__ import annotations

import os
import shutil
import stat

import pytest

from tests.firmware.hls import recorded
from tests.firmware.models import PART, mlp, randomised
from weft.adder_graph import AdderGraph
from weft.config import RtlConfig
from weft.errors import ToolError, ToolNotFoundError, UnsupportedError
from weft.firmware import emit, vivado_reports
from weft.firmware.synth import vivado


def utilization(version, rows, *, prohibited):
    """Return a report in the layout of a version: from 2021 on tables have a column more."""
    head = ["Site Type", "Used", "Fixed", *(["Prohibited"] if prohibited else []), "Available", "Util%"]

    def table(title, lines):
        width = max(len(name) for name, _ in lines) + 2
        bar = f"+{'-' * width}+" + "".join(f"{'-' * (len(h) + 2)}+" for h in head[1:])
        text = [title, "-" * len(title), "", bar, "|" + "|".join(f" {h} " for h in head) + "|", bar]
        for name, used in lines:
            cells = [str(used), "0", *(["0"] if prohibited else []), "1728000", "<0.01" if used else "0.00"]
            text.append(f"| {name} |" + "|".join(f" {c} " for c in cells) + "|")
        return [*text, bar, ""]

    text = [
        "Copyright 1986-2022 Xilinx, Inc. All Rights Reserved.",
        "-" * 80,
        f"| Tool Version : Vivado v.{version} (lin64) Build 3064766 Wed Nov 18 09:12:47 MST 2020",
        "| Design       : model",
        "-" * 80,
        "",
        "Utilization Design Information",
        "",
    ]
    for title, lines in rows.items():
        text += table(title, lines)
    text += ["7. Primitives", "-------------", "", "+----------+------+", "| Ref Name | Used | Functional Category |",
             "| CARRY8   |  999 |               CLB |", "+----------+------+", ""]  # fmt: skip
    return "\n".join(text)


def timing(wns="0.822", period="5.000", name="clk"):
    return f"""\
| Tool Version : Vivado v.2023.2

------------------------------------------------------------------------------------------------
| Design Timing Summary
| ---------------------
------------------------------------------------------------------------------------------------

    WNS(ns)      TNS(ns)  TNS Failing Endpoints  TNS Total Endpoints      WHS(ns)      THS(ns)
    -------      -------  ---------------------  -------------------      -------      -------
      {wns}        0.000                      0                 6934       -0.267       -1.034


------------------------------------------------------------------------------------------------
| Clock Summary
| -------------
------------------------------------------------------------------------------------------------

Clock    Waveform(ns)       Period(ns)      Frequency(MHz)
-----    ------------       ----------      --------------
{name}  {{0.000 2.500}}        {period}           200.000


------------------------------------------------------------------------------------------------
| Intra Clock Table
"""


ULTRASCALE = {
    "1. CLB Logic": [
        ("CLB LUTs*", 5804), ("  LUT as Logic", 5640), ("  LUT as Memory", 164), ("CLB Registers", 3420),
        ("CARRY8", 666),
    ],
    "3. BLOCKRAM": [("Block RAM Tile", 1.5), ("  RAMB36/FIFO*", 1), ("  RAMB18", 1), ("URAM", 0)],
    "4. ARITHMETIC": [("DSPs", 80), ("  DSP48E2 only", 80)],
}  # fmt: skip
SERIES_7 = {
    "1. Slice Logic": [("Slice LUTs*", 812), ("  LUT as Logic", 812), ("Slice Registers", 290)],
    "2. Memory": [("Block RAM Tile", 0)],
    "3. DSP": [("DSPs", 2)],
}
LAYOUTS = [("2019.2", False), ("2023.2", True), ("2024.2", True)]


@pytest.mark.parametrize(("version", "prohibited"), LAYOUTS)
def test_reports_of_every_layout_are_read(version, prohibited):
    timed = timing().replace("2023.2", version)
    found = vivado.parse(utilization(version, ULTRASCALE, prohibited=prohibited), timed, "post_route", 11)
    values = {name: one.value for name, one in found.items()}
    assert values == {
        "lut": 5804, "ff": 3420, "dsp": 80, "carry": 666, "bram_18k": 3, "uram": 0,
        "slack_ns": 0.822, "fmax_mhz": 1000 / (5.0 - 0.822), "latency_ns": pytest.approx(11 * 4.178),
    }  # fmt: skip
    assert all(one.stage == "post_route" and one.source == f"Vivado {version}" for one in found.values())
    assert "WNS of 0.822 ns" in found["fmax_mhz"].reason and "of routed wires" in found["fmax_mhz"].reason


@pytest.mark.parametrize(("version", "prohibited"), LAYOUTS)
def test_missing_fields_are_null_with_their_reason(version, prohibited):
    text = utilization(version, SERIES_7, prohibited=prohibited)
    found = vivado.parse(text, timing(wns="NA"), "synthesis", 3)
    assert (found["lut"].value, found["ff"].value, found["dsp"].value) == (812, 290, 2)
    assert found["uram"].value is None and found["uram"].reason == "the report has no row 'URAM'"
    assert found["carry"].reason == "the report has no row 'CARRY8' or 'CARRY4'"  # that of primitives is not one
    assert found["fmax_mhz"].value is None and "no path between registers" in found["fmax_mhz"].reason
    assert found["slack_ns"].value is None and "no path between registers" in found["slack_ns"].reason
    assert "latency_ns" not in found
    late = vivado.parse(text, timing(wns="-1.250"), "synthesis", 3)
    assert late["fmax_mhz"].value == pytest.approx(160.0)
    without = vivado.parse(text, timing().partition("| Clock Summary")[0], "post_route", 3)
    assert (without["fmax_mhz"].value, without["fmax_mhz"].reason) == (None, "the report has no clock")
    assert (without["latency_ns"].value, without["latency_ns"].reason) == (None, "the report has no clock")
    unsaid = vivado.parse(text.replace(" 812 ", " N/A "), timing(), "post_route", 3)
    assert (unsaid["lut"].value, unsaid["lut"].reason) == (None, "the report says 'N/A'")


@pytest.mark.parametrize("share", [0.35, 0.6, 0.9])
def test_a_report_that_ends_in_the_middle_has_nulls_and_no_other_numbers(share):
    """Whole lines count; a number that is cut is none."""
    whole = utilization("2023.2", ULTRASCALE, prohibited=True)
    cut = vivado_reports.utilization(whole[: int(share * len(whole))], "synthesis")
    for name, one in vivado_reports.utilization(whole, "synthesis").items():
        assert cut[name].value == one.value or (cut[name].value is None and "has no row" in cut[name].reason)


@pytest.mark.parametrize("read", [vivado_reports.utilization, vivado_reports.timing])
def test_text_that_is_no_report_or_one_of_another_stage_is_refused(read):
    for text in ("", "| Tool Version : Vi"):
        with pytest.raises(ToolError, match=r"cannot read the \S+ report \(its head names no version of Vivado\); run"):
            read(text, "synthesis")
    placed = f"{timing()}| Design State : Fully Placed\n"
    with pytest.raises(ToolError, match=r"the design is 'Fully Placed', and post_route was asked for"):
        read(placed, "post_route")


def test_reports_of_both_flows_are_read_alike():
    """The HLS flow's reports have a design state, and no carry chains."""
    for state, stage in (("Synthesized", "synthesis"), ("Routed", "post_route")):
        for sites in ("CLB", "Slice"):
            found = vivado_reports.utilization(recorded.utilization_rpt(state, sites=sites), stage)
            values = {name: one.value for name, one in found.items()}
            assert values == {"lut": 1526, "ff": 2428, "dsp": 66, "carry": None, "bram_18k": 3.0, "uram": None}
            assert {(one.stage, one.source) for one in found.values()} == {(stage, "Vivado 2023.2")}
    found = vivado_reports.timing(recorded.TIMING_RPT, "post_route")
    assert (found["slack_ns"].value, found["fmax_mhz"].value) == (1.0, 250.0)


@pytest.fixture(scope="module")
def graph():
    return AdderGraph.from_model(randomised(mlp(2, (2,))))


@pytest.fixture
def project(graph, tmp_path):
    return emit(graph, tmp_path / "a project", PART, 2.5)


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """Return a function that puts a `vivado` on PATH: it answers -version, and else runs a script (COPY: reports)."""
    place = tmp_path / "bin"
    place.mkdir()
    (place / "utilization").write_text(utilization("2023.2", ULTRASCALE, prohibited=True))
    (place / "timing").write_text(timing())
    monkeypatch.setenv("PATH", f"{place}:{os.environ['PATH']}")

    def put(script="", version='echo "vivado v2023.2 (64-bit)"'):
        reports = f'cp "{place}/utilization" utilization.rpt; cp "{place}/timing" timing.rpt'
        path = place / "vivado"
        script = script.replace("COPY", reports) or reports
        path.write_text(f'#!/bin/sh\nif [ "$1" = -version ]; then {version}; exit 0; fi\n{script}\n')
        path.chmod(path.stat().st_mode | stat.S_IEXEC)

    return put


def test_vivado_is_run_out_of_context_and_read(project, stand_in):
    stand_in()
    found = vivado.synthesise(project.directory, PART)
    assert found["lut"].value == 5804 and found["lut"].stage == "synthesis"
    script = (project.directory / "vivado" / "vivado.tcl").read_text()
    assert f"synth_design -top model -part {PART} -mode out_of_context" in script and "route_design" not in script
    assert "create_clock -name clk -period 2.5" in script and "read_verilog {../src/model.v}" in script
    found = vivado.route(project.directory, PART, 2.5)
    assert found["fmax_mhz"].stage == "post_route" and found["latency_ns"].value > 0
    script = (project.directory / "vivado" / "vivado.tcl").read_text()
    assert script.index("place_design") < script.index("route_design") < script.index("report_utilization")


def test_what_vivado_counts_beyond_the_part_is_said_before_it_is_placed(project, stand_in):
    stand_in("""COPY; sed -i 's/ 5804 / 20801 /' utilization.rpt""")
    found = vivado.synthesise(project.directory, "xc7a35ticsg324-1L")
    assert found["lut"].reason == "does not fit: 20,801 LUT of 20,800"
    assert found["ff"].reason is None


def test_vhdl_and_designs_without_a_clock_are_written_as_such(graph, tmp_path):
    rtl = RtlConfig(language="vhdl", pipeline=False)
    text = vivado.emit(emit(graph.written_as(rtl), tmp_path / "p", PART, 5.0), PART, 5.0, routed=True)
    assert "read_vhdl -vhdl2008 {../src/model.vhd}" in text and "create_clock" not in text


def test_a_vivado_that_is_missing_or_too_old_is_named(project, stand_in, monkeypatch):
    for answer, text in {
        'echo "Vivado v2018.3 (64-bit)"': r"Vivado 2018.3 is too old: its reports are read from 2019.2 on",
        "echo hello": r"names no version: 'hello\\n'; source settings64.sh again",
    }.items():
        stand_in(version=answer)
        with pytest.raises(ToolNotFoundError, match=text):
            vivado.synthesise(project.directory, PART)
    monkeypatch.setattr(vivado.shutil, "which", lambda name: None)
    with pytest.raises(ToolNotFoundError, match=r"Vivado is not on PATH; source settings64.sh .*synth: yosys"):
        vivado.route(project.directory, PART, 5.0)


def test_a_part_that_vivado_does_not_know_is_refused(project, stand_in):
    stand_in()
    with pytest.raises(UnsupportedError, match=r"Vivado knows no 'lfe5u-85f'; name a part of AMD"):
        vivado.synthesise(project.directory, "lfe5u-85f")


FAILURES = {
    "hangs": ("sleep 300", r"cannot synthesise .* with Vivado 2023.2: vivado: not done after the limit of \S+ s"),
    "crashes": ("echo boom; kill -SEGV $$", r"(?s)vivado: killed by SIGSEGV; the end of .*vivado.log:\nboom"),
    "fails": ("echo 'ERROR: [Synth 8-439] no module'; exit 1", r"(?s)exit code 1.*\[Synth 8-439\] no module"),
    "says nothing": ("true", r"Vivado 2023.2 ended without utilization.rpt; see .*vivado.log"),
    "does not fit": (
        "echo 'ERROR: [Place 30-640] Place Check : This design requires more CLB LUTs'; exit 1",
        r"the design does not fit on xcvu13p\S*: Vivado says 'ERROR: \[Place 30-640\].*compress it further",
    ),
    "takes too much memory": (
        "ulimit -v | grep -qx 1048576 || exit 3; echo out of memory; exit 137",
        r"(?s)exit code 137.*out of memory",
    ),
}


@pytest.mark.parametrize("how", FAILURES)
def test_every_failure_is_an_error_and_leaves_no_report(project, stand_in, how):
    script, text = FAILURES[how]
    (project.directory / "vivado").mkdir()
    (project.directory / "vivado" / "utilization.rpt").write_text("of an earlier run")
    stand_in(script)
    with pytest.raises(ToolError, match=text):
        vivado.synthesise(project.directory, PART, timeout_s=2.0 if how == "hangs" else 60.0, memory_gib=1.0)
    assert not (project.directory / "vivado" / "utilization.rpt").exists()


@pytest.mark.vendor
@pytest.mark.skipif(shutil.which("vivado") is None, reason="vivado is not on PATH")
def test_the_real_vivado_synthesises_and_routes(project):
    found = vivado.route(project.directory, "xc7z020clg400-1", 5.0)
    assert found["lut"].value > 0 and found["fmax_mhz"].value > 50

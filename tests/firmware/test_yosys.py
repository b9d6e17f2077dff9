"""Synthesis: the script, the report, the families, and real runs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.conftest import fill, small_file_system
from tests.firmware.models import PART
from weft.adder_graph import AdderGraph
from weft.config import find_part
from weft.cost import CostInput, FixedTarget, find
from weft.cost.fractions import shares_of
from weft.errors import RunError, ToolError, ToolNotFoundError
from weft.firmware import Project, emit
from weft.firmware.synth import synthesise, yosys
from weft.firmware.synth.strain import strained

REPORT = (Path(__file__).parent / "reports" / "yosys-0.70.json").read_text()


def test_a_stored_report_is_counted():
    quantities = yosys.parse(REPORT)
    assert {name: q.value for name, q in quantities.items()} == {
        "lut": 4662 + 1290 + 876 + 686 + 298,
        "ff": 2702,
        "dsp": 0,
        "carry": 2051,
        "bram_18k": 0,
        "muxf": 0,
    }
    assert {(q.stage, q.source, q.unit) for q in quantities.values()} == {("synthesis", "yosys 0.70", "count")}
    assert quantities["lut"].reason == "0 of them shift registers; 179 inverters are not counted"


def report_of(**cells):
    return json.dumps({"creator": "Yosys 0.70 (git)", "design": {"num_cells_by_type": cells}})


def test_every_kind_of_cell_counts_as_what_it_takes():
    logic = {"LUT6": 5, "LUT1": 1, "SRL16E": 2, "SRLC32E": 1, "FDRE": 7, "FDSE_1": 1, "MUXF7": 4, "CARRY8": 6, "INV": 9}
    quantities = yosys.parse(report_of(**logic, DSP48E2=3, RAMB18E2=1, RAMB36E2=2))
    values = {name: q.value for name, q in quantities.items()}
    assert values == {"lut": 9, "ff": 8, "dsp": 3, "carry": 6, "bram_18k": 5, "muxf": 4}
    assert yosys.parse(report_of())["lut"].value == 0


def test_cells_of_an_unknown_kind_are_not_ignored():
    with pytest.raises(ToolError, match=r"left cells that weft cannot count: 2 \$_XOR_, 1 RAM64M; see yosys.log"):
        yosys.parse(report_of(LUT2=1, **{"$_XOR_": 2}, RAM64M=1))


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"design": {}, "creator": 3}'])
def test_a_report_that_is_none_is_named(text):
    with pytest.raises(ToolError, match=r"cannot read the cell counts of Yosys .*see yosys.log"):
        yosys.parse(text)


@pytest.mark.parametrize(
    ("family", "flow"),
    [
        ("xcup", "synth_xilinx -family xcup -flatten -noiopad -noclkbuf -top model"),
        ("ecp5", "synth_ecp5 -noiopad -top model -json netlist.json"),
        ("ice40", "synth_ice40 -top model"),
    ],
)
def test_the_script_names_every_source_once(small, family, flow):
    lines = yosys.emit(small.project, family, small.project.directory).splitlines()
    assert lines[0].startswith('read_verilog -defer "src/static/') and lines[0].endswith('"src/model.v"')
    assert lines[1:3] == ["hierarchy -check -top model", flow]
    assert lines[-2:] == ["ltp @logic", "tee -q -o yosys.json.new stat -json"]


def test_what_a_part_does_not_have_is_said():
    found = strained(yosys.parse(report_of(LUT6=20_801, FDRE=41_600)), find_part("xc7a35t"))
    assert found["lut"].value == 20_801 and found["lut"].reason.startswith(
        "does not fit: 20,801 LUT of 20,800; 0 of them"
    )
    assert found["ff"].reason is None
    share = shares_of(found, "xc7a35t")["lut_fraction"]
    assert share.value > 1 and share.reason == found["lut"].reason  # said once


def test_what_is_more_than_a_super_logic_region_of_a_part_is_said():
    found = strained(yosys.parse(report_of(LUT6=432_001)), find_part("xcvu13p"))
    assert found["lut"].reason.startswith("spans super logic regions: 432,001 LUT of 432,000 in one; 0 of them")
    assert found["ff"].reason is None


@pytest.mark.slow
def test_a_full_disk_ends_synthesis_with_an_error_and_no_report(small, tmp_path):
    size = sum(path.stat().st_blocks for path in small.project.directory.rglob("*")) // 2 + 60
    with small_file_system(tmp_path / "disk", size) as place:
        project = copy_of(small.project, place / "project")
        fill(place, 4096)
        with pytest.raises((ToolError, OSError)) as caught:
            synthesise(project.directory, PART)
        assert "No space left" in str(caught.value) or "see yosys.log" in str(caught.value)
        assert not (project.directory / "yosys.json").exists()


def test_the_depth_is_that_of_the_last_path_in_the_log():
    log = "Longest topological path in model (length=63):\n ...\nLongest topological path in model (length=19):"
    assert yosys.depth_of(log).value == 19
    assert yosys.depth_of("").value is None and "names no path; see yosys.log" in yosys.depth_of("").reason


def test_cells_of_lattice_count_as_what_they_take():
    ecp5 = yosys.parse(report_of(LUT4=5, CCU2C=3, TRELLIS_FF=7, MULT18X18D=1, DP16KD=2, PFUMX=1), "ecp5")
    values = {name: q.value for name, q in ecp5.items()}
    assert values == {"lut": 11, "ff": 7, "dsp": 1, "carry": 3, "bram_18k": 2, "muxf": 1}
    assert ecp5["lut"].reason == "of four inputs; a CCU2C of two carries takes two of them"
    ice40 = yosys.parse(report_of(SB_LUT4=5, SB_CARRY=3, SB_DFF=2, SB_DFFESR=1, SB_RAM40_4K=1), "ice40")
    assert {name: q.value for name, q in ice40.items() if q.value} == {"lut": 5, "ff": 3, "carry": 3, "bram_18k": 1}


@pytest.mark.parametrize("part", ["ulx3s-85f", "ice40hx8k", "pynq-z2"])
def test_every_family_is_synthesised_for(small, tmp_path, part):
    quantities = synthesise(copy_of(small.project, tmp_path / "project").directory, part)
    assert quantities["lut"].value > 0 and quantities["ff"].value > 0
    assert 0 < quantities["logic_depth"].value < 100


def test_a_missing_yosys_is_named_with_its_cure(monkeypatch, tmp_path):
    def missing(name):
        raise yosys.PackageNotFoundError(name)

    monkeypatch.setattr(yosys, "version", missing)
    with pytest.raises(ToolNotFoundError, match=r"needs the Python package 'pyosys'.*pip install pyosys"):
        synthesise(tmp_path, PART)


def test_a_directory_without_a_project_is_refused(tmp_path):
    with pytest.raises(RunError, match=r"cannot open the RTL project"):
        synthesise(tmp_path, PART)


def copy_of(project: Project, directory: Path) -> Project:
    shutil.copytree(project.directory, directory)
    return Project.open(directory)


def test_synthesis_agrees_with_the_compilers_intervals(small, tmp_path):
    project = copy_of(small.project, tmp_path / "with spaces")
    quantities = synthesise(project.directory, PART)
    estimate = find("adder_graph").estimate([CostInput(graph=small.graph)], FixedTarget(PART, 2.0))[0]
    for name in ("lut", "ff"):
        assert 0.9 * estimate[name].low <= quantities[name].value <= 1.1 * estimate[name].high, name
    assert quantities["dsp"].value == quantities["bram_18k"].value == 0
    counted = {name: q for name, q in quantities.items() if name != "logic_depth"}
    assert yosys.parse((project.directory / "yosys.json").read_text()) == counted
    assert "Executing SYNTH_XILINX pass" in (project.directory / "yosys.log").read_text()
    assert not (project.directory / "yosys.json.new").exists()


def test_a_design_with_a_dead_output_synthesises(pruned, tmp_path):
    graph = AdderGraph.from_model(pruned("one output"))
    project = emit(graph, tmp_path / "project", "xc7z020clg400-1", 5.0)
    assert synthesise(project.directory, "xc7z020clg400-1")["lut"].value > 0


def test_broken_verilog_fails_with_the_end_of_the_log(small, tmp_path):
    project = copy_of(small.project, tmp_path / "broken")
    (project.directory / "src" / "model.v").write_text("module model (input clk);\n")
    with pytest.raises(ToolError, match=r"(?s)cannot synthesise .*broken with Yosys 0.70.*ERROR.*syntax error"):
        synthesise(project.directory, PART)
    assert not (project.directory / "yosys.json").exists()


def test_synthesis_that_takes_too_long_is_stopped(small, tmp_path):
    project = copy_of(small.project, tmp_path / "slow")
    with pytest.raises(ToolError, match=r"cannot synthesise .*not done after the limit of 0.2 s"):
        synthesise(project.directory, PART, timeout_s=0.2)
    assert not (project.directory / "yosys.json").exists()

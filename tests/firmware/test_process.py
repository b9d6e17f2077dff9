"""Tools that fail, hang or are missing: what the error says, and that nothing is left running."""

from __future__ import annotations

import os
import time

import pytest

from weft.errors import ToolError, ToolNotFoundError
from weft.firmware import _process, vhdl
from weft.firmware._process import run_logged


def run(tmp_path, script, timeout_s=20.0, **more):
    run_logged(["sh", "-c", script], task="do it", log=tmp_path / "log", timeout_s=timeout_s, cwd=tmp_path, **more)


def test_output_goes_to_the_log_and_additions_to_the_environment(tmp_path):
    run(tmp_path, "echo $COLOUR; pwd; echo warning >&2", env={"COLOUR": "green"})
    assert (tmp_path / "log").read_text().splitlines() == ["green", str(tmp_path), "warning"]


def test_streams_can_be_files(tmp_path):
    (tmp_path / "in").write_bytes(b"abc")
    with (tmp_path / "in").open("rb") as stdin, (tmp_path / "out").open("wb") as stdout:
        run(tmp_path, "tr a-c x-z", stdin=stdin, stdout=stdout)
    assert (tmp_path / "out").read_bytes() == b"xyz"


def test_a_failure_shows_the_end_of_the_log(tmp_path):
    script = "i=0; while [ $i -lt 100 ]; do i=$((i+1)); echo line $i; done; exit 7"
    with pytest.raises(ToolError, match=r"cannot do it: sh: exit code 7; the end of .*log:\nline 81\n(.*\n)*line 100$"):
        run(tmp_path, script)


def test_a_killed_tool_is_reported_as_killed(tmp_path):
    with pytest.raises(ToolError, match=r"killed by SIGSEGV; the end of .*:\n\(nothing\)"):
        run(tmp_path, "kill -SEGV $$")


def test_a_tool_that_hangs_dies_with_its_children(tmp_path):
    with pytest.raises(ToolError, match=r"not done after the limit of 1 s"):
        run(tmp_path, "sleep 300 & echo $! > child; wait", timeout_s=1)
    child = int((tmp_path / "child").read_text())
    for _ in range(100):
        if not _alive(child):
            return
        time.sleep(0.05)
    raise AssertionError(f"process {child} is still there")


def test_a_tool_that_does_not_start_is_named(tmp_path):
    with pytest.raises(ToolError, match=r"cannot fly: .*wings does not start"):
        run_logged([str(tmp_path / "wings")], task="fly", log=tmp_path / "log", timeout_s=1, cwd=tmp_path)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("sleep 60", r"'tool --version' does not answer \(.*timed out.*\); buy a new one"),
        ("echo broken >&2; exit 3", r"'tool --version' ended with exit code 3: 'broken'; buy a new one"),
    ],
)
def test_a_program_that_does_not_tell_its_version_is_named(tmp_path, monkeypatch, script, message):
    (tmp_path / "tool").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "tool").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(_process, "VERSION_TIMEOUT_S", 0.3)
    with pytest.raises(ToolNotFoundError, match=message):
        _process.version_text("tool", "--version", cure="buy a new one")
    with pytest.raises(ToolNotFoundError, match=r"'no-such-tool --version' does not answer .*; buy"):
        _process.version_text("no-such-tool", "--version", cure="buy a new one")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("GHDL 0.33 (20150921) [Dunoon edition]", r"ghdl 0.33 is too old: it writes Verilog from 2.0 on; install ghdl"),
        ("hello", r"'ghdl --version' names no version: 'hello\\n'; install ghdl anew"),
    ],
)
def test_a_ghdl_that_is_too_old_is_named(tmp_path, monkeypatch, answer, message):
    (tmp_path / "ghdl").write_text(f"#!/bin/sh\necho '{answer}'\n")
    (tmp_path / "ghdl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(ToolNotFoundError, match=message):
        vhdl.find()
    (tmp_path / "ghdl").write_text("#!/bin/sh\necho 'GHDL 4.1.0 (tarball) [Dunoon edition]'\n")
    assert vhdl.find() == "4.1.0"

"""What a run says that it is doing, also where the process that did it can no longer say anything."""

from __future__ import annotations

import pytest

from weft.config import load
from weft.lock import RunLock
from weft.run import Run
from weft.run.summary import state_of, status_of, summarize


@pytest.fixture
def run(tmp_path):
    experiment = load("jets-demo")
    return Run.create(tmp_path / "run", experiment, "")


def test_it_is_running_from_the_lock_on_and_interrupted_where_its_process_is_gone(run):
    assert status_of(run) == "not begun"
    with RunLock(run.path):
        assert status_of(run) == "running"
        run.log("stage", name="data", state="begins")
        assert status_of(run) == "running"
    assert status_of(run) == "interrupted"  # killed before the first summary
    summarize(run, "running", 1.0)
    assert status_of(run) == state_of(run)["status"] == "interrupted"


@pytest.mark.parametrize("ended", ["failed", "interrupted"])
def test_one_that_goes_on_after_it_ended_early_is_running(run, ended):
    run.log("stage", name="data", state="begins")
    run.log(ended, stage="data")
    summarize(run, ended, 1.0)
    assert status_of(run) == ended
    with RunLock(run.path):
        run.log("stage", name="data", state="begins")
        assert status_of(run) == "running"


@pytest.mark.parametrize("ended", ["finished", "failed"])
def test_while_the_report_is_written_it_is_what_the_report_is_to_say(run, ended):
    with RunLock(run.path):
        run.log("stage", name="firmware", state="begins")
        run.log("stage", name="firmware", state="ends")
        summarize(run, ended, 1.0)
        run.log("stage", name="report", state="begins")
        assert status_of(run) == ended
    run.log("selection", trials=[1], by="mcp")
    assert status_of(run) == ended

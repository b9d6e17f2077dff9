"""The run directory: what begins one, what opens one, what is refused."""

from __future__ import annotations

import json
import logging

import pytest

from weft.config import load
from weft.errors import RunError
from weft.run import Run


def begin(path, *changes):
    return Run.create(path, load("jets-demo", changes), "# as written\n")


def test_a_run_keeps_what_was_written_what_was_meant_and_where(tmp_path):
    run = begin(tmp_path / "run", "search.trials=7")
    assert (run.path / "config.yaml").read_text() == "# as written\n"
    assert Run(run.path).experiment == run.experiment
    assert run.experiment.search.trials == 7
    packages = json.loads((run.path / "environment.json").read_text())["packages"]
    assert packages["optuna"].startswith("5.")


def test_the_same_configuration_opens_the_run_again_also_with_other_workers(tmp_path):
    begin(tmp_path)
    assert begin(tmp_path, "search.workers=1").path == tmp_path


def test_another_configuration_is_refused_with_what_differs(tmp_path):
    begin(tmp_path)
    with pytest.raises(
        RunError, match=r"holds a run of another configuration; different are: search.seed, target.clock"
    ):
        begin(tmp_path, "search.seed=9", "target.clock_period_ns=4.0")


def test_a_directory_without_a_run_is_refused(tmp_path):
    with pytest.raises(RunError, match=r"is not a run directory: it has no config.resolved.yaml; begin a run with"):
        Run(tmp_path)


def test_a_place_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"cannot begin a run in .*; give another directory with --out"):
        begin(tmp_path / "file" / "run")


def test_an_unknown_design_is_refused_with_those_there_are(tmp_path):
    run = begin(tmp_path)
    with pytest.raises(RunError, match="has no design 't9'; it has: none yet"):
        run.design("t9")


STAGES = {
    "search": r"has no data\.json; run its 'data' stage first \('weft run' does\)",
    "build": r"has no designs yet; run 'weft compress .*' first",
}


@pytest.mark.parametrize("stage", list(STAGES))
def test_a_stage_whose_earlier_one_is_missing_names_the_command(tmp_path, stage):
    from weft.cli._progress import bars
    from weft.run.stages import execute

    with pytest.raises(RunError, match=STAGES[stage]):
        execute(begin(tmp_path / "run"), [stage], bars)


def test_events_survive_a_line_torn_by_a_kill(tmp_path, caplog):
    run = begin(tmp_path)
    run.log("stage", name="data", state="begins")
    with open(run.path / "log.jsonl", "a") as handle:
        handle.write('{"event": "st')
    with caplog.at_level(logging.WARNING):
        assert [event["event"] for event in run.events()] == ["stage"]
    assert "left out a damaged line" in caplog.text

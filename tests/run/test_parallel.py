"""Jobs in processes: results, progress, errors, and processes that die."""

from __future__ import annotations

import os
import signal
from multiprocessing import util

import pytest

from weft.errors import BudgetError, RunError
from weft.run.parallel import run_jobs

WORK = "tests.run.work:job"


def test_results_come_back_by_name_from_processes_of_one_thread(tmp_path):
    seen = []
    found = run_jobs(WORK, {f"j{x}": {"x": x, "steps": 2} for x in range(3)}, 2, tmp_path, lambda *p: seen.append(p))
    assert {name: value["answer"] for name, value in found.items()} == {"j0": 0, "j1": 1, "j2": 4}
    assert {value["threads"] for value in found.values()} == {"1"}
    assert len({value["pid"] for value in found.values()} | {os.getpid()}) == 4
    done = [p[0] for p in seen]
    assert done == sorted(done)
    assert done[-1] == 1000
    assert any("step 2" in p[2] for p in seen)


def test_ctrl_c_in_the_middle_of_a_start_waits_for_its_end_and_the_child_has_nothing_to_cry_about(
    tmp_path, monkeypatch, capfd
):
    spawn, started = util.spawnv_passfds, []

    def interrupted(path, arguments, descriptors):
        pid = spawn(path, arguments, descriptors)
        if any("spawn_main" in str(one) for one in arguments):
            started.append(pid)
            os.kill(os.getpid(), signal.SIGINT)
        return pid

    monkeypatch.setattr(util, "spawnv_passfds", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_jobs(WORK, {"a": {"x": 1}, "b": {"x": 2}}, 1, tmp_path)
    assert len(started) == 1
    with pytest.raises(ProcessLookupError):
        os.kill(started[0], 0)
    assert "Traceback" not in capfd.readouterr().err


def test_no_jobs_are_no_work(tmp_path):
    assert run_jobs(WORK, {}, 2, tmp_path) == {}


def test_an_error_keeps_its_class_names_its_job_and_lets_the_others_end(tmp_path):
    jobs = {"bad": {"fail": True}, "good": {"x": 3}}
    with pytest.raises(BudgetError, match="too large by far") as caught:
        run_jobs(WORK, jobs, 1, tmp_path)
    assert "in job 'bad'" in caught.value.__notes__[0]
    assert "BudgetError" in (tmp_path / "bad.log").read_text()


def test_a_defect_in_a_job_is_named_and_its_trace_kept(tmp_path):
    with pytest.raises(RunError, match=r"KeyError: 'nothing here'"):
        run_jobs(WORK, {"odd": {"defect": True}}, 1, tmp_path)
    assert "Traceback" in (tmp_path / "odd.log").read_text()


@pytest.mark.parametrize(("how", "words"), [("die", "signal SIGKILL"), ("leave", "exit code 7")])
def test_a_process_that_dies_is_named_with_how(tmp_path, how, words):
    with pytest.raises(RunError, match=rf"the process of job 'gone' died \({words}\).*same command goes on"):
        run_jobs(WORK, {"gone": {how: True}}, 1, tmp_path)


def test_an_interruption_ends_the_processes(tmp_path):
    def interrupt(done: int, total: int, note: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_jobs(WORK, {"long": {"steps": 1, "sleep": 600}}, 1, tmp_path, interrupt)

"""A search that is killed or interrupted at any moment, and resumed, ends like one that never stopped."""

import contextlib
import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from weft.errors import RunError
from weft.lock import lock_owner
from weft.search.journal import Journal
from weft.search.results import read
from weft.search.workers.local import LocalWorkers

from . import toy
from .helpers import begin, run, tables


class Killed(BaseException):
    """Stands for a kill: nothing that the search does may depend on catching it."""


def kill_at(monkeypatch, count, torn):
    """Let `count` journal writes pass, then die before the next is written, or in the middle of it."""
    append, left = Journal.append_logs, iter(range(count))

    def dying(self, logs):
        if next(left, None) is None:
            if torn:
                line = json.dumps(logs[0], separators=(",", ":")).encode()
                with open(self._path, "ab") as handle:
                    handle.write(line[: random.Random(count).randrange(1, len(line))])
            raise Killed
        append(self, logs)

    monkeypatch.setattr(Journal, "append_logs", dying)


@pytest.mark.parametrize(("sampler", "torn", "step"), [("nsga2", True, 1), ("nsga2", False, 4), ("tpe", False, 6)])
def test_a_kill_at_any_journal_write_changes_nothing(tmp_path, monkeypatch, sampler, torn, step, caplog):
    settings = {"sampler": sampler, "trials": 7, "population": 3, "folds": 2}
    run(tmp_path / "whole", **settings)
    writes = len((tmp_path / "whole" / "study.journal").read_text().splitlines())
    assert writes > 60
    for count in range(0, writes, step):
        directory = tmp_path / str(count)
        with monkeypatch.context() as patch:
            kill_at(patch, count, torn)
            with pytest.raises(Killed):
                run(directory, **settings)
        run(directory, **settings)
        assert tables(directory) == tables(tmp_path / "whole"), count
    assert ("damaged operations" in caplog.text) == torn


def test_a_kill_before_every_journal_write_in_turn_changes_nothing(tmp_path, monkeypatch):
    settings = {"trials": 7, "population": 3}
    run(tmp_path / "whole", **settings)
    kills = 0
    while True:
        try:
            with monkeypatch.context() as patch:
                kill_at(patch, 2, torn=kills % 2 == 1)
                run(tmp_path / "killed", **settings)
            break
        except Killed:
            kills += 1
    assert kills > 30
    assert tables(tmp_path / "killed") == tables(tmp_path / "whole")


def test_sigkill_at_random_moments_changes_nothing(tmp_path):
    settings = {"workers": 2, "folds": 2, "payload": {"sleep": 0.05}}
    run(tmp_path / "whole", folds=2)
    moments, kills = random.Random(5), 0
    while True:
        process = begin(tmp_path / "killed", **settings)
        wait_for_progress(tmp_path / "killed", process)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(moments.uniform(0.0, 0.5) if kills < 3 else 60)
        if process.poll() is not None:
            assert process.returncode == 0, process.stderr.read().decode()
            process.stderr.close()
            break
        process.kill()
        process.communicate()
        kills += 1
    assert kills >= 2
    assert tables(tmp_path / "killed") == tables(tmp_path / "whole")


def wait_for_progress(directory, process):
    """Wait until the journal has grown since the process began, or the process has ended."""
    journal = directory / "study.journal"
    size = journal.stat().st_size if journal.exists() else 0
    while process.poll() is None and not (journal.exists() and journal.stat().st_size > size):
        time.sleep(0.01)


@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_whole_tables_and_a_search_that_goes_on(tmp_path, which):
    process = begin(tmp_path, workers=2, payload={"sleep": 0.15})
    wait_for_progress(tmp_path, process)
    time.sleep(0.6)
    owner = lock_owner(tmp_path)
    assert owner["pid"] == process.pid
    with pytest.raises(RunError, match=rf"in use by process {process.pid} on .* since 2"):
        run_locked(tmp_path)
    os.kill(process.pid, which)
    begun = time.monotonic()
    _, said = process.communicate(timeout=10)
    assert time.monotonic() - begun < 20
    assert process.returncode == 130, said.decode()
    assert f"interrupted by {which.name}" in said.decode() and f"stopped by {which.name}" in said.decode()
    assert (tmp_path / "trials.csv").read_text().startswith("number,state,")
    assert lock_owner(tmp_path) is None
    run(tmp_path)
    run(tmp_path / "whole")
    assert tables(tmp_path) == tables(tmp_path / "whole")


def run_locked(directory):
    from weft.lock import RunLock

    with RunLock(directory):
        run(directory)


def test_a_second_interrupt_ends_it_at_once(tmp_path):
    from weft.search._interrupt import Interrupts

    before = signal.getsignal(signal.SIGINT)
    with Interrupts() as interrupts:
        signal.raise_signal(signal.SIGINT)  # held back: something is being written
        with pytest.raises(KeyboardInterrupt, match="SIGTERM"):
            signal.raise_signal(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt, match="SIGTERM"), interrupts.waiting():
            pass
    assert signal.getsignal(signal.SIGINT) is before


def test_an_interrupt_goes_through_at_once_while_waiting(tmp_path):
    from weft.search._interrupt import Interrupts

    with Interrupts() as interrupts, pytest.raises(KeyboardInterrupt, match="SIGINT"), interrupts.waiting():
        signal.raise_signal(signal.SIGINT)


def test_workers_end_when_the_coordinator_is_killed(tmp_path):
    process = begin(tmp_path, workers=2, payload={"sleep": 30})
    wait_for_progress(tmp_path, process)
    deadline = time.monotonic() + 20
    while len(children := children_of(process.pid)) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(children) == 2
    time.sleep(0.5)
    process.kill()
    process.communicate()
    while any(alive(child) for child in children) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(alive(child) for child in children)


def children_of(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_search_can_be_read_while_it_runs(tmp_path):
    process = begin(tmp_path, workers=1, payload={"sleep": 0.1})
    wait_for_progress(tmp_path, process)
    states = set()
    while process.poll() is None:
        try:
            states.update(trial.state for trial in read(tmp_path).trials)
        except RunError as error:
            assert "holds no search" in str(error)
        time.sleep(0.02)
    process.communicate()
    assert process.returncode == 0 and {"running", "complete"} <= states


def test_ending_a_worker_ends_what_it_started(tmp_path):
    from weft.search import Job

    workers = LocalWorkers(1, f"{toy.__name__}:starts_a_process", tmp_path)
    with workers:
        workers.start(Job(0, "k", {}, 0, 0, 1, 1, str(tmp_path), {}))
        ((_, result),) = workers.wait()
        child = int(result.metrics["pid"])
        assert alive(child)
    deadline = time.monotonic() + 5
    while alive(child) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not alive(child)

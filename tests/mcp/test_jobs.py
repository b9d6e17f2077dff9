"""Jobs: caps, cancelling, waiting for a turn, and what is left when a watcher is killed."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from tests.mcp.conftest import Server, write_events
from weft.errors import AccessError, RunError
from weft.mcp.jobs import ENDED, Job, JobStore, Limits
from weft.mcp.sandbox import Sandbox

LONG = """
version: 1
name: long
data: {files: {all: events.csv}, label: kind}
space: {blocks: [{type: mlp, depth: 1, units: [4, 6]}]}
search: {trials: 500, epochs: 500, workers: 1, objectives: [accuracy, lut]}
"""


def wait(store: JobStore, name: str, *, until=ENDED, seconds: float = 60) -> Job:
    end = time.monotonic() + seconds
    while (job := store.get(name)).status not in until:
        assert time.monotonic() < end, (job, store.log(name))
        time.sleep(0.1)
    return job


def processes(store: JobStore, name: str) -> list[int]:
    found = json.loads((store.folder(name) / "process.json").read_text())
    return [found["pid"], *(int(pid) for pid, _ in found["children"])]


def gone(pids: list[int]) -> bool:
    end = time.monotonic() + 10
    while any(psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE for pid in pids):
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


@pytest.fixture
def store(tmp_path) -> JobStore:
    (tmp_path / "empty").mkdir()
    return JobStore(tmp_path / ".weft", Limits(grace_s=3.0, hours=1, memory_gib=4))


def started(store: JobStore, *arguments: str, **options) -> str:
    return store.start("search", [arguments or ("presets", "--json")], Path("/tmp"), **options)[0].id


def test_a_job_that_takes_more_memory_than_its_cap_is_killed(store, tmp_path):
    name = started(store, "search", "jets-demo", "--out", str(tmp_path / "run"), memory_gib=0.02)
    job = wait(store, name)
    assert job.status == "failed"
    assert "more than its cap of 0.02 GiB" in job.reason
    assert gone(processes(store, name))


def test_a_job_that_takes_longer_than_its_cap_is_stopped(store, tmp_path):
    name = started(store, "search", "jets-demo", "--out", str(tmp_path / "run"), minutes=0.01)
    job = wait(store, name)
    assert job.status == "failed"
    assert "longer than its cap of 0.01 minutes" in job.reason
    assert gone(processes(store, name))


def test_jobs_wait_for_their_turn_and_can_be_cancelled_meanwhile(tmp_path):
    write_events(tmp_path)
    server = Server(Sandbox.of(tmp_path), Limits(grace_s=2.0))
    store = JobStore(server.sandbox.state, Limits())
    first = server.ask("start_search", config=LONG, run="first")["job_id"]
    wait(store, first, until=("running",))
    second = server.ask("start_search", config=LONG, run="second")["job_id"]
    assert "works on run 'first'; wait for it with wait_for_job" in server.refused(
        "start_search", config=LONG, run="first"
    )
    assert server.ask("get_job", job_id=second)["status"] == "queued"
    server.ask("cancel_job", job_id=second)
    assert wait(store, second).reason == "cancelled before it began"
    end = time.monotonic() + 60
    while store.get(first).stage != "search" and time.monotonic() < end:  # it is past its imports, and has a worker
        time.sleep(0.2)
    watched = processes(store, first)
    family = [child.pid for child in psutil.Process(watched[1]).children(recursive=True)]
    server.ask("cancel_job", job_id=first)
    job = wait(store, first)
    assert job.status == "cancelled"
    assert gone([*watched, *family])
    assert server.ask("get_job", job_id=first)["next_step"] == "the same start_* call goes on from here"
    events = [json.loads(line)["event"] for line in (tmp_path / "runs/first/log.jsonl").read_text().splitlines()]
    assert "interrupted" in events  # Ctrl-C came first, and the run can be gone on with


def test_a_job_whose_watcher_was_killed_is_ended_and_says_so(store, tmp_path):
    name = started(store, "search", "jets-demo", "--out", str(tmp_path / "run"))
    wait(store, name, until=("running",))
    end = time.monotonic() + 10
    while len(processes(store, name)) < 2 and time.monotonic() < end:
        time.sleep(0.05)
    watcher, child = processes(store, name)
    os.kill(watcher, signal.SIGKILL)
    end = time.monotonic() + 10
    while psutil.pid_exists(watcher) and psutil.Process(watcher).status() != "zombie" and time.monotonic() < end:
        time.sleep(0.05)
    job = store.get(name)
    assert job.status == "failed"
    assert "the process that watches over it was killed" in job.reason
    assert gone([child])


def test_a_key_gives_the_same_job_and_only_for_the_same_call(store):
    first, repeated = store.start("search", [("presets", "--json")], Path("/tmp"), key="../../k")
    assert not repeated
    again, repeated = store.start("search", [("presets", "--json")], Path("/tmp"), key="../../k")
    assert repeated and again.id == first.id
    with pytest.raises(RunError, match=r"idempotency_key '\.\./\.\./k' was used for another call, job search-"):
        store.start("search", [("presets",)], Path("/tmp"), key="../../k")
    assert len(store.all()) == 1
    assert wait(store, first.id).status == "finished"


def test_the_output_and_the_log_of_a_job(store):
    name = started(store, "presets", "--json")
    job = wait(store, name)
    assert (job.status, job.exit_code) == ("finished", 0)
    assert "jets-demo" in store.output(name)
    assert store.log(name)[0] == "$ weft presets --json"
    failing = started(store, "presets", "no-such-preset")
    job = wait(store, failing)
    assert (job.status, job.exit_code) == ("failed", 2)
    assert any("no-such-preset" in line for line in store.log(failing))


def test_commands_of_a_job_end_at_the_first_that_fails(store):
    job, _ = store.start("search", [("presets", "nothing"), ("presets",)], Path("/tmp"))
    wait(store, job.id)
    assert sum(line.startswith("$ weft") for line in store.log(job.id)) == 1


def test_limits_and_names_are_checked(store):
    with pytest.raises(AccessError, match=r"max_minutes must be > 0 and at most 60, the limit of this server; got 61"):
        started(store, minutes=61)
    with pytest.raises(RunError, match=r"there is no job '\.\./x'; list_jobs shows those that there are"):
        store.get("../x")

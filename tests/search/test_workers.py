import collections
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from weft._backend import one_thread
from weft.search import Job, Result
from weft.search.workers import InlineWorkers, LocalWorkers, Lost, automatic_count, available_cores, local

from . import toy
from .helpers import EVALUATE


def job(directory, number=0, genotype=None, **payload):
    (directory / str(number)).mkdir(parents=True)
    genotype = genotype or {"a": 1, "b": number}
    key = f"{genotype['a']}-{genotype['b']}"
    return Job(number, key, genotype, 0, 0, 1, 1, str(directory / str(number)), payload)


def test_inline_and_local_workers_return_the_same(tmp_path):
    results = []
    for workers in (InlineWorkers(EVALUATE), LocalWorkers(2, EVALUATE, tmp_path / "logs")):
        with workers:
            work = job(tmp_path / type(workers).__name__)
            workers.start(work)
            ((done, result),) = workers.wait()
            assert done == work and isinstance(result, Result)
            results.append((result.metrics, result.costs))
    assert results[0] == results[1]


def test_workers_say_how_many_jobs_they_take(tmp_path):
    for workers, free in ((InlineWorkers(EVALUATE), 1), (LocalWorkers(3, EVALUATE, tmp_path / "logs"), 3)):
        with workers:
            assert workers.free == free
            workers.start(job(tmp_path / str(free), sleep=0.05))
            assert workers.free == free - 1
            workers.wait()
            assert workers.free == free


def test_a_process_serves_many_jobs_on_one_core_with_one_thread(tmp_path, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=/nowhere")
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    seen = []
    with LocalWorkers(2, f"{toy.__name__}:describes_its_process", tmp_path / "logs") as workers:
        for number in range(4):
            workers.start(job(tmp_path, number))
            if number % 2:
                back = workers.wait()
                while len(back) < 2:
                    back += workers.wait()
    seen = [json.loads((tmp_path / str(number) / "seen.json").read_text()) for number in range(4)]
    assert len({entry["pid"] for entry in seen}) == 2
    assert all(len(entry["cores"]) == 1 for entry in seen)
    if len(os.sched_getaffinity(0)) > 1:
        assert len({tuple(entry["cores"]) for entry in seen}) == 2
    assert seen[0]["OMP_NUM_THREADS"] == "1" and seen[0]["JAX_PLATFORMS"] == "cpu"
    assert seen[0]["XLA_FLAGS"].startswith("--xla_cpu_multi_thread_eigen=false ")
    assert " --xla_dump_to=/nowhere" in seen[0]["XLA_FLAGS"]


def test_xla_reads_the_flags_of_the_user_behind_those_of_one_thread(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_no_such_flag=1")
    environment = {**os.environ, **one_thread(), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", "import jax; jax.numpy.ones(2)"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode != 0 and "Unknown flag in XLA_FLAGS: --xla_no_such_flag=1" in done.stderr


def test_a_killed_worker_loses_its_job_alone(tmp_path):
    with LocalWorkers(2, EVALUATE, tmp_path / "logs") as workers:
        workers.start(job(tmp_path, 0, {"a": 3, "b": 4}, actions={"3-4": "kill"}))
        workers.start(job(tmp_path, 1, sleep=0.1))
        back = {}
        while len(back) < 2:
            back.update({done.number: reply for done, reply in workers.wait()})
        assert isinstance(back[0], Lost) and back[0].reason.startswith("worker killed by SIGKILL")
        assert isinstance(back[1], Result) and back[1].error is None


def test_a_worker_that_dies_while_idle_is_replaced(tmp_path, caplog):
    with LocalWorkers(1, f"{toy.__name__}:describes_its_process", tmp_path / "logs") as workers:
        workers.start(job(tmp_path, 0))
        workers.wait()
        os.kill(json.loads((tmp_path / "0" / "seen.json").read_text())["pid"], signal.SIGTERM)
        time.sleep(0.2)
        workers.start(job(tmp_path, 1))
        ((_, reply),) = workers.wait()
        assert isinstance(reply, Result)
    assert "worker 0 ended while it was idle: worker killed by SIGTERM" in caplog.text


def test_a_job_that_takes_too_long_is_killed_alone(tmp_path):
    with LocalWorkers(2, EVALUATE, tmp_path / "logs", seconds=4) as workers:
        workers.start(job(tmp_path, 0, sleep=60))
        workers.start(job(tmp_path, 1))
        back = {}
        while len(back) < 2:
            back.update({done.number: reply for done, reply in workers.wait()})
        assert back[0] == Lost("killed after 4 s, the longest time for one training")
        assert isinstance(back[1], Result) and back[1].error is None


@pytest.mark.parametrize(("free", "count"), [(1.0, 1), (3.1, 2), (100.0, 3)])
def test_there_are_no_more_workers_than_memory_for_them(monkeypatch, free, count):
    monkeypatch.setattr(local, "available_cores", lambda: 3)
    monkeypatch.setattr(local, "available_memory", lambda: int(free * 2**30))
    assert automatic_count() == count


def test_memory_is_that_of_the_machine():
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert 0 < local.available_memory() <= total


def test_what_a_worker_prints_goes_to_its_log(tmp_path):
    with LocalWorkers(1, EVALUATE, tmp_path / "logs") as workers:
        workers.start(job(tmp_path, 0, {"a": 3, "b": 4}, actions={"3-4": "raise"}))
        ((_, reply),) = workers.wait()
    assert reply.error == "ValueError: design 3-4 is not to my taste" and reply.error_kind == "crash"
    assert "in act" in (tmp_path / "logs" / "worker-0.log").read_text()


def test_closing_drops_what_still_runs(tmp_path):
    begun = time.monotonic()
    with LocalWorkers(1, EVALUATE, tmp_path / "logs") as workers:
        workers.start(job(tmp_path, 0, sleep=60))
    assert time.monotonic() - begun < 5
    workers.close()


def test_numbers_that_json_does_not_know_fail_the_job(tmp_path):
    with InlineWorkers(f"{toy.__name__}:returns_an_array") as workers:
        workers.start(job(tmp_path))
        ((_, reply),) = workers.wait()
    assert reply.error == "TypeError: Object of type ndarray is not JSON serializable"


def test_a_note_on_an_exception_is_part_of_the_reason(tmp_path):
    with InlineWorkers(f"{toy.__name__}:raises_with_a_note") as workers:
        workers.start(job(tmp_path))
        ((_, reply),) = workers.wait()
    assert (reply.error_kind, reply.error) == ("unsupported", "no such layer; in layer dense_2")


def test_auto_means_the_cores_this_process_may_use():
    assert 1 <= available_cores() <= len(os.sched_getaffinity(0))


@pytest.mark.parametrize(("quota", "expected"), [("max 100000", None), ("150000 100000", 1), ("50000 100000", 1)])
def test_a_quota_limits_the_cores(monkeypatch, quota, expected):
    from pathlib import Path

    monkeypatch.setattr(Path, "read_text", lambda self: quota)
    assert available_cores() == (expected or len(os.sched_getaffinity(0)))


def test_a_process_goes_on_with_the_network_that_it_has_trained(tmp_path):
    """Its folds share what is compiled; other processes meanwhile train other networks."""
    folds = {(n, fold): dataclasses.replace(job(tmp_path, 10 * n + fold), key=f"network {n}", fold=fold)
             for n in range(4) for fold in range(2)}  # fmt: skip
    queue = collections.deque(folds.values())
    with LocalWorkers(2, f"{toy.__name__}:describes_its_process", tmp_path / "logs") as workers:
        while queue:
            for _ in range(2):
                workers.start(workers.take(queue))
            back = workers.wait()
            while len(back) < 2:
                back += workers.wait()
    pids = {place: json.loads((Path(one.directory) / "seen.json").read_text())["pid"] for place, one in folds.items()}
    assert all(pids[n, 0] == pids[n, 1] for n in range(4)) and len(set(pids.values())) == 2


def test_a_process_without_work_takes_a_fold_of_what_another_trains(tmp_path):
    first, second = (dataclasses.replace(job(tmp_path, fold), key="network", fold=fold) for fold in range(2))
    queue = collections.deque([first, second])
    with LocalWorkers(2, EVALUATE, tmp_path / "logs") as workers:
        for one in (first, second):
            taken = workers.take(queue)
            assert taken == one
            workers.start(taken)
        assert not workers.free and not queue

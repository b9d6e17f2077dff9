"""Jobs on a real Dask cluster whose workers are killed, cut off, or missing."""

import dataclasses
import json
import os
import re
import signal
import socket
import sys
import threading
import time
import types

import pytest

pytest.importorskip("distributed")
from distributed import Client, LocalCluster

from weft.config import loads
from weft.config.workers import ClusterConfig
from weft.errors import ConfigError, RunError, ToolNotFoundError
from weft.lock import RunLock
from weft.search import Result
from weft.search.results import read
from weft.search.workers import Lost, _remote, cluster, dask
from weft.search.workers.cluster import Cluster, arguments
from weft.search.workers.dask import DaskWorkers, open_dask

from . import toy
from .helpers import EVALUATE, run, tables
from .test_workers import job

DESCRIBE = f"{toy.__name__}:describes_its_process"


@pytest.fixture(scope="module")
def address():
    """The address of a scheduler with two workers."""
    with LocalCluster(n_workers=2, threads_per_worker=1, memory_limit=0, dashboard_address=":0") as started:
        yield address_of(started)


@pytest.fixture
def fragile():
    """A scheduler with two workers to kill, each behind a nanny that replaces it."""
    with LocalCluster(n_workers=2, threads_per_worker=1, memory_limit=0, dashboard_address=":0") as started:
        yield started


def address_of(started):
    return started.scheduler_address.replace("tcp://", "dask://")


def all_back(workers, count):
    back = {}
    while len(back) < count:
        back.update({done.number: reply for done, reply in workers.wait()})
    return back


def test_a_search_on_dask_workers_finds_what_one_in_this_process_finds(tmp_path, address):
    run(tmp_path / "inline", folds=2)
    run(tmp_path / "dask", folds=2, workers=address)
    assert tables(tmp_path / "dask") == tables(tmp_path / "inline")
    weights = [tmp_path / "dask" / path for trial in read(tmp_path / "dask").front() for path in trial.weights]
    assert weights and all(path.exists() for path in weights)


def test_a_search_begins_and_ends_a_cluster_of_its_own(tmp_path):
    run(tmp_path / "inline", trials=4)
    run(tmp_path / "cluster", trials=4, workers={"cluster": "local", "jobs": 1})
    assert tables(tmp_path / "cluster") == tables(tmp_path / "inline")


def test_dask_workers_killed_in_the_middle_of_trials_change_nothing(tmp_path, fragile, caplog):
    run(tmp_path / "inline")
    over, kills = threading.Event(), []

    def kill():
        while not over.wait(1.0) and len(kills) < 3:
            nanny = fragile.workers[1]  # the other worker stays: a nanny whose worker dies at its start gives up
            if nanny.worker_address in fragile.scheduler.workers and nanny.process.pid not in kills:
                kills.append(nanny.process.pid)
                os.kill(kills[-1], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        run(tmp_path / "dask", workers=address_of(fragile), attempts=9, payload={"sleep": 0.4})
    finally:
        over.set()
        killer.join()
    assert kills and "is gone: killed" in caplog.text
    assert tables(tmp_path / "dask") == tables(tmp_path / "inline")


@pytest.mark.parametrize(
    ("action", "reason"),
    [
        ("kill", r"worker killed by SIGKILL \(.*\); attempt 2 of 2"),
        (
            "kill parent",
            r"the Dask worker tcp://\S+ is gone: killed, out of memory or time, or cut off; attempt 2 of 2",
        ),
    ],
)
def test_a_poisoned_trial_fails_with_its_reason_and_alone(tmp_path, fragile, action, reason):
    results = run(
        tmp_path, workers=address_of(fragile), trials=4, attempts=2, payload={"actions": {"3-4": action}}
    ).results
    assert [trial.state for trial in results.trials] == ["complete", "failed", "complete", "complete"]
    assert re.fullmatch(reason, results.trials[1].reason)


def test_a_process_serves_many_jobs_with_one_thread_and_ends_with_the_search(tmp_path, address):
    with open_dask(address, DESCRIBE, tmp_path / "workers") as workers:
        for number in range(4):
            workers.start(job(tmp_path, number))
        all_back(workers, 4)
        seen = [json.loads((tmp_path / str(number) / "seen.json").read_text()) for number in range(4)]
        assert 1 <= len({entry["pid"] for entry in seen}) <= 2
        assert {entry[key] for entry in seen for key in ("OMP_NUM_THREADS", "PJRT_NPROC")} == {"1"}
    deadline = time.monotonic() + 5
    while any(os.path.exists(f"/proc/{entry['pid']}/fd/0") for entry in seen) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(os.path.exists(f"/proc/{entry['pid']}/fd/0") for entry in seen)


def test_a_job_that_takes_too_long_is_killed_alone(tmp_path, address):
    with open_dask(address, EVALUATE, tmp_path / "workers", seconds=2) as workers:
        workers.start(job(tmp_path, 0, sleep=60))
        workers.start(job(tmp_path, 1))
        back = all_back(workers, 2)
    assert back[0] == Lost("killed after 2 s, the longest time for one training")
    assert isinstance(back[1], Result) and back[1].error is None


def test_closing_ends_what_still_runs(tmp_path, address):
    begun = time.monotonic()
    with open_dask(address, EVALUATE, tmp_path / "workers") as workers:
        workers.start(job(tmp_path, 0, sleep=60))
        time.sleep(0.1)
    with open_dask(address, EVALUATE, tmp_path / "again") as workers:
        for number in (1, 2):
            workers.start(job(tmp_path, number))
        all_back(workers, 2)
    assert time.monotonic() - begun < 20


def test_a_worker_that_does_not_share_the_run_directory_is_an_error(tmp_path, address, monkeypatch):
    monkeypatch.setattr(dask, "PATIENCE", 0.3)
    for text, found in ((None, "is not there"), ("of another search", "holds something else")):
        with open_dask(address, EVALUATE, tmp_path / "workers") as workers:
            token = tmp_path / "workers" / "token"
            token.unlink() if text is None else token.write_text(text)
            workers.start(job(tmp_path, int(text is None)))
            with pytest.raises(RunError, match=rf"{token}, which the search wrote, {found}; .* give such a directory"):
                all_back(workers, 1)


def test_an_evaluation_that_cannot_be_imported_is_an_error(tmp_path, address):
    with open_dask(address, "no_such_module:f", tmp_path / "workers") as workers:
        workers.start(job(tmp_path))
        with pytest.raises(RunError, match="cannot import the evaluation 'no_such_module:f'"):
            all_back(workers, 1)


def test_a_worker_without_weft_is_an_error(tmp_path, address, monkeypatch):
    monkeypatch.setattr(dask._remote, "evaluate", lambda job, settings: __import__("no_weft_here"))
    with open_dask(address, EVALUATE, tmp_path / "workers") as workers:
        workers.start(job(tmp_path))
        with pytest.raises(RunError, match=r"cannot run jobs: ModuleNotFoundError: .*; it needs the same weft, Python"):
            all_back(workers, 1)


def test_a_scheduler_that_does_not_answer_is_an_error_in_the_time_stated(tmp_path, monkeypatch):
    monkeypatch.setattr(dask, "CONNECT", 1.0)
    begun = time.monotonic()
    with pytest.raises(
        RunError, match=r"no Dask scheduler answered at dask://127.0.0.1:9 within 1 s; see that 'dask sch"
    ):
        run(tmp_path, workers="dask://127.0.0.1:9")
    assert time.monotonic() - begun < 5


def test_a_cluster_that_cannot_be_connected_to_is_ended(tmp_path, monkeypatch):
    closed = []
    close = Cluster.close
    monkeypatch.setattr(Cluster, "close", lambda self: (closed.append(self.address), close(self)))
    monkeypatch.setattr(dask, "CONNECT", 1.0)
    monkeypatch.setattr(Cluster, "address", "tcp://127.0.0.1:9")
    with pytest.raises(RunError, match=r"at dask://127.0.0.1:9 within 1 s; it is the one .* search.workers.interface"):
        open_dask(ClusterConfig(cluster="local", jobs=1), EVALUATE, tmp_path / "workers")
    assert len(closed) == 1


def test_what_one_machine_cannot_write_loses_the_job_alone(tmp_path, address):
    with open_dask(address, EVALUATE, tmp_path / "workers") as workers:
        (tmp_path / "0").write_text("in the way of the job's directory")
        blocked = dataclasses.replace(job(tmp_path / "other", 0), directory=str(tmp_path / "0"))
        workers.start(blocked)
        workers.start(job(tmp_path, 1))
        back = all_back(workers, 2)
    assert isinstance(back[0], Lost) and re.match(r"on \S+: .*File exists", back[0].reason)
    assert isinstance(back[1], Result) and back[1].error is None


def test_a_process_that_cannot_begin_loses_the_job_alone(tmp_path):
    logs = tmp_path / "workers"
    logs.mkdir()
    (logs / "token").write_text("t")
    settings = json.dumps({"evaluate": EVALUATE, "logs": str(logs), "token": "t", "patience": 0.1, "seconds": None})
    place = logs / f"{re.sub(r'[^A-Za-z0-9.-]', '-', socket.gethostname())}-{os.getpid()}"
    place.write_text("in the way")
    for number in range(2):
        reply = _remote.evaluate(job(tmp_path, number).to_json(), settings)
        assert re.match(rf"on \S+: could not write {place}: File exists", reply["lost"])
    place.unlink()
    assert _remote.evaluate(job(tmp_path, 2).to_json(), settings)["error"] is None
    _remote._places.pop(settings).workers.close()


def test_a_scheduler_that_dies_in_a_search_is_an_error_and_the_search_goes_on_elsewhere(tmp_path, monkeypatch):
    monkeypatch.setattr(dask, "CONNECT", 3.0)
    run(tmp_path / "inline")
    started = LocalCluster(n_workers=1, threads_per_worker=1, memory_limit=0, dashboard_address=":0")
    timer = threading.Timer(2.5, started.close)
    timer.start()
    begun = time.monotonic()
    with pytest.raises(RunError, match=r"the Dask scheduler dask://\S+ was lost: .*; nothing finished is lost"):
        run(tmp_path / "dask", workers=address_of(started), payload={"sleep": 0.5})
    assert time.monotonic() - begun < 60
    timer.join()
    with RunLock(tmp_path / "dask"):
        run(tmp_path / "dask")
    assert tables(tmp_path / "dask") == tables(tmp_path / "inline")


def test_jobs_wait_for_the_first_worker_and_spread_when_more_come(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(dask, "_REMIND", 0.3)
    with LocalCluster(n_workers=0, threads_per_worker=1, memory_limit=0, dashboard_address=":0") as empty:
        client = Client(empty, set_as_default=False)
        with DaskWorkers(client, EVALUATE, tmp_path / "workers") as workers:
            assert workers.free == 1
            workers.start(job(tmp_path, 0, sleep=2.5))
            assert workers.free == 0
            threading.Timer(1.2, empty.scale, [2]).start()
            while not workers.free:
                assert workers.wait() == []
            assert all_back(workers, 1)[0].error is None
    assert "1 jobs wait for the first worker of the Dask scheduler dask://" in caplog.text


@pytest.fixture(scope="module")
def empty():
    """The address of a scheduler without workers."""
    with LocalCluster(n_workers=0, threads_per_worker=1, memory_limit=0, dashboard_address=":0") as started:
        yield address_of(started)


def test_the_time_of_a_search_is_up_also_when_no_worker_came(tmp_path, empty):
    begun = time.monotonic()
    assert run(tmp_path / "dask", workers=empty, timeout_minutes=1 / 60).status == "timeout"
    assert time.monotonic() - begun < 10
    run(tmp_path / "inline")
    run(tmp_path / "dask")
    assert tables(tmp_path / "dask") == tables(tmp_path / "inline")


def test_jobs_that_wait_are_given_back_in_their_order_and_no_others(tmp_path, address):
    with open_dask(address, EVALUATE, tmp_path / "workers") as workers:
        for number in range(5):
            workers.start(job(tmp_path, number, sleep=1.0))
        while len(workers._running) < 2:
            assert workers.wait() == []
        assert [one.number for one in workers.give_back()] == [2, 3, 4]
        assert set(all_back(workers, 2)) == {0, 1} and workers.wait() == [] == workers.give_back()


def test_a_search_does_not_wait_for_ever_for_its_first_worker(tmp_path, empty):
    begun = time.monotonic()
    message = (
        rf"no worker of the Dask scheduler {empty} came for 1 jobs within 0.02 minutes; see whether .* same command"
    )
    with pytest.raises(RunError, match=message):
        run(tmp_path, workers=empty, worker_timeout_minutes=0.02)
    assert time.monotonic() - begun < 10


def test_the_wait_for_a_worker_counts_only_while_jobs_wait(tmp_path, empty):
    with open_dask(empty, EVALUATE, tmp_path / "workers", absent=0.6) as workers:
        for _ in range(2):
            time.sleep(0.7)
            assert workers.free == 1
        workers.start(job(tmp_path))
        assert workers.wait() == []


def test_the_wait_for_a_worker_suits_where_it_comes_from(tmp_path, empty):
    with open_dask(empty, EVALUATE, tmp_path / "a") as a:
        assert a._absent == dask.ABSENT == 60
    with open_dask(ClusterConfig(cluster="local", minimum=0, maximum=1), EVALUATE, tmp_path / "b") as b:
        assert b._absent == dask.QUEUED == 1800


def test_an_adaptive_cluster_grows_with_the_work_and_shrinks_when_idle(tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "IDLE", 0.5)
    monkeypatch.setattr(dask, "_SCALE", 0.5)
    with open_dask(ClusterConfig(cluster="local", minimum=0, maximum=2), EVALUATE, tmp_path / "workers") as workers:
        assert workers.free == 2
        client = workers._client
        for number in range(2):
            workers.start(job(tmp_path, number, sleep=5))
        deadline = time.monotonic() + 60
        while len(client.nthreads()) < 2 and time.monotonic() < deadline:
            assert workers.free == 0  # asking is what moves the cluster
            time.sleep(0.05)
        assert len(client.nthreads()) == 2
        all_back(workers, 2)
        deadline = time.monotonic() + 20
        while client.nthreads() and time.monotonic() < deadline:
            assert workers.free == 2
            time.sleep(0.1)
        assert not client.nthreads()


@pytest.mark.parametrize(
    ("system", "lines"),
    [
        ("slurm", ["#SBATCH -p fast", "#SBATCH -A us", "#SBATCH -t 02:00:00", "#SBATCH --exclusive", "-n 1"]),
        ("pbs", ["#PBS -q fast", "#PBS -A us", "walltime=02:00:00", "#PBS --exclusive"]),
        ("sge", ["#$ -q fast", "#$ -P us", "h_rt=02:00:00", "#$ --exclusive"]),
        ("lsf", ["#BSUB -q fast", '#BSUB -P "us"', "#BSUB -W 02:00", "#BSUB --exclusive"]),
        ("htcondor", ["MY.DaskWorkerCores = 2", "MY.DaskWorkerMemory = 4000000000", '+JobFlavour = "workday"']),
    ],
)
def test_a_batch_job_asks_for_what_the_configuration_says(tmp_path, system, lines):
    import dask_jobqueue

    config = {"cluster": system, "jobs": 3, "cores": 2, "memory": "4GB", "job_script_prologue": ["module load python"]}
    if system == "htcondor":
        config |= {"job_extra_directives": ['+JobFlavour = "workday"']}
    else:
        config |= {"queue": "fast", "account": "us", "walltime": "02:00:00", "job_extra_directives": ["--exclusive"]}
    found = arguments(ClusterConfig(**config), tmp_path)
    with getattr(dask_jobqueue, cluster._CLASSES[system][1])(**found) as made:
        script = made.job_script()
    for line in [*lines, "--nthreads 1", "--nworkers 2", "module load python", sys.executable]:
        assert line in script, script


def test_a_batch_system_that_is_not_here_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(
        ToolNotFoundError, match="slurm submits jobs with 'sbatch', which is not on PATH; run the search"
    ):
        Cluster(ClusterConfig(cluster="slurm", jobs=1), tmp_path)


def test_a_batch_system_that_refuses_jobs_is_an_error(tmp_path, monkeypatch):
    (tmp_path / "sbatch").write_text("#!/bin/sh\necho 'invalid partition specified' >&2\nexit 1\n")
    (tmp_path / "sbatch").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(
        RunError, match=r"could not begin the slurm cluster of search.workers: (.|\n)*invalid partition"
    ):
        Cluster(ClusterConfig(cluster="slurm", jobs=1), tmp_path)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # dask-jobqueue leaves it half made
def test_an_unknown_option_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(cluster.shutil, "which", lambda command: command)
    with pytest.raises(RunError, match=r"could not begin the slurm cluster of search.workers: .*'colour'"):
        Cluster(ClusterConfig(cluster="slurm", jobs=1, options={"colour": "red"}), tmp_path)


@pytest.mark.parametrize(
    ("workers", "module", "source"),
    [
        ("dask://a:1", "distributed", r"'weft\[cluster\]'"),
        ("slurm", "dask_jobqueue", r"'weft\[cluster\]'"),
        ("kubernetes", "dask_kubernetes", "dask-kubernetes"),
    ],
)
def test_a_missing_package_is_named_with_the_command_that_installs_it(tmp_path, monkeypatch, workers, module, source):
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setattr(cluster.shutil, "which", lambda command: command)
    further = {"image": "us/weft:1"} if workers == "kubernetes" else {}
    config = workers if "://" in workers else ClusterConfig(cluster=workers, jobs=1, **further)
    with pytest.raises(
        ToolNotFoundError, match=rf"needs the package '{module.replace('_', '-')}', .*pip install {source}"
    ):
        open_dask(config, EVALUATE, tmp_path)


def test_pods_are_asked_for_as_the_operator_of_kubernetes_takes_it(tmp_path, monkeypatch):
    given = []

    class KubeCluster:
        """Has the arguments of the class in dask-kubernetes 2026.3 that weft sets."""

        def __init__(self, *, name, image, n_workers, resources, worker_command, namespace=None):
            given.append((name, image, n_workers, resources, worker_command, namespace))
            self.scheduler_address = "tcp://10.0.0.1:8786"

        def close(self, timeout):
            given.append(timeout)

        def scale(self, n):
            given.append(n)

    monkeypatch.setitem(sys.modules, "dask_kubernetes", types.ModuleType("dask_kubernetes"))
    operator = types.ModuleType("dask_kubernetes.operator")
    operator.KubeCluster = KubeCluster
    monkeypatch.setitem(sys.modules, "dask_kubernetes.operator", operator)
    config = ClusterConfig(
        cluster="kubernetes", jobs=3, cores=2, memory="4GB", image="us/weft:1", options={"namespace": "weft"}
    )
    made = Cluster(config, tmp_path)
    assert (made.address, made.least, made.most) == ("tcp://10.0.0.1:8786", 3, 6)
    made.fit(5, {})
    made.close()
    limits = {"cpu": "2", "memory": "4G"}
    command = ["dask", "worker", "--nworkers", "2", "--nthreads", "1"]
    assert given == [
        ("weft", "us/weft:1", 3, {"requests": limits, "limits": limits}, command, "weft"), 3, 10
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dask://host", r"workers: must be .* 'dask://HOST:PORT' or a cluster; got 'dask://host'"),
        ("{cluster: slurm}", "workers.jobs: give either jobs, a fixed number, or maximum"),
        ("{cluster: slurm, jobs: 1, maximum: 2}", "workers.jobs: give either jobs, a fixed number, or maximum"),
        ("{cluster: slurm, maximum: 2, minimum: 3}", "workers.minimum: must be <= maximum=2; got 3"),
        ("{cluster: slurm, maximum: 2, cores: 2}", "workers.maximum: needs batch jobs that can be ended one by one"),
        ("{cluster: local, jobs: 1, queue: fast}", "workers.queue: means nothing with cluster: local; remove it"),
        (
            "{cluster: htcondor, jobs: 1, job_extra_directives: [--exclusive]}",
            "workers.job_extra_directives.0: must be a line of a submit file, such as request_disk = 2GB; got "
            "'--exclusive'",
        ),
        ("{cluster: kubernetes, jobs: 1}", "workers.image: goes with cluster: kubernetes, and is needed there"),
        (
            "{cluster: slurm, jobs: 1, memory: much}",
            "workers.memory: must be a number and a unit, such as 4GB; got 'much'",
        ),
        ("{cluster: slum, jobs: 1}", "workers.cluster: must be .*; got 'slum'; did you mean 'slurm'"),
    ],
)
def test_a_cluster_that_cannot_be_is_refused_when_the_file_is_read(text, message):
    with pytest.raises(ConfigError, match=message):
        loads(f"version: 1\nname: a\ndata: {{name: jets-hlf}}\nsearch: {{workers: {text}}}\n", "x.yaml")

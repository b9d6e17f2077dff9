"""A search whose workers are batch jobs of a real Slurm of one node."""

import os
import shutil
import subprocess
import threading
import time
from pathlib import Path

import pytest

from tests.search.helpers import run, tables
from weft.config.workers import ClusterConfig
from weft.errors import RunError
from weft.search.workers.cluster import Cluster

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(shutil.which("slurmctld") is None or os.getuid() != 0, reason="needs slurm-wlm and root"),
]

SCRIPT = Path(__file__).with_name("slurm.sh")
WORKERS = {"cluster": "slurm", "jobs": 2, "memory": "500MB", "walltime": "00:10:00", "queue": "fast"}


@pytest.fixture(scope="module", autouse=True)
def slurm(tmp_path_factory):
    place = tmp_path_factory.mktemp("slurm")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(place / "slurm.conf"))
        subprocess.run([SCRIPT, "start", place, "4"], check=True, timeout=120)
        yield
        subprocess.run([SCRIPT, "stop", place], check=True, timeout=60)


def jobs() -> list[str]:
    return subprocess.check_output(["squeue", "--noheader", "--format=%i", "--states=R"], text=True).split()


def no_jobs_left() -> bool:
    deadline = time.monotonic() + 30
    while jobs() and time.monotonic() < deadline:
        time.sleep(0.5)
    return not jobs()


def test_a_search_in_batch_jobs_finds_what_one_in_this_process_finds(tmp_path):
    run(tmp_path / "inline", folds=2)
    begun = time.monotonic()
    run(tmp_path / "slurm", folds=2, workers=WORKERS)
    print(f"12 trials on 2 Slurm jobs in {time.monotonic() - begun:.1f} s, submission to end")  # noqa: T201
    assert tables(tmp_path / "slurm") == tables(tmp_path / "inline")
    assert no_jobs_left()


def test_a_batch_job_that_is_killed_is_replaced_and_changes_nothing(tmp_path, monkeypatch, caplog):
    import dask

    monkeypatch.setattr("weft.search.workers.dask._SCALE", 2.0)
    seen, killed, over = set(), [], threading.Event()

    def kill():
        while not over.wait(0.5):
            running = jobs()
            seen.update(running)
            working = list((tmp_path / "slurm" / "workers").glob("*/worker-0.log"))
            if len(running) == len(working) == 2 and not killed:
                killed.append(running[0])
                subprocess.run(["scancel", "--signal=KILL", "--full", running[0]], check=True)

    killer = threading.Thread(target=kill)
    with dask.config.set({"distributed.deploy.lost-worker-timeout": "2s"}):
        killer.start()
        try:
            run(tmp_path / "slurm", workers=WORKERS, attempts=5, payload={"sleep": 3})
        finally:
            over.set()
            killer.join()
    run(tmp_path / "inline")
    assert tables(tmp_path / "slurm") == tables(tmp_path / "inline")
    assert len(killed) == 1 and "is gone: killed" in caplog.text
    assert len(seen) >= 3  # two jobs, and the one in place of the first
    print(f"Slurm jobs {sorted(seen)}, of which {killed[0]} was killed; the tables are those of one process")  # noqa: T201
    assert no_jobs_left()


def test_a_refused_job_is_an_error_with_the_words_of_slurm(tmp_path):
    with pytest.raises(RunError, match=r"could not begin the slurm cluster of search.workers: (.|\n)*invalid part"):
        Cluster(ClusterConfig(**{**WORKERS, "queue": "slow"}), tmp_path)

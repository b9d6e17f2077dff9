"""A search that four processes join by a real PostgreSQL, one of them killed with -9."""

import os
import shutil
import subprocess
import time
from glob import glob
from pathlib import Path

import pytest

from tests.search.test_join import joined, kill_one_of
from weft.errors import RunError
from weft.search.join import LOST

PROGRAMS = next(iter(sorted(glob("/usr/lib/postgresql/*/bin"), reverse=True)), "")

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(not PROGRAMS or os.getuid() != 0, reason="needs postgresql and root"),
]
PORT = 54329
URL = f"postgresql://postgres@127.0.0.1:{PORT}/postgres"


def as_postgres(program: str, *arguments: str) -> None:
    """Run one of PostgreSQL's programs as its user; it refuses to be root."""
    command = ["runuser", "-u", "postgres", "--", f"{PROGRAMS}/{program}", *arguments]
    subprocess.run(command, check=True, timeout=120, stdout=subprocess.DEVNULL, cwd="/")


@pytest.fixture(scope="module", autouse=True)
def server():
    place = Path("/tmp") / f"weft-postgres-{os.getpid()}"
    place.mkdir()
    shutil.chown(place, "postgres")
    as_postgres("initdb", "-D", str(place / "data"), "--auth=trust", "--no-sync")
    options = f"-p {PORT} -k {place} -c fsync=off -c listen_addresses=127.0.0.1"
    as_postgres("pg_ctl", "-D", str(place / "data"), "-l", str(place / "log"), "-o", options, "-w", "start")
    yield place / "data"
    as_postgres("pg_ctl", "-D", str(place / "data"), "-m", "immediate", "stop")
    shutil.rmtree(place)


def test_four_processes_share_a_search_and_one_of_them_is_killed(tmp_path):
    begun = time.monotonic()
    results = kill_one_of(4, URL, tmp_path, trials=20)
    print(f"20 trials by 4 processes, one killed, in {time.monotonic() - begun:.1f} s")  # noqa: T201
    lost = [trial for trial in results.trials if trial.state == "failed"]
    assert [trial.reason for trial in lost] == [LOST["reason"]]
    complete = [trial for trial in results.trials if trial.state == "complete"]
    assert 20 <= len(complete) <= 23 and lost[0].params in [trial.params for trial in complete]
    for number in (1, 2, 3):
        assert list((tmp_path / str(number) / "trials").glob("*")), f"process {number} has no weights of the front"


def test_a_database_that_goes_away_is_an_error_and_the_search_goes_on_when_it_is_back(tmp_path, server):
    joined(URL, tmp_path / "one", name="other", trials=4)
    as_postgres("pg_ctl", "-D", str(server), "-m", "immediate", "stop")
    with pytest.raises(RunError, match=r"the database postgresql://postgres@127.0.0.1:\d+/postgres of --join failed: "):
        joined(URL, tmp_path / "two", name="other", trials=8)
    as_postgres("pg_ctl", "-D", str(server), "-w", "-o", f"-p {PORT} -k {server.parent}", "-l", "/dev/null", "start")
    assert len(joined(URL, tmp_path / "two", name="other", trials=8).trials) == 8

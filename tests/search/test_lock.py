import fcntl
import os
import signal
import subprocess
import sys
import threading

import pytest

from weft.errors import RunError
from weft.lock import RunLock, lock_owner


def test_one_process_at_a_time_works_in_a_directory(tmp_path):
    with RunLock(tmp_path / "run"):
        owner = lock_owner(tmp_path / "run")
        assert owner["pid"] == os.getpid()
        message = rf"run .*run is in use by process {os.getpid()} on .+ since 2\d+-.*; 'weft status .*run' shows"
        with pytest.raises(RunError, match=message), RunLock(tmp_path / "run"):
            pass
    assert lock_owner(tmp_path / "run") is None
    with RunLock(tmp_path / "run"):
        pass


def test_a_directory_that_was_never_locked_has_no_owner(tmp_path):
    assert lock_owner(tmp_path) is None
    assert lock_owner(tmp_path / "absent") is None


def test_one_who_asks_for_the_owner_at_that_moment_is_not_taken_for_one(tmp_path):
    with open(tmp_path / ".lock", "w") as asks:
        fcntl.flock(asks, fcntl.LOCK_SH)
        later = threading.Timer(0.05, fcntl.flock, (asks, fcntl.LOCK_UN))
        later.start()
        with RunLock(tmp_path):
            assert lock_owner(tmp_path)["pid"] == os.getpid()
        later.join()


def test_an_error_inside_releases_the_lock(tmp_path):
    with pytest.raises(KeyError), RunLock(tmp_path):
        raise KeyError
    assert lock_owner(tmp_path) is None


def test_a_killed_owner_leaves_no_stale_lock(tmp_path):
    code = (
        "import sys, time; from weft.lock import RunLock\n"
        "with RunLock(sys.argv[1]):\n    sys.stdout.write('locked\\n'); sys.stdout.flush(); time.sleep(60)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout.readline() == b"locked\n"
        assert lock_owner(tmp_path)["pid"] == process.pid
        with pytest.raises(RunError, match=f"in use by process {process.pid}"), RunLock(tmp_path):
            pass
        process.send_signal(signal.SIGKILL)
    with RunLock(tmp_path):
        assert lock_owner(tmp_path)["pid"] == os.getpid()


def test_an_owner_that_has_not_yet_written_its_name_is_unknown(tmp_path):
    with RunLock(tmp_path):
        (tmp_path / ".lock").write_text("{")
        with pytest.raises(RunError, match=r"in use by process \? on \? since \?"), RunLock(tmp_path):
            pass


def test_a_directory_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match=r"cannot lock the run directory .*file/run: .*; give a directory"):
        with RunLock(tmp_path / "file" / "run"):
            pass

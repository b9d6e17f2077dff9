"""What stands beside a job: it waits for its turn, runs the job's commands one after the other, and holds its caps.

A program of its own, in a session of its own, that loads nothing of weft: the server may be killed, and this goes on.
It talks by files in the job's folder alone. `job.json` says what to run; `process.json`, `progress.json` and
`result.json` are what it says; a file `cancel` asks it to stop: SIGINT first, which leaves a resumable run, and SIGKILL
to every process of the job after a while.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil

LOOK_S = 0.2
"""Seconds from one look at cancellation and caps to the next."""


def main(folder: Path) -> None:
    """Run the job of a folder to its end."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever started this may have ignored it
    job = json.loads((folder / "job.json").read_text())
    _mark(folder, [])
    slot = _turn(folder, job)
    if slot is None:
        _write(folder / "result.json", _result("cancelled", "cancelled before it began", 0.0, 0, None))
        return
    with open(folder / "log", "ab") as log, open(folder / "stdout", "wb") as out:
        _write(folder / "result.json", _run(folder, job, log, out))


def _turn(folder: Path, job: dict[str, Any]) -> Any:
    """Wait until one of the slots is free, and hold it; None if the job is cancelled before that."""
    slots = Path(job["slots"])
    while not (folder / "cancel").exists():
        for number in range(job["concurrency"]):
            slot = open(slots / f"slot-{number}", "w")
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(slot, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return slot
            slot.close()
        time.sleep(LOOK_S)
    return None


def _run(folder: Path, job: dict[str, Any], log: Any, out: Any) -> dict[str, Any]:
    began, peak = time.time(), 0
    _write(folder / "progress.json", {"began": began})
    for command in job["commands"]:
        log.write(f"$ weft {' '.join(command[4:])}\n".encode())
        log.flush()
        out.seek(0)
        out.truncate()
        child = subprocess.Popen(
            command, cwd=job["cwd"], env=job["env"], stdin=subprocess.DEVNULL, stdout=out, stderr=log,
            start_new_session=True, preexec_fn=_limits,
        )  # fmt: skip
        process = psutil.Process(child.pid)
        _mark(folder, [[child.pid, process.create_time()]])
        asked, reason, status = 0.0, None, "cancelled"
        while child.poll() is None:
            time.sleep(LOOK_S)
            memory = _memory(process)
            peak = max(peak, memory)
            now = time.time()
            if asked:
                if now - asked > job["grace_s"]:
                    _kill(process)
            elif memory > job["memory_bytes"]:
                gib = 1 << 30
                reason = f"took {memory / gib:.2f} GiB, more than its cap of {job['memory_bytes'] / gib:.2f} GiB"
                status, asked = "failed", now
                _kill(process)
            elif now - began > job["time_s"]:
                reason = f"took longer than its cap of {job['time_s'] / 60:.2f} minutes"
                status, asked = "failed", now
                child.send_signal(signal.SIGINT)
            elif (folder / "cancel").exists():
                reason, asked = "cancelled", now
                child.send_signal(signal.SIGINT)
        _kill_session(child.pid)  # what it may have left behind
        if reason is not None:
            return _result(status, reason, time.time() - began, peak, child.returncode)
        if child.returncode:
            return _result("failed", f"'weft {command[4]}' ended with exit code {child.returncode}",
                           time.time() - began, peak, child.returncode)  # fmt: skip
    return _result("finished", None, time.time() - began, peak, 0)


def _result(status: str, reason: str | None, seconds: float, peak: int, code: int | None) -> dict[str, Any]:
    return {"status": status, "reason": reason, "seconds": round(seconds, 1), "peak_memory_bytes": peak,
            "exit_code": code, "ended": time.time()}  # fmt: skip


def _limits() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _mark(folder: Path, children: list[list[float]]) -> None:
    """Say which processes the job is: by number and time of creation, since numbers are used again."""
    mine = {"pid": os.getpid(), "created": psutil.Process().create_time()}
    _write(folder / "process.json", {**mine, "children": children})


def _memory(process: psutil.Process) -> int:
    """Return the resident memory of a process and all below it, in bytes."""
    total = 0
    for one in _tree(process):
        with contextlib.suppress(psutil.Error):
            total += one.memory_info().rss
    return total


def _kill(process: psutil.Process) -> None:
    """Kill a process and all below it."""
    for one in _tree(process):
        with contextlib.suppress(psutil.Error):
            one.kill()


def _kill_session(leader: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


def _tree(process: psutil.Process) -> list[psutil.Process]:
    try:
        return [process, *process.children(recursive=True)]
    except psutil.Error:
        return []


def _write(path: Path, value: Any) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(value))
    os.replace(temporary, path)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

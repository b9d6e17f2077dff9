"""What a Dask worker runs: a local worker, so that a job meets the same process, wherever it runs.

The Dask worker itself only waits. The process that trains is a child with one thread; it is killed when its time is up,
says how it died, is used for all later jobs, and ends with the Dask worker, also when that is killed.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from weft.errors import RunError
from weft.search.job import Job
from weft.search.workers._base import Lost
from weft.search.workers.local import LocalWorkers

TOKEN = "token"

_places: dict[str, _Place] = {}
_guard = threading.Lock()


class _Place:
    """The process for the jobs of one search."""

    def __init__(self, settings: dict[str, Any]) -> None:
        logs = Path(settings["logs"])
        _require_shared(logs / TOKEN, settings["token"], settings["patience"])
        logs /= f"{re.sub(r'[^A-Za-z0-9.-]', '-', socket.gethostname())}-{os.getpid()}"
        self.lock = threading.Lock()
        self.workers = LocalWorkers(1, settings["evaluate"], logs, settings["seconds"], pin=False)


def evaluate(job: str, settings: str) -> dict[str, Any]:
    """Run one job and return its result, `{"lost": reason}` or `{"fatal": reason}`.

    Fatal is what would be so on every machine: the run directory is not shared, the evaluation cannot be imported, the
    disk is full. What the file system of this one refuses loses the job alone, and ends the process.

    Args:
        job: A `Job` as JSON.
        settings: JSON, the same for all jobs of a search: `evaluate`, `logs` (directory), `token` (what the
            file of this name holds), `patience` (seconds until it must be there), `seconds` (longest time of a job).
    """
    try:
        with _guard:
            place = _places.get(settings) or _places.setdefault(settings, _Place(json.loads(settings)))
        work = Job.from_json(job)
        Path(work.directory).mkdir(parents=True, exist_ok=True)
        with place.lock:
            place.workers.start(work)
            ((_, reply),) = place.workers.wait()
    except (RunError, OSError) as error:
        is_lost = isinstance(error, OSError) or isinstance(error.__cause__, OSError)
        if is_lost:
            end(settings)  # its next job gets another process, which knows nothing of this one
        return {"lost" if is_lost else "fatal": f"on {socket.gethostname()}: {error}"}
    return {"lost": reply.reason} if isinstance(reply, Lost) else reply.to_dict()


def end(settings: str) -> None:
    """Kill the process of a search, also in the middle of a job."""
    place = _places.pop(settings, None)
    for pid in place.workers.pids if place else ():
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)


def _require_shared(path: Path, token: str, patience: float) -> None:
    deadline = time.monotonic() + patience
    while True:
        found = path.read_text() if path.exists() else None
        if found == token:
            return
        if time.monotonic() > deadline:
            raise RunError(
                f"{path}, which the search wrote, {'is not there' if found is None else 'holds something else'}; "
                "workers write weights into the run directory, so it must be on a file system that they share with "
                "the search: give such a directory with --out"
            )
        time.sleep(0.2)

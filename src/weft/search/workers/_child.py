"""The process behind a local worker: evaluates the jobs that arrive on its pipe until the pipe closes.

Arguments: the search path (JSON), the pipe's descriptor, the core to stay on (-1: any), and the evaluation's name.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
from multiprocessing.connection import Connection

from weft.errors import RunError
from weft.search.job import Job
from weft.search.workers._base import evaluate_job, import_evaluate


def main() -> None:
    """Serve one coordinator; never returns."""
    descriptor, core, name = int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    os.set_inheritable(descriptor, False)
    if core >= 0 and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})
    pipe = Connection(descriptor)
    jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(pipe, jobs), daemon=True).start()
    evaluate = None
    while True:
        job = jobs.get()
        try:
            evaluate = evaluate or import_evaluate(name)
            reply = evaluate_job(evaluate, job).to_dict()
        except RunError as error:
            reply = {"fatal": str(error)}
        sys.stdout.flush()
        pipe.send_bytes(json.dumps(reply).encode())


def _listen(pipe: Connection, jobs: queue.SimpleQueue[Job]) -> None:
    """Take jobs off the pipe; when the coordinator is gone, end this process and all it started."""
    while True:
        try:
            jobs.put(Job.from_json(pipe.recv_bytes().decode()))
        except (EOFError, OSError):
            os.killpg(0, signal.SIGKILL)

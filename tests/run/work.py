"""Jobs for the tests of `weft.run.parallel`: they succeed, fail, report, and die."""

from __future__ import annotations

import os
import signal
import time

from weft.errors import BudgetError


def job(what: dict, report) -> dict:
    for i in range(what.get("steps", 0)):
        report(i + 1, what["steps"], f"step {i + 1}")
    if what.get("die"):
        os.kill(os.getpid(), signal.SIGKILL)
    if what.get("leave"):
        os._exit(7)
    if what.get("fail"):
        raise BudgetError("too large by far")
    if what.get("defect"):
        raise KeyError("nothing here")
    time.sleep(what.get("sleep", 0.0))
    return {"pid": os.getpid(), "threads": os.environ.get("OMP_NUM_THREADS"), "answer": what.get("x", 0) ** 2}

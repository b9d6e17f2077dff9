"""Evaluate jobs in this process, one at a time: for debugging, and where processes cannot be started."""

from __future__ import annotations

from weft.search.job import Job, Result
from weft.search.workers._base import Lost, Workers, evaluate_job, import_evaluate


class InlineWorkers(Workers):
    """One job at a time, inside `wait`."""

    def __init__(self, evaluate: str) -> None:
        self._evaluate = import_evaluate(evaluate)
        self._job: Job | None = None

    @property
    def free(self) -> int:
        return 1 if self._job is None else 0

    def start(self, job: Job) -> None:
        self._job = job

    def wait(self) -> list[tuple[Job, Result | Lost]]:
        if self._job is None:
            return []
        job, self._job = self._job, None
        return [(job, evaluate_job(self._evaluate, job))]

    def close(self) -> None:
        self._job = None

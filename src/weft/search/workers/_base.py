"""The contract of workers: jobs are started, and come back finished or lost."""

from __future__ import annotations

import abc
import collections
import importlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from weft.errors import RunError, TrainingError, UnsupportedError
from weft.search._disk import FULL
from weft.search.job import ErrorKind, Job, Result

logger = logging.getLogger(__name__)

Evaluate = Callable[[Job], Result]


@dataclass(frozen=True)
class Lost:
    """A job whose worker died: killed, out of memory, out of time, or exited. It may be tried again."""

    reason: str


class Workers(abc.ABC):
    """A place where jobs run. Close it, or use it in a `with` statement: closing kills what still runs."""

    @property
    @abc.abstractmethod
    def free(self) -> int:
        """How many jobs may be started now."""

    def take(self, queue: collections.deque[Job]) -> Job:
        """Take that job out of a queue which is best started next: the first, unless workers differ."""
        return queue.popleft()

    @abc.abstractmethod
    def start(self, job: Job) -> None:
        """Begin a job; allowed while `free` > 0."""

    @abc.abstractmethod
    def wait(self) -> list[tuple[Job, Result | Lost]]:
        """Block until a started job has come back, or more may be started; return those that have come back.

        While a job waits for a worker, return every now and then.

        Raises:
            RunError: no job can be evaluated here: the function cannot be imported, the disk is full, no worker comes.
        """

    def give_back(self) -> list[Job]:
        """Take back the jobs that still wait for a worker; none where each begins at once."""
        return []

    @abc.abstractmethod
    def close(self) -> None:
        """End all workers at once; jobs that still run are dropped."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def import_evaluate(name: str) -> Evaluate:
    """Import `"module:function"`.

    Raises:
        RunError: it cannot be imported, with the reason.
    """
    module, _, function = name.partition(":")
    try:
        found: Evaluate = getattr(importlib.import_module(module), function)
    except Exception as error:
        raise RunError(
            f"cannot import the evaluation {name!r}: {type(error).__name__}: {error}; it is written 'module:function', "
            "and its module must be importable where the search was started"
        ) from error
    return found


def evaluate_job(evaluate: Evaluate, job: Job) -> Result:
    """Run one job; an exception becomes a result with its reason, and its trace is logged.

    Raises:
        RunError: the disk is full, which is not the job's fault.
    """
    start = time.perf_counter()
    try:
        result = evaluate(job)
        if not isinstance(result, Result):
            raise TypeError(f"the evaluation returned {type(result).__name__}, not a weft.search.job.Result")
        return Result.from_json(result.to_json())
    except Exception as error:
        if isinstance(error, OSError) and error.errno in FULL:
            raise RunError(
                f"could not write the results of trial {job.number} into {job.directory}: {error.strerror}; free space "
                "and run the same command again: what is finished is kept, and the run goes on from there"
            ) from error
        logger.warning("trial %d, fold %d failed", job.number, job.fold, exc_info=True)
        kind: ErrorKind = "crash"
        if isinstance(error, TrainingError):
            kind = "diverged"
        elif isinstance(error, UnsupportedError):
            kind = "unsupported"
        text = "; ".join([str(error), *getattr(error, "__notes__", ())])
        reason = text if kind != "crash" else f"{type(error).__name__}: {text}"
        seconds = time.perf_counter() - start
        return Result(job.number, job.fold, seconds=seconds, error=" ".join(reason.split()), error_kind=kind)

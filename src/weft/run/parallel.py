"""Run one function on many inputs in processes of their own, with progress, and notice when one dies.

Each job is one process, pinned to one thread: the work of a stage is a handful of jobs of many seconds. A job that is
killed loses nothing but the time since its last checkpoint; the same command goes on from there.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, cast

from weft import errors
from weft._backend import one_thread
from weft.errors import RunError, WeftError
from weft.search._interrupt import Interrupts
from weft.types import Progress, no_progress

Report = Callable[[int, int, str], None]


def run_jobs(
    function: str,
    jobs: Mapping[str, Any],
    n_workers: int,
    log_directory: Path,
    progress: Progress = no_progress,
) -> dict[str, Any]:
    """Call `function(job, report)` for each job, at most `n_workers` at a time, and return the results by name.

    Args:
        function: `"module:function"`; results and jobs are JSON-like.
        jobs: Inputs by name; names appear in progress and messages.
        n_workers: Processes at a time.
        log_directory: Receives `<name>.log` with what each process prints.
        progress: Called with sums over all jobs; a job reports its own (done, total, note).

    Raises:
        WeftError: The first error of any job, once the others have ended.
        RunError: A process died.
    """
    context = multiprocessing.get_context("spawn")
    log_directory.mkdir(parents=True, exist_ok=True)
    waiting = list(jobs.items())
    running: dict[Connection, tuple[str, Any]] = {}
    shares: dict[str, tuple[int, int]] = {}
    results: dict[str, Any] = {}
    failures: list[tuple[str, WeftError]] = []
    try:
        while waiting or running:
            while waiting and len(running) < n_workers:
                name, job = waiting.pop(0)
                mine, theirs = context.Pipe(duplex=False)
                arguments = (theirs, function, job, str(log_directory / f"{name}.log"))
                with Interrupts() as interrupts, _environment(one_thread()):  # one that starts is not left halfway
                    process = context.Process(target=_child, args=arguments, name=name, daemon=True)
                    process.start()
                theirs.close()
                running[mine] = (name, process)
                interrupts.check()
            for connection in cast("list[Connection]", wait(list(running))):  # wait returns what it was given
                name, process = running[connection]
                try:
                    kind, value = connection.recv()
                except EOFError:
                    process.join()
                    kind, value = _death(name, process.exitcode, log_directory)
                if kind == "progress":
                    done, total, note = value
                    shares[name] = (done, total)
                    _report(progress, shares, len(jobs), f"{name}: {note}")
                    continue
                connection.close()
                running.pop(connection)
                process.join()
                if kind == "result":
                    results[name] = value
                    shares[name] = (1, 1)
                    _report(progress, shares, len(jobs), f"{name}: done")
                else:
                    failures.append((name, value))
    finally:
        for _, process in running.values():
            process.kill()
            process.join()
    if failures:
        name, error = failures[0]
        error.add_note(f"in job '{name}'; {log_directory / f'{name}.log'} holds what it printed")
        for other, also in failures[1:]:
            error.add_note(f"job '{other}' failed too: {also}")
        raise error
    return results


def _report(progress: Progress, shares: Mapping[str, tuple[int, int]], n_jobs: int, note: str) -> None:
    share = sum(done / total for done, total in shares.values() if total) / n_jobs
    progress(round(1000 * share), 1000, note)


def _death(name: str, code: int | None, log_directory: Path) -> tuple[str, Any]:
    """Return what is heard of a process that died, in place of its own words."""
    how = f"signal {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit code {code}"
    error = RunError(
        f"the process of job '{name}' died ({how}); if memory ran out, use fewer workers. Nothing finished is lost: "
        f"the same command goes on from the last checkpoint. Its output is in {log_directory / f'{name}.log'}"
    )
    return "error", error


def _child(connection: Connection, function: str, job: Any, log: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle, which then ends this process
    with open(log, "a") as handle:
        os.dup2(handle.fileno(), sys.stdout.fileno())
        os.dup2(handle.fileno(), sys.stderr.fileno())
    try:
        module, _, attribute = function.partition(":")
        work = getattr(importlib.import_module(module), attribute)
        result = work(job, lambda done, total, note="": connection.send(("progress", (done, total, note))))
    except WeftError as error:
        traceback.print_exc()
        connection.send(("error", _portable(error)))
    except Exception as error:  # noqa: BLE001 - a job's defect is reported to the parent, which raises it
        traceback.print_exc()
        connection.send(("error", RunError(f"{type(error).__name__}: {error}")))
    else:
        connection.send(("result", result))


def _portable(error: WeftError) -> WeftError:
    """Return an error of the same class that pickles, notes kept."""
    copy = getattr(errors, type(error).__name__)(str(error))
    for note in getattr(error, "__notes__", ()):
        copy.add_note(note)
    return copy


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value

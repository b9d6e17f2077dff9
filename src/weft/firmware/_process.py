"""Run a tool: its output goes to a log file, its children die with it, and a failure shows the end of the log."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from weft.errors import ToolError, ToolNotFoundError

VERSION_TIMEOUT_S = 60.0
_TAIL_LINES = 20


def version_text(command: str, *options: str, cure: str) -> str:
    """Return what a program prints when it is asked for its version, within a minute.

    Raises:
        ToolNotFoundError: It does not start, does not answer in that time, or fails.
    """
    asked = f"'{' '.join([command, *options])}'"
    try:
        done = subprocess.run([command, *options], capture_output=True, text=True, timeout=VERSION_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ToolNotFoundError(f"{asked} does not answer ({error}); {cure}") from error
    if done.returncode:
        said = (done.stdout + done.stderr).strip()[:100]
        raise ToolNotFoundError(f"{asked} ended with exit code {done.returncode}: {said!r}; {cure}")
    return done.stdout


@contextlib.contextmanager
def naming_what_does_not_fit(pattern: str, device: str, tool: str, log: Path, remedy: str) -> Iterator[None]:
    """Where a tool fails and its log says by `pattern` that the design is too large, raise a ToolError that says so."""
    try:
        yield
    except ToolError as error:
        too_large = re.search(pattern, log.read_text(errors="replace"))
        if too_large is None:
            raise
        said = f"{tool} says '{too_large.group(0)}'"
        raise ToolError(f"the design does not fit on {device}: {said}; {remedy}. All it said is in {log}") from error


def run_logged(
    command: Sequence[str],
    *,
    task: str,
    log: Path,
    timeout_s: float,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    stdin: IO[bytes] | None = None,
    stdout: IO[bytes] | None = None,
    memory_gib: float | None = None,
) -> None:
    """Run a command to its end.

    Args:
        command: The program and its arguments.
        task: What the command does, in words that complete "cannot ...".
        log: Where standard error goes, and standard output unless `stdout` takes it; replaced.
        timeout_s: Wall-clock limit in seconds; the command and all its children are killed then.
        cwd: Directory to run in.
        env: Additions to the environment.
        stdin: Where standard input comes from; nothing by default.
        stdout: Where standard output goes instead of the log.
        memory_gib: Address space that each process of the command may take, in GiB; None sets no limit.

    Raises:
        ToolError: The command failed, was killed or took too long; the message holds the end of the log.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    started = list(command)
    if memory_gib is not None:
        started = ["sh", "-c", 'ulimit -v "$0" && exec "$@"', str(int(memory_gib * 2**20)), *started]
    with log.open("wb") as sink:
        try:
            process = subprocess.Popen(
                started,
                cwd=cwd,
                env={**os.environ, **(env or {})},
                stdin=stdin or subprocess.DEVNULL,
                stdout=stdout or sink,
                stderr=sink,
                start_new_session=True,
            )
        except OSError as error:
            raise ToolError(f"cannot {task}: {command[0]} does not start ({error})") from error
        code = None
        try:
            code = process.wait(timeout_s)
            ending = f"exit code {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"
        except subprocess.TimeoutExpired:
            ending = f"not done after the limit of {round(timeout_s, 1):g} s"
        finally:
            if code != 0:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    if code != 0:
        lines = log.read_text(errors="replace").splitlines()
        tail = "\n".join(lines[-_TAIL_LINES:]) or "(nothing)"
        raise ToolError(f"cannot {task}: {Path(command[0]).name}: {ending}; the end of {log}:\n{tail}")

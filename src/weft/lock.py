"""One process at a time works in a run directory.

The lock is `flock` on the file `.lock`: the kernel holds it for the process, so an owner that is killed leaves no
stale lock behind. The file says who the owner is; it stays when the lock is released, and then means nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import time
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from weft.errors import RunError

LOCK_FILE = ".lock"

PATIENCE_S = 0.2
"""How long the lock is asked for: who asks for its owner holds it for a moment too."""


class RunLock:
    """The exclusive lock of a run directory, for use in a `with` statement.

    Raises:
        RunError: on entry, where another process works in the directory, or the lock file cannot be written.
    """

    def __init__(self, path: Path | str) -> None:
        self._directory = Path(path)
        self._descriptor: int | None = None

    def __enter__(self) -> Self:
        path = self._directory / LOCK_FILE
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise RunError(
                f"cannot lock the run directory {self._directory}: {error.strerror}; "
                "give a directory that you may write to"
            ) from error
        if not _taken(descriptor):
            owner = _read(descriptor)
            os.close(descriptor)
            raise RunError(
                f"run {self._directory} is in use by process {owner.get('pid', '?')} on {owner.get('host', '?')} since "
                f"{owner.get('since', '?')}; 'weft status {self._directory}' shows how far it is, "
                "or give another directory"
            )
        self._descriptor = descriptor
        owner = {"pid": os.getpid(), "host": socket.gethostname(), "since": datetime.now(UTC).isoformat("T", "seconds")}
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(owner).encode(), 0)
        except OSError as error:
            self.__exit__(None, None, None)
            raise RunError(f"cannot write {path}: {error.strerror}; free space on this disk and start again") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)  # closing releases
            self._descriptor = None


def lock_owner(path: Path | str) -> dict[str, Any] | None:
    """Return `{"pid", "host", "since"}` of the process that works in run directory `path`, or None where none does."""
    try:
        descriptor = os.open(Path(path) / LOCK_FILE, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read(descriptor)
    else:
        return None
    finally:
        os.close(descriptor)


def _taken(descriptor: int) -> bool:
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= end:
                return False
            time.sleep(0.01)
        else:
            return True


def _read(descriptor: int) -> dict[str, Any]:
    with contextlib.suppress(ValueError):  # the owner may be about to write it
        return dict(json.loads(os.pread(descriptor, 4096, 0)))
    return {}

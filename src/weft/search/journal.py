"""The journal of a search survives kills and full disks.

`study.journal` holds one JSON operation a line, in Optuna's own format, so Optuna's tools can read it. One process
writes (it holds the run's lock), so the journal needs no lock file of its own, and none can be left behind by a kill.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from optuna.storages.journal import BaseJournalBackend, JournalFileBackend

from weft import atomic
from weft.errors import RunError
from weft.search._disk import writing

JOURNAL = "study.journal"

logger = logging.getLogger(__name__)


def repair(path: Path | str, salvage: bool = False) -> None:
    """Make a journal readable again after a kill or a full disk; do nothing to one that is sound or absent.

    A last line that was cut off is removed, with a warning: what it recorded is done again.

    Args:
        path: Of the journal.
        salvage: Keep what stands before a damaged line in the middle, and set the damaged journal aside as
            `<name>.damaged`. The trials recorded after that line are evaluated again.

    Raises:
        RunError: a line in the middle is damaged and `salvage` is False.
    """
    path = Path(path)
    if not path.exists():
        return
    data = path.read_bytes()
    sound = sound_bytes(path, data, salvage)
    if sound == len(data):
        return
    with writing(path):
        if b"\n" in data[sound:].rstrip(b"\n"):
            atomic.write_bytes(path.with_name(path.name + ".damaged"), data)
        logger.warning("%s: removed %d bytes of damaged operations from byte %d on", path, len(data) - sound, sound)
        with open(path, "r+b") as handle:
            handle.truncate(sound)
            os.fsync(handle.fileno())


def sound_bytes(path: Path, data: bytes | None = None, salvage: bool = False) -> int:
    """Return how many bytes from the start are whole operations; damage before the last line is an error."""
    lines = (path.read_bytes() if data is None else data).splitlines(keepends=True)
    sound = 0
    for number, line in enumerate(lines, start=1):
        if not _is_operation(line):
            if number < len(lines) and not salvage:
                raise RunError(
                    f"{path} is damaged in line {number} of {len(lines)}, which is no journal entry: "
                    f"{line[:60]!r}; restore the file from a copy, or call weft.search.journal.repair({str(path)!r}, "
                    "salvage=True) to keep what stands before that line and evaluate the rest again"
                )
            break
        sound += len(line)
    return sound


def _is_operation(line: bytes) -> bool:
    try:
        return line.endswith(b"\n") and "op_code" in json.loads(line)
    except (ValueError, TypeError):
        return False


class Journal(BaseJournalBackend):
    """Optuna's journal file without its lock file, and without a part of an operation when a write fails."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = JournalFileBackend(str(path), lock_obj=_HeldByTheRun())  # type: ignore[arg-type]  # duck-typed

    def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
        return self._file.read_logs(log_number_from)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        size = self._path.stat().st_size
        with writing(self._path):
            try:
                self._file.append_logs(logs)
            except OSError:
                os.truncate(self._path, size)
                raise


class _HeldByTheRun:
    """The lock that Optuna asks for: the run's own lock is held already."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        return None

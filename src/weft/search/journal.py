"""The journal of a search survives kills and full disks.

`study.journal` holds one JSON operation a line, in Optuna's own format, so Optuna's tools can read it. One process
writes (it holds the run's lock), so the journal needs no lock file of its own, and none can be left behind by a kill.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Container, Iterable
from pathlib import Path
from typing import Any

from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend, JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from weft import atomic
from weft.errors import RunError
from weft.search._disk import writing

JOURNAL = "study.journal"

RESULT = "fold "
"""Begins the name of the attribute of a trial that holds what one fold gave."""

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
    """Optuna's journal file without its lock file, and without a part of an operation when a write fails.

    Every operation is in the file before the next begins, so a kill loses none. The disk is waited for (`fsync`) after
    each result of a fold and each attribute of the study, so a power cut loses no training; what it may lose, the
    candidates asked for and told since, follows from those.

    Args:
        path: Of the file.
        alone: Whether no other process writes it; what this one wrote is then not read back.
    """

    def __init__(self, path: Path, alone: bool = False) -> None:
        self._path, self._alone = path, alone
        self._file = JournalFileBackend(str(path), lock_obj=_HeldByTheRun())  # type: ignore[arg-type]  # duck-typed
        self._recent: list[dict[str, Any]] | None = None  # written here since `_first`, once the file has been read
        self._first = 0

    def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
        if not self._alone:
            return self._file.read_logs(log_number_from)
        if self._recent is None:
            found = list(self._file.read_logs(log_number_from))
            self._recent, self._first = [], log_number_from + len(found)
            return found
        found = self._recent[log_number_from - self._first :]
        self._recent, self._first = [], log_number_from + len(found)
        return found

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        lines = [json.dumps(log, separators=(",", ":")) for log in logs]
        with writing(self._path), open(self._path, "ab", buffering=0) as handle:
            size = handle.tell()
            try:
                data = memoryview(("\n".join(lines) + "\n").encode())
                while data:
                    data = data[handle.write(data) :]
                if any(map(_is_work, logs)):
                    os.fsync(handle.fileno())
            except OSError:
                os.truncate(self._path, size)
                raise
        if self._recent is not None:  # as it would be read, with lists for tuples; a parameter is a number
            self._recent += [
                log if "param_name" in log else json.loads(line) for log, line in zip(logs, lines, strict=True)
            ]


def _is_work(log: dict[str, Any]) -> bool:
    return "user_attr" in log and ("study_id" in log or any(name.startswith(RESULT) for name in log["user_attr"]))


class Storage(JournalStorage):
    """Optuna's journal storage, where a list of all trials costs what has changed: finished trials never do."""

    def __init__(self, journal: Journal) -> None:
        self._finished: dict[int, list[FrozenTrial]] = {}
        super().__init__(journal)

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        if deepcopy:
            return super().get_all_trials(study_id, deepcopy, states)
        with self._thread_lock:
            self._sync_with_backend()
            trials = self._replay_result._trials
            ids = self._replay_result._study_id_to_trial_ids[study_id]
            finished = self._finished.setdefault(study_id, [])
            while len(finished) < len(ids) and trials[ids[len(finished)]].state.is_finished():
                finished.append(trials[ids[len(finished)]])
            rest = [trials[number] for number in ids[len(finished) :]]
        if states is None:
            return finished + rest
        wants_finished = any(state.is_finished() and state in states for state in TrialState)
        return [trial for trial in (finished + rest if wants_finished else rest) if trial.state in states]


class _HeldByTheRun:
    """The lock that Optuna asks for: the run's own lock is held already."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        return None

"""A look into the user's own file: its columns, which of them is the label, and what stands in the way of training.

Everything that is taken for granted is said in `notes`, in words that go into the experiment file as comments.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from weft.data.check import GAPS
from weft.data.files import Content, read
from weft.data.labels import MOST_CLASSES, encode
from weft.data.roles import LABELS, assign
from weft.draft.request import Request
from weft.errors import DataError
from weft.section import did_you_mean
from weft.types import Task

_LIKELY = ("kind", "type", "category", "species", "is_signal", "signal", "truth", "label_id", "class_id", "outcome")
_COUNTERS = ("id", "index", "idx", "event", "event_id", "eventnumber", "row", "unnamed: 0", "run", "timestamp", "date")
_WEIGHTS = ("weight", "weights", "sample_weight", "event_weight")
_FEW = 20  # different whole numbers that pass for classes


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        name: Its name.
        kind: Whole numbers, numbers, or text.
        different: How many different values there are, gaps left out.
        gaps: Rows without a value: empty, NaN, infinite, or a word such as `n/a`.
        examples: The first different values, as text.
    """

    name: str
    kind: Literal["whole numbers", "numbers", "text"]
    different: int
    gaps: int
    examples: tuple[str, ...]


@dataclass(frozen=True)
class Look:
    """What a file holds and how it would be read.

    Attributes:
        path: The file.
        rows: Its rows.
        columns: Its columns; empty where it holds arrays `x` and `y`.
        label: Column or array of the label; None where it cannot be told.
        task: What would be learnt; None without a label.
        class_names: Of a classification.
        features: Columns that would be features; empty: all of them.
        missing: Whether rows have to be left out.
        classes: How whole-number labels are to be read.
        notes: What was seen and what was taken for granted.
    """

    path: str
    rows: int
    columns: tuple[Column, ...]
    label: str | None
    task: Task | None = None
    class_names: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    missing: Literal["refuse", "drop"] = "refuse"
    classes: Literal["numbered", "values"] = "numbered"
    notes: tuple[str, ...] = ()

    def fill(self, request: Request) -> Request:
        """Return a request with what it leaves open about the data as the file has it."""
        open_ = {"label": self.label, "task": self.task, "features": self.features}
        found = {name: value for name, value in open_.items() if not getattr(request, name)}
        return request.model_copy(update={**found, "missing": self.missing, "classes": self.classes})


def look_at(
    path: Path,
    label: str | None = None,
    features: Sequence[str] = (),
    task: Task | None = None,
    tree: str | None = None,
) -> Look:
    """Return what a data file holds.

    Args:
        path: A file of any format that weft reads.
        label: Column or array of the label, if it is known.
        features: Columns to use; empty leaves out those that can be none, and says why.
        task: What is learnt, if it is known.
        tree: Tree of a ROOT file; None takes the only one.

    Raises:
        DataError: the file cannot be read, a named column does not exist, or nothing is left to learn from.
    """
    content = read(path, tree)
    return _table(content, label, features, task) if content.table else _arrays(content, label, task)


def _arrays(content: Content, label: str | None, task: Task | None) -> Look:
    parts = assign(content, label=label, missing="drop")
    classes: Literal["numbered", "values"] = "numbered"
    values = labels = encode(parts, task or "auto", "values")
    try:
        labels = encode(parts, task or "auto")
    except DataError:
        classes = "values"
    if len(labels.class_names) != len(values.class_names):  # some number below the largest is no class
        classes = "values"
    if classes == "values":
        labels = values
    rows = {name: len(part.x) + part.dropped for name, part in parts.items()}
    first = next(iter(parts.values()))
    kind = f"{len(labels.class_names)} classes: {_few(labels.class_names)}" if labels.class_names else "a number"
    notes = [
        f"{content.path.name} holds arrays: {', '.join(f'{n} rows ({name})' for name, n in rows.items())} "
        f"of shape {first.x.shape[1:]}; the labels are '{first.label}', {kind}."
    ]
    lost = sum(part.dropped for part in parts.values())
    if lost:
        notes.append(f"{lost} of {sum(rows.values())} rows have a gap and are left out: missing: drop.")
    return Look(
        str(content.path), sum(rows.values()), (), label, labels.task, labels.class_names, (),
        "drop" if lost else "refuse", classes, tuple(notes),
    )  # fmt: skip


def _table(content: Content, label: str | None, features: Sequence[str], task: Task | None) -> Look:
    seen = {name: _column(name, content.get(name)) for name in content.shapes}
    columns = {name: column for name, (column, _) in seen.items()}
    rows = len(next(iter(seen.values()))[1])
    where = str(content.path)
    for name in (*([label] if label else []), *features):
        if name not in columns:
            raise DataError(f"{where} has no column '{name}'{did_you_mean(name, columns)}; it has {_listed(columns)}")
    notes = [f"{content.path.name}: {rows} rows, {len(columns)} columns."]
    label, why = (label, "as you said") if label else _guess(columns)
    if label is None:
        return Look(where, rows, tuple(columns.values()), None, notes=(*notes, why))
    target = columns[label]
    task, classes, names = _task(target, seen[label][1], task)
    kind = f"{len(names)} classes: {_few(names)}" if names else "a number to predict"
    notes.append(f"The label is '{label}', {why}: {kind}.")
    if classes == "values":
        notes.append(f"Its values are no numbers 0 to {len(names) - 1}: each different value is a class.")
    if names:
        notes += _rare(seen[label][1], names)
    out = {} if features else _no_features(seen, label)
    notes += [f"Left out: '{name}', {reason}." for name, reason in out.items()]
    used = [name for name in (features or columns) if name != label and name not in out]
    if not used:
        raise DataError(
            f"{where}: no column is left to learn from beside the label '{label}'; name some with --features"
        )
    gaps = {name: columns[name].gaps for name in (*used, label) if columns[name].gaps}
    lost = int(_gaps_of_any([seen[name][1] for name in (*used, label)], rows))
    if lost:
        per = ", ".join(f"{name} {n}" for name, n in gaps.items())
        notes.append(f"{lost} of {rows} rows have a gap ({per}) and are left out: missing: drop.")
    return Look(
        where, rows, tuple(columns.values()), label, task, names, tuple(used) if out else (),
        "drop" if lost else "refuse", classes, tuple(notes),
    )  # fmt: skip


def _column(name: str, cells: np.ndarray) -> tuple[Column, np.ndarray]:
    """Return a description of a column, and its values: floats with NaN, or strings with "" where one is missing."""
    values = _values(cells)
    there = values[~_gap(values)]
    different = np.unique(there)
    kind = "text" if values.dtype.kind == "U" else "whole numbers" if (there == np.rint(there)).all() else "numbers"
    examples = tuple(str(v) if kind == "text" else f"{v:g}" for v in different[:5].tolist())
    return Column(name, kind, len(different), int(_gap(values).sum()), examples), values


def _values(cells: np.ndarray) -> np.ndarray:
    if cells.dtype.kind in "biuf":
        return cells.astype(float)
    text = np.char.strip(cells.astype(str))
    empty = np.isin(np.char.lower(text), sorted(GAPS))
    try:
        numbers = np.where(empty, "nan", text).astype(float)
    except ValueError:
        return np.where(np.isin(np.char.lower(text), sorted(GAPS - {"none", "-"})), "", text)
    return numbers


def _gap(values: np.ndarray) -> np.ndarray:
    return values == "" if values.dtype.kind == "U" else ~np.isfinite(values)


def _gaps_of_any(columns: Sequence[np.ndarray], rows: int) -> int:
    gap = np.zeros(rows, bool)
    for values in columns:
        gap |= _gap(values)
    return gap.sum()


def _guess(columns: dict[str, Column]) -> tuple[str | None, str]:
    """Return the column that looks like the label and why, or None and why not."""
    for names in (LABELS, _LIKELY):
        found = [name for name in columns if name.strip().lower() in names]
        if len(found) == 1:
            return found[0], "by its name"
        if found:
            return None, f"{' and '.join(map(repr, found))} could both be the label"
    text = [name for name, column in columns.items() if column.kind == "text" and 2 <= column.different <= MOST_CLASSES]
    if len(text) == 1:
        return text[0], "the only column of few words"
    last = list(columns.values())[-1]
    if not text and last.kind == "whole numbers" and 2 <= last.different <= _FEW:
        return last.name, f"the last column, of {last.different} different whole numbers"
    return None, "no column looks like the label more than another"


def _task(
    column: Column, values: np.ndarray, task: Task | None
) -> tuple[Task, Literal["numbered", "values"], tuple[str, ...]]:
    """Return the task, how classes are numbered, and their names."""
    if task is None:
        few = column.kind == "text" or (column.kind == "whole numbers" and column.different <= _FEW)
        task = ("binary" if column.different == 2 else "classification") if few else "regression"
    if task == "regression":
        return task, "numbered", ()
    different = np.unique(values[~_gap(values)])
    names = tuple(v if column.kind == "text" else f"{v:g}" for v in different.tolist())
    counted = column.kind == "text" or np.array_equal(different, np.arange(len(different)))
    return task, "numbered" if counted else "values", names


def _rare(values: np.ndarray, names: Sequence[str]) -> list[str]:
    _, counts = np.unique(values[~_gap(values)], return_counts=True)
    few = [f"{name} ({n})" for name, n in zip(names, counts, strict=True) if n < 20]
    notes = [f"Few rows: {', '.join(few)}; every class needs some in each split."] if few else []
    if counts.max() > 10 * counts.min():
        notes.append("The classes differ much in size: class_weights: balanced would count them alike.")
    return notes


def _no_features(seen: dict[str, tuple[Column, np.ndarray]], label: str) -> dict[str, str]:
    """Return the columns that can be no features, and why."""
    rows = len(seen[label][1])
    found: dict[str, str] = {}
    for name, (column, values) in seen.items():
        lower = name.strip().lower()
        if name == label:
            continue
        if column.different <= 1:
            found[name] = "it is empty" if not column.different else "it never changes"
        elif column.kind == "text":
            found[name] = f"text ({_few(column.examples)})"
        elif column.gaps > rows / 2:
            found[name] = f"{column.gaps} of {rows} rows have no value"
        elif lower in _WEIGHTS:
            found[name] = f"it looks like a weight; if it is one, write sample_weight: {name}"
        elif lower in _COUNTERS or (column.kind == "whole numbers" and _counts_up(values)):
            found[name] = "it looks like a number of the row"
        elif _tells(values, seen[label][1]):
            found[name] = "each of its values goes with one value of the label, so it gives the answer away"
    return found


def _counts_up(values: np.ndarray) -> bool:
    return len(values) > 2 and bool((np.diff(values) == 1).all())


def _tells(values: np.ndarray, target: np.ndarray) -> bool:
    """Return whether a column is the label by other names: as many values as it has, one for each."""
    there = ~(_gap(values) | _gap(target))
    mine, yours = np.unique(values[there], return_inverse=True), np.unique(target[there], return_inverse=True)
    pairs = len(np.unique(np.stack([mine[1], yours[1]]), axis=1).T)
    return 2 <= len(mine[0]) == len(yours[0]) == pairs < there.sum() / 2


def _few(words: Sequence[Any]) -> str:
    shown = ", ".join(str(word)[:30] for word in words[:8])
    return shown + (f" and {len(words) - 8} more" if len(words) > 8 else "")


def _listed(columns: dict[str, Column]) -> str:
    return _few([f"'{name}'" for name in columns])

"""Labels: the task they imply, and classes as numbers from 0.

Strings are classes in alphabetical order. Numbers that are whole are classes 0, 1, ..., up to `MOST_CLASSES`; other
numbers are the targets of a regression. Rows of zeros with a single one (one-hot) are classes by position.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from weft.data import check
from weft.data.roles import Rows
from weft.errors import DataError
from weft.types import Task

MOST_CLASSES = 100
"""More different whole numbers than this do not pass for classes unless the task says so."""


@dataclass(frozen=True)
class Labels:
    """The encoded labels of every split.

    Attributes:
        task: What is learnt.
        class_names: Name of each class; empty for a regression.
        y: By split: int32 (n,) class numbers, or float32 (n, k) targets.
        notes: What was decided on the way.
    """

    task: Task
    class_names: tuple[str, ...]
    y: Mapping[str, np.ndarray]
    notes: tuple[str, ...] = ()


def encode(
    parts: Mapping[str, Rows], task: Literal["auto"] | Task, classes: Literal["numbered", "values"] = "numbered"
) -> Labels:
    """Decide the task of `parts` if it is `auto`, and number their classes alike.

    Args:
        parts: Rows by split.
        task: What is learnt.
        classes: Whether whole numbers are class numbers from 0, or each different value is a class.

    Raises:
        DataError: the labels do not fit the task, a class number is not whole or out of range, or the task cannot be
            told.
    """
    first = next(iter(parts.values()))
    raw = {split: _numbers_if_possible(rows.y) for split, rows in parts.items()}
    text = any(y.dtype.kind == "U" for y in raw.values())
    if text:
        raw = {split: rows.y.astype(str) for split, rows in parts.items()}
    notes: tuple[str, ...] = ()
    if task != "regression" and not text and all(_is_one_hot(y) for y in raw.values()):
        raw = {split: y.argmax(axis=1) for split, y in raw.items()}
        notes = ("one-hot labels were read as class numbers",)
    raw = {split: y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y for split, y in raw.items()}
    guessed = task == "auto"
    if task == "auto":
        task = "classification" if first.class_names else _guess(raw, first)
    if task == "regression":
        return Labels("regression", (), {split: _targets(y, parts[split]) for split, y in raw.items()}, notes)

    if any(y.ndim == 2 for y in raw.values()):
        shape = next(y.shape for y in raw.values() if y.ndim == 2)
        raise DataError(
            f"{first.where}: labels '{first.label}' of shape {shape} are no classes; give one class a row, one-hot "
            f"rows, or set data.task to regression"
        )
    if text:
        names, y = _from_text(raw, parts)
    else:
        names, y = _from_values(raw, parts) if classes == "values" else _from_numbers(raw, parts)
    if guessed and len(names) == 2:
        task = "binary"
    if len(names) < 2 or (task == "binary" and len(names) != 2):
        raise DataError(
            f"{first.where}: a {task} task needs {'2' if task == 'binary' else '2 or more'} classes, but "
            f"'{first.label}' holds {len(names)}: {', '.join(names[:10])}; check data.label and data.task"
        )
    return Labels(task, names, y, notes)


def _numbers_if_possible(y: np.ndarray) -> np.ndarray:
    if y.dtype.kind in "biuf":
        return y.astype(np.uint8) if y.dtype.kind == "b" else y
    y = y.astype(str)
    try:
        return y.astype(float)
    except ValueError:
        return y


def _is_one_hot(y: np.ndarray) -> bool:
    return y.ndim == 2 and y.shape[1] > 1 and bool((((y == 0) | (y == 1)).all()) and (y.sum(axis=1) == 1).all())


def _guess(raw: Mapping[str, np.ndarray], rows: Rows) -> Task:
    text = any(y.dtype.kind == "U" for y in raw.values())
    if not text and any(y.ndim == 2 or (y != np.rint(y)).any() for y in raw.values()):
        return "regression"
    different = len(np.unique(np.concatenate([y.ravel() for y in raw.values()])))
    if different > MOST_CLASSES:
        what = "strings" if text else "whole numbers"
        raise DataError(
            f"{rows.where}: '{rows.label}' holds {different} different {what}, which may be classes or not; "
            f"check data.label, and set data.task to classification or regression"
        )
    return "classification"


def _targets(y: np.ndarray, rows: Rows) -> np.ndarray:
    y = check.numbers(y, rows.where, rows.label) if y.ndim == 1 else y
    y = y.reshape(len(y), -1)
    check.targets(y, rows.where, rows.label)
    return y.astype(np.float32)


def _from_text(
    raw: Mapping[str, np.ndarray], parts: Mapping[str, Rows]
) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    for split, y in raw.items():
        for row in np.flatnonzero(y == ""):
            where = f"{parts[split].where}, column '{parts[split].label}', row {row + 1}"
            raise DataError(f"{where}: the label is missing; correct or remove the row")
    names = tuple(np.unique(np.concatenate(list(raw.values()))).tolist())
    return names, {split: np.searchsorted(names, y).astype(np.int32) for split, y in raw.items()}


def _from_values(
    raw: Mapping[str, np.ndarray], parts: Mapping[str, Rows]
) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    for split, y in raw.items():
        for row in np.flatnonzero(np.isnan(y)):
            where = f"{parts[split].where}, column '{parts[split].label}', row {row + 1}"
            raise DataError(f"{where}: the label is NaN, a missing value; correct or remove the row")
    values = np.unique(np.concatenate(list(raw.values())))
    return tuple(f"{v:g}" for v in values), {s: np.searchsorted(values, y).astype(np.int32) for s, y in raw.items()}


def _from_numbers(
    raw: Mapping[str, np.ndarray], parts: Mapping[str, Rows]
) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    names = next((rows.class_names for rows in parts.values() if rows.class_names), ())
    for split, y in raw.items():
        rows = parts[split]
        whole = y == np.rint(y)  # False for NaN
        low_enough = y < len(names) if names else y <= 1e6
        for row in np.flatnonzero(~(whole & (y >= 0) & low_enough)):
            where = f"{rows.where}, column '{rows.label}', row {row + 1}"
            if np.isnan(y[row]):
                raise DataError(f"{where}: the label is NaN, a missing value; correct or remove the row")
            what = "no whole number" if not whole[row] else f"out of range 0..{len(names) - 1 if names else 1_000_000}"
            raise DataError(
                f"{where}: the label {y[row]:g} is {what}; number the classes from 0, or set data.task to regression"
            )
    if not names:
        names = tuple(map(str, range(1 + max(int(y.max()) for y in raw.values()))))
    return names, {split: y.astype(np.int32) for split, y in raw.items()}

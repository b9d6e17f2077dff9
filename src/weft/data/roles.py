"""Roles: which arrays of a file are the features, the labels and the weights of the rows, and of which split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Literal

import numpy as np

from weft.data import check
from weft.data.files import Content
from weft.errors import DataError

SPLITS = ("train", "validation", "test")
_SPELLINGS = {"train": ("train",), "validation": ("validation", "val"), "test": ("test",)}
LABELS = ("label", "target", "class", "y")


@dataclass(frozen=True)
class Rows:
    """Rows as they were read: not yet split, limited, encoded or scaled.

    Attributes:
        x: Features, numbers, shape (n, *features).
        y: Labels as they stand in the file, numbers or strings, shape (n,) or (n, k).
        weight: Weight of each row, (n,), or None.
        where: The file, for messages.
        label: Name of the label, for messages.
        feature_names: One name for each feature, in the order of a flattened row.
        class_names: Names of classes 0, 1, ... if the file states them.
        dropped: How many rows of the file had a gap and are not here.
    """

    x: np.ndarray
    y: np.ndarray
    weight: np.ndarray | None
    where: str
    label: str
    feature_names: tuple[str, ...]
    class_names: tuple[str, ...] = ()
    dropped: int = 0


def assign(
    content: Content,
    *,
    label: str | None = None,
    features: Sequence[str] | None = None,
    weight: str | None = None,
    ignore: Sequence[str] = (),
    missing: Literal["refuse", "drop"] = "refuse",
) -> dict[str, Rows]:
    """Return the checked rows of a file by split: `{"all": rows}`, or `train` and perhaps `validation` and `test`.

    Args:
        content: What the file holds.
        label: Column or array of the labels; None takes the only one called label, target, class or y.
        features: Columns to use, in this order; None uses all but the label and the weight.
        weight: Column or array of the weights of the rows, if they have any.
        ignore: Columns of a table that are no features.
        missing: What becomes of rows with a gap.

    Raises:
        DataError: a named column does not exist, the label cannot be guessed, or a value is unusable; the message names
            file, column and row.
    """
    if content.table:
        parts = {"all": _table(content, label, features, weight, ignore, missing == "drop")}
    else:
        parts = _arrays(content, label, weight)
        if features is not None:
            parts = {split: choose_features(rows, features) for split, rows in parts.items()}
    if missing == "drop":
        parts = {split: check.complete(rows) for split, rows in parts.items()}
    for rows in parts.values():
        check.rows(rows)
    return parts


def choose_features(rows: Rows, wanted: Sequence[str]) -> Rows:
    """Return `rows` with the columns `wanted`, in that order; rows of one axis of features only."""
    if rows.x.ndim != 2:
        raise DataError(
            f"cannot choose data.features from {rows.where}: its rows have the shape {rows.x.shape[1:]}, not one axis "
            f"of named columns; remove data.features"
        )
    columns = [_find(name, rows.feature_names, rows.where, "features") for name in wanted]
    _no_repeats(wanted, rows.where)
    return replace(rows, x=rows.x[:, columns], feature_names=tuple(wanted))


def default_names(shape: tuple[int, ...]) -> tuple[str, ...]:
    """Return `x0`, `x1`, ..., or `x0_0`, `x0_1`, ... for the features of rows of this shape."""
    return tuple("x" + "_".join(map(str, index)) for index in np.ndindex(*shape))


def _table(
    content: Content,
    label: str | None,
    features: Sequence[str] | None,
    weight: str | None,
    ignore: Sequence[str],
    gaps: bool,
) -> Rows:
    where, names = str(content.path), tuple(content.shapes)
    label = label or _guess(names, where)
    roles = [label] if weight is None else [label, weight]
    for name, key in zip(roles, ("label", "sample_weight"), strict=False):
        _find(name, names, where, key)
    if features is None:
        features = [name for name in names if name not in roles and name not in ignore]
        if not features:
            raise DataError(f"{where}: has no column beside the label '{label}'; found {_listed(names)}")
    else:
        _no_repeats(features, where)
        for name in features:
            _find(name, names, where, "features")
        if label in features:
            raise DataError(f"{where}: data.features lists the label '{label}', so the answer is an input; remove it")
    x = np.column_stack([check.numbers(content.get(name), where, name, gaps) for name in features])
    w = None if weight is None else check.numbers(content.get(weight), where, weight, gaps)
    return Rows(x, content.get(label), w, where, label, tuple(features))


def _arrays(content: Content, label: str | None, weight: str | None) -> dict[str, Rows]:
    where, names = str(content.path), tuple(content.shapes)
    lower = {name.lower(): name for name in names}
    stems = [label] if label else [stem for stem in LABELS if not {stem, f"{stem}_train"}.isdisjoint(lower)]
    if len(stems) != 1:
        raise DataError(
            f"{where}: cannot tell which array holds the labels, since "
            f"{'several' if stems else 'none'} of {', '.join(LABELS)} exist; set data.label; found {_listed(names)}"
        )
    parts = {}
    suffixes = {split: [f"_{word}" for word in words] for split, words in _SPELLINGS.items()} | {"all": [""]}
    for split, endings in suffixes.items():
        for ending in endings:
            if f"x{ending}" not in lower:
                continue
            if split in parts:
                raise DataError(f"{where}: holds the {split} split under two names; keep one of them")
            x = content.get(lower[f"x{ending}"])
            y_name = _find_array(f"{stems[0]}{ending}", lower, where, "labels")
            w = None if weight is None else content.get(_find_array(f"{weight}{ending}", lower, where, "weights"))
            parts[split] = Rows(
                x,
                content.get(y_name),
                w,
                f"{where}, array '{lower[f'x{ending}']}'",
                y_name,
                _strings(content, "feature_names") or default_names(x.shape[1:]),
                _strings(content, "class_names"),
            )
    if not parts:
        raise DataError(f"{where}: holds no array 'x' or 'x_train'; rename the features; found {_listed(names)}")
    if "all" in parts and len(parts) > 1:
        raise DataError(f"{where}: holds 'x' beside 'x_train', 'x_validation' or 'x_test'; keep the one or the others")
    if "all" not in parts and "train" not in parts:
        raise DataError(f"{where}: holds {' and '.join(parts)} rows but no 'x_train'; found {_listed(names)}")
    return parts


def _strings(content: Content, name: str) -> tuple[str, ...]:
    if name not in content.shapes:
        return ()
    return tuple(v.decode() if isinstance(v, bytes) else str(v) for v in content.get(name).tolist())


def _guess(names: Sequence[str], where: str) -> str:
    found = [name for name in names if name.lower() in LABELS]
    if len(found) != 1:
        what = f"{' and '.join(found)} could both be" if found else f"none is called {', '.join(LABELS)}"
        raise DataError(
            f"{where}: cannot tell which column is the label: {what}; set data.label; found {_listed(names)}"
        )
    return found[0]


def _find(name: str, names: Sequence[str], where: str, key: str) -> int:
    if name not in names:
        hint = "".join(f"did you mean '{near}'? " for near in get_close_matches(name, names, n=1))
        raise DataError(
            f"{where}: data.{key} names the column '{name}', which does not exist; {hint}found {_listed(names)}"
        )
    return names.index(name)


def _find_array(name: str, lower: dict[str, str], where: str, what: str) -> str:
    if name.lower() not in lower:
        raise DataError(f"{where}: the {what} '{name}' are missing; found {_listed(tuple(lower.values()))}")
    return lower[name.lower()]


def _no_repeats(names: Sequence[str], where: str) -> None:
    for name in names:
        if list(names).count(name) > 1:
            raise DataError(f"{where}: data.features lists '{name}' more than once; list each column once")


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:20])
    return shown + (f" and {len(names) - 20} more" if len(names) > 20 else "")

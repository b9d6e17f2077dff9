"""Checks of data: each refuses what training could not use, and names the file, the column and the row.

Rows are counted from 1, without the line of column names.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from weft.errors import DataError, NoEffectWarning

if TYPE_CHECKING:
    from weft.data.roles import Rows

_LARGEST = np.finfo(np.float32).max
_BLOCK = 1 << 16  # rows looked at together


GAPS = frozenset(("", "?", "-", "na", "n/a", "nan", "null", "none"))
"""What stands in a cell of text, in lower case, where a number is missing."""


def numbers(column: np.ndarray, where: str, name: str, gaps: bool = False) -> np.ndarray:
    """Return a column (n,) as numbers; strings are refused at the first that is none.

    Args:
        column: Numbers or strings.
        where: The file, for messages.
        name: Of the column, for messages.
        gaps: Whether the words of `GAPS` are read as NaN.

    Raises:
        DataError: a cell is empty or no number.
    """
    if column.dtype.kind in "biuf":
        return column.astype(np.uint8) if column.dtype.kind == "b" else column
    if column.dtype.kind not in "US":
        raise DataError(f"{where}, column '{name}': holds {column.dtype} values; weft reads real numbers and strings")
    values = np.empty(len(column))
    for i, cell in enumerate(column.tolist()):
        try:
            values[i] = float(cell)
        except ValueError:
            if gaps and cell.strip().lower() in GAPS:
                values[i] = np.nan
                continue
            what, also = f"{cell!r} is not a number", ""
            if cell.strip().lower() in GAPS:
                what = f"{what}, a missing value" if cell else "the cell is empty, a missing value"
                also = ", or leave such rows out with data.missing: drop"
            raise DataError(
                f"{where}, column '{name}', row {i + 1}: {what}; correct it, or leave the column out of "
                f"data.features{also}"
            ) from None
    return values


def complete(found: Rows) -> Rows:
    """Return the rows whose features, label and weight are all there: no NaN, no infinity, no empty label.

    Raises:
        DataError: no row is complete.
    """
    keep = np.ones(len(found.x), bool)
    for values in (found.x, found.y, found.weight):
        if values is None or len(values) != len(keep):
            continue  # `rows` refuses it
        flat = values.reshape(len(values), -1)
        if flat.dtype.kind == "f":
            keep &= np.isfinite(flat).all(axis=1)
        elif flat.dtype.kind in "US":
            keep &= ~np.isin(np.char.lower(np.char.strip(flat.astype(str))), sorted(GAPS - {"none", "-"})).any(axis=1)
    if len(keep) and not keep.any():
        raise DataError(
            f"{found.where}: every row has a gap, so data.missing: drop leaves none; leave the columns that are empty "
            f"out of data.features"
        )
    weight = None if found.weight is None else found.weight[keep]
    return replace(found, x=found.x[keep], y=found.y[keep], weight=weight, dropped=int((~keep).sum()))


def rows(found: Rows) -> None:
    """Check the shapes, the features and the weights of rows as they were read.

    Raises:
        DataError: there are no rows, the arrays differ in length, names do not fit, a feature is not finite in float32,
            or a weight is negative.
    """
    where, x = found.where, found.x
    if x.dtype.kind not in "biuf":
        raise DataError(f"{where}: the features hold {x.dtype} values; weft reads real numbers")
    if x.ndim < 2 or 0 in x.shape[1:]:
        raise DataError(f"{where}: the features have the shape {x.shape}; expected (rows, features) or more axes")
    if len(x) == 0:
        raise DataError(f"{where}: the file is empty, it has no rows")
    if found.y.ndim not in (1, 2) or 0 in found.y.shape[1:]:
        raise DataError(
            f"{where}: the labels '{found.label}' have the shape {found.y.shape}; expected (rows,) or (rows, k)"
        )
    if len(found.y) != len(x):
        raise DataError(
            f"{where}: {len(x)} rows of features of shape {x.shape[1:]}, but {len(found.y)} labels in '{found.label}'; "
            f"both need the same rows in the same order"
        )
    if len(found.feature_names) != x[0].size:
        raise DataError(
            f"{where}: holds {len(found.feature_names)} feature_names for {x[0].size} features; give each one name"
        )
    _finite(x, where, found.feature_names)
    if found.weight is not None:
        _weights(found.weight, len(x), where)


def targets(y: np.ndarray, where: str, label: str) -> None:
    """Check the targets (n, k) of a regression: finite in float32."""
    names = [label] if y.shape[1] == 1 else [f"{label}[{i}]" for i in range(y.shape[1])]
    _finite(y, where, names)


def splits(y: Mapping[str, np.ndarray], class_names: Sequence[str]) -> None:
    """Check that every split has rows, of every class; and of every value, for a regression, more than one.

    Raises:
        DataError: a split is empty, a class is missing from one, or a target is constant in the training split.
    """
    for split, labels in y.items():
        if len(labels) == 0:
            raise DataError(f"the {split} split has no rows; raise data.{split}_fraction or give it a file of its own")
        if class_names:
            counts = np.bincount(labels, minlength=len(class_names))
            for index in np.flatnonzero(counts == 0).tolist():
                raise DataError(
                    f"class '{class_names[index]}' (number {index} of 0..{len(class_names) - 1}) has no rows in the "
                    f"{split} split of {len(labels)} rows; weft numbers classes from 0 and needs each in every split: "
                    f"add rows, renumber the labels, or raise data.rows.{split}"
                )
    if not class_names:
        constant = np.flatnonzero(np.ptp(y["train"], axis=0) == 0)
        if len(constant):
            raise DataError(
                f"target {constant[0]} is {y['train'][0, constant[0]]:g} in all {len(y['train'])} training rows: "
                f"there is nothing to learn; check data.label"
            )


def folds(y: np.ndarray, k: int, class_names: Sequence[str]) -> None:
    """Check that `k` folds of rows with the labels `y` hold every class, in training and in validation.

    Raises:
        DataError: there are fewer rows of a class, or fewer rows at all, than folds.
    """
    if k < 2:
        raise DataError(f"cannot split rows into folds={k} parts; use 2 or more, or the fixed validation split")
    if len(y) < k:
        raise DataError(f"{len(y)} rows are too few for {k} folds; lower data.folds")
    counts = np.bincount(y, minlength=len(class_names)) if class_names else np.array([], int)
    if counts.size and counts.min() < k:
        rare = int(counts.argmin())
        raise DataError(
            f"class '{class_names[rare]}' has {counts[rare]} rows outside the test split, too few for {k} folds; "
            f"lower data.folds to {max(counts[rare], 1)} or add rows"
        )


def constant_features(x: np.ndarray, names: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the features that never change in `x`, and warn of them."""
    flat = x.reshape(len(x), -1)
    constant = tuple(names[i] for i in np.flatnonzero(flat.min(axis=0) == flat.max(axis=0)).tolist())
    if constant:
        shown = ", ".join(constant[:5]) + (f" and {len(constant) - 5} more" if len(constant) > 5 else "")
        warnings.warn(
            f"{len(constant)} of {flat.shape[1]} features are constant in the {len(x)} training rows and tell a "
            f"network nothing: {shown}; leave them out with data.features",
            NoEffectWarning,
            stacklevel=3,
        )
    return constant


def _finite(x: np.ndarray, where: str, names: Sequence[str]) -> None:
    if x.dtype.kind in "biu":
        return
    for first in range(0, len(x), _BLOCK):
        block = x[first : first + _BLOCK].reshape(min(_BLOCK, len(x) - first), -1)
        good = np.abs(block) <= _LARGEST
        if not good.all():
            row, column = np.argwhere(~good)[0]
            value = float(block[row, column])
            what = "NaN, a missing value" if np.isnan(value) else f"{value:g}, which is not finite in float32"
            raise DataError(
                f"{where}, column '{names[column]}', row {first + row + 1}: the value is {what}; "
                f"correct or remove the row, or set data.missing: drop"
            )


def _weights(weight: np.ndarray, n: int, where: str) -> None:
    if weight.shape != (n,) or weight.dtype.kind not in "biuf":
        raise DataError(
            f"{where}: the sample weights have the shape {weight.shape} and type {weight.dtype}; expected {n} numbers"
        )
    bad = np.flatnonzero(~((weight >= 0) & (weight <= _LARGEST)))
    if len(bad):
        raise DataError(
            f"{where}, sample weight of row {bad[0] + 1}: is {weight[bad[0]]:g}; weights must be finite and >= 0"
        )
    if not weight.any():
        raise DataError(f"{where}: every sample weight is 0, so no row counts; check data.sample_weight")

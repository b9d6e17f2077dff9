"""The rows that `weft.fit` trains on, of arrays as a caller has them; what is no use is refused before training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from weft.compression.training import Material
from weft.data import Dataset, Split
from weft.errors import ConfigError, DataError, ShapeError, UnsupportedError
from weft.quantize.given import check_weights, checked_rows
from weft.quantize.graph import graph_of
from weft.section import did_you_mean, got
from weft.types import Task

if TYPE_CHECKING:
    import keras


def check_call(model: Any, task: Any, seed: Any, directory: Any) -> None:
    """Refuse what `fit` cannot train, or cannot train with.

    Raises:
        UnsupportedError: The model is none, or has several inputs or outputs.
        DataError: A weight is no finite number.
        ConfigError: There is no such task, the seed is no whole number >= 0, or the directory is a file.
    """
    graph_of(model)
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise UnsupportedError(
            f"'{model.name}' has {len(model.inputs)} inputs and {len(model.outputs)} outputs, and the compiled engine "
            "trains models with one of each; use Keras' fit with weft.StagesCallback"
        )
    check_weights(model)
    if task not in get_args(Task):
        raise ConfigError(
            f"task must be one of {', '.join(get_args(Task))}; got {got(task)}{did_you_mean(str(task), get_args(Task))}"
        )
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise ConfigError(f"seed must be a whole number >= 0; got {got(seed)}")
    if directory is not None and Path(directory).exists() and not Path(directory).is_dir():
        raise ConfigError(f"directory {directory} is a file; name a folder that the checkpoint can be kept in")


def material(model: keras.Model, data: Any, validation: Any, task: Task, seed: int) -> Material:
    """Return the training and the validation rows; a fifth of the training rows is held back where there are none.

    Raises:
        DataError: There are too few rows, a value is no finite number, or a label is none of the model's classes.
        ShapeError: Rows or targets do not fit the model.
    """
    if isinstance(data, Dataset):
        made = Material.of(data)
        names = ("training", "validation")
        fitting = [_split(model, s.x, s.y, made.task, name) for s, name in zip(made.splits, names, strict=True)]
        return replace(made, splits=tuple(replace(s, x=f.x, y=f.y) for s, f in zip(made.splits, fitting, strict=True)))
    train = _split(model, *_pair(data, "data"), task, "training")
    if validation is not None:
        return _with_both_states(train, _split(model, *_pair(validation, "validation"), task, "validation"), task)
    if len(train) < 2:
        raise DataError(
            "training needs at least 2 rows, since a fifth of them is held back for validation; got 1: add rows, or "
            "give validation=(x, y)"
        )
    order = np.random.default_rng(seed).permutation(len(train))
    held = max(len(train) // 5, 1)
    return _with_both_states(train.take(order[held:]), train.take(order[:held]), task)


def _with_both_states(train: Split, validation: Split, task: Task) -> Material:
    """Return the rows, if the metrics of their task can be told from them."""
    states = np.unique(validation.y)
    if task == "binary" and len(states) == 1:
        raise DataError(
            f"all {len(validation)} validation rows hold state {states[0]:g}, and fidelity and auc need both; give "
            "validation=(x, y) with rows of both states"
        )
    return Material((train, validation), task)


def _pair(value: Any, name: str) -> tuple[Any, Any]:
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise DataError(f"{name} must be a pair of arrays (x, y), or a weft data set; got {_what(value)}")
    return value[0], value[1]


def _what(value: Any) -> str:
    if isinstance(value, tuple | list):
        return f"{len(value)} values"
    return f"an array of shape {value.shape}" if hasattr(value, "shape") else f"a {type(value).__name__}"


def _split(model: keras.Model, x: Any, y: Any, task: Task, name: str) -> Split:
    x = checked_rows(model, x, f"{name} x")
    y = np.asarray(y)
    if y.dtype.kind not in "biuf":
        raise DataError(f"{name} y holds values of type {y.dtype}; give numbers, and classes as 0, 1, 2, ...")
    if y.ndim == 0 or len(x) != len(y):
        raise DataError(
            f"fit was given {len(x)} {name} rows of x and {len(y) if y.ndim else 1} of y; there must be one y for "
            "each x"
        )
    if not np.isfinite(y).all():
        row = int(np.argwhere(~np.isfinite(y))[0][0])
        raise DataError(f"{name} y: row {row} holds {y[row]}; correct or remove the row (rows count from 0)")
    return Split(x, _targets(y, tuple(model.outputs[0].shape[1:]), task, name))


def _targets(y: np.ndarray, outputs: tuple[int, ...], task: Task, name: str) -> np.ndarray:
    """Return targets that fit a model with outputs of this shape."""
    if len(outputs) != 1:
        raise ShapeError(f"the model gives outputs of shape {('n', *outputs)}, and fit trains (n, k); add a Flatten")
    k = outputs[0]
    if task != "classification":
        if y.reshape(len(y), -1).shape[1] != k:
            raise ShapeError(f"{name} y has shape {y.shape}, and the model gives (n, {k}) for a {task} task")
        if task == "binary" and not np.isin(y, (0, 1)).all():
            row = int(np.argwhere(~np.isin(y, (0, 1)))[0][0])
            raise DataError(f"{name} y: row {row} holds {y[row]}; the states of a binary task are 0 and 1")
        return y
    if k == 1:
        raise ShapeError(
            "the model gives one logit, which is a task 'binary'; give task='binary', or an output a class"
        )
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1:
        raise ShapeError(
            f"{name} y has shape {y.shape}, and a classification wants one class number a row, (n,); use "
            "y.argmax(axis=1) for one-hot rows, or task='regression'"
        )
    wrong = (y != np.round(y)) | (y < 0) | (y >= k)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise DataError(f"{name} y: row {row} holds {y[row]}, and the model's {k} outputs are the classes 0 to {k - 1}")
    return y

"""What a caller hands over, looked at before anything is built of it or trained on it: a model's weights, and rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from weft.errors import DataError, ShapeError
from weft.quantize.graph import graph_of

if TYPE_CHECKING:
    import keras


def check_weights(model: keras.Model) -> None:
    """Refuse a model with a weight that is not finite.

    Raises:
        DataError: A weight is NaN or infinite; the message names its variable.
    """
    import keras

    for variable in model.weights:
        if "quantizer" in variable.path:  # what ranges and methods remember may be without bounds
            continue
        values = np.asarray(keras.ops.convert_to_numpy(variable))
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            where = tuple(int(i) for i in np.argwhere(~np.isfinite(values))[0])
            raise DataError(
                f"weight '{variable.path}' of '{model.name}' is {values[where]} at {list(where)}; a network that has "
                "diverged cannot be compressed: train it again at a lower learning rate"
            )


def checked_rows(model: keras.Model, x: Any, what: str = "x") -> Any:
    """Return rows as arrays of float32 in the same structure, one for each input of a model.

    Args:
        model: A built model.
        x: Rows (n, ...), or a list or dictionary of such arrays, one for each input.
        what: What the rows are for, in messages.

    Raises:
        DataError: There are no rows, or a value is no finite number; the message says where.
        ShapeError: The rows do not fit the inputs.
    """
    from keras import tree

    inputs = model.inputs
    nested = isinstance(x, Mapping) or (
        isinstance(x, list | tuple) and len(x) == len(inputs) and hasattr(x[0], "shape") and np.ndim(x[0]) > 0
    )
    if len(inputs) == 1 and (not nested or (not isinstance(x, Mapping) and np.ndim(x[0]) < len(inputs[0].shape))):
        return _checked(x, inputs[0], what)
    if not nested or len(x) != len(inputs):
        names = ", ".join(tensor.name for tensor in inputs)
        given = f"{len(x)} arrays" if isinstance(x, Mapping) or nested else f"one {type(x).__name__}"
        raise ShapeError(
            f"{what} was given {given} for the {len(inputs)} inputs of '{model.name}' ({names}); give one array for "
            "each, in a list or by name"
        )
    if isinstance(x, Mapping):
        by_name = {tensor.name: tensor for tensor in inputs}
        struct = graph_of(model)._inputs_struct
        struct = struct if isinstance(struct, Mapping) else by_name
        missing = sorted(set(struct) - set(x))
        if missing:
            raise ShapeError(
                f"{what} has no rows for input '{missing[0]}' of '{model.name}' (there are {', '.join(map(str, x))})"
            )
        found: Any = {name: _checked(x[name], tensor, what) for name, tensor in struct.items()}
    else:
        found = [_checked(one, tensor, what) for one, tensor in zip(x, inputs, strict=True)]
    counts = sorted({len(one) for one in tree.flatten(found)})
    if len(counts) > 1:
        raise ShapeError(f"{what} needs as many rows of every input; got {', '.join(map(str, counts))}")
    return found


def _checked(x: Any, tensor: Any, what: str) -> np.ndarray:
    try:
        x = np.asarray(x)
    except (ValueError, TypeError) as error:
        raise DataError(f"{what}: the rows are no array of numbers ({error}); give a NumPy array") from error
    if x.dtype.kind not in "biuf":
        raise DataError(f"{what}: the rows hold values of type {x.dtype}; give an array of real numbers")
    shape = tuple(tensor.shape[1:])
    fits = x.ndim == len(shape) + 1 and all(want in (None, size) for want, size in zip(shape, x.shape[1:], strict=True))
    if not fits:
        raise ShapeError(
            f"{what}: the rows have shape {x.shape}, and input '{tensor.name}' takes (n, {', '.join(map(str, shape))})"
        )
    if len(x) == 0:
        raise DataError(f"{what} needs at least one row, and got none")
    with np.errstate(over="ignore"):
        x = x.astype(np.float32, copy=False)
    if not np.isfinite(x).all():
        row, *place = (int(i) for i in np.argwhere(~np.isfinite(x))[0])
        raise DataError(
            f"{what}: row {row} holds {x[(row, *place)]} at {place}; correct or remove the row (rows count from 0)"
        )
    return x

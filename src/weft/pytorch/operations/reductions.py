"""Sums, means and extremes over axes."""

from __future__ import annotations

from math import prod
from typing import Any

import keras

from weft.errors import UnsupportedError
from weft.pytorch.builder import Builder
from weft.pytorch.operations.shapes import squeeze
from weft.pytorch.value import Value


def _axes(x: Value, dim: Any) -> tuple[int, ...]:
    """Return the torch axes that are meant."""
    if dim is None or dim == []:
        if x.rank == 1:
            return ()
        raise UnsupportedError("it is taken over all axes, the batch's too; give the dims, such as dim=(1, 2)")
    return tuple(sorted(axis % x.rank for axis in ((dim,) if isinstance(dim, int) else dim)))


def _finished(at: Builder, x: Value, tensor: Any, axes: tuple[int, ...], keepdim: bool) -> Value:
    """Return a tensor that has all axes, those that were reduced of one value, without these unless they are kept."""
    return x.like(tensor) if keepdim else squeeze(at, x.like(tensor), axes)


def _reduction(function: Any) -> Any:
    def reduced(at: Builder, x: Value, dim: Any = None, keepdim: bool = False, *_: Any, **__: Any) -> Value:
        axes = _axes(x, dim)
        tensor = function(x.tensor, axis=x.all_at(axes), keepdims=True)
        return _finished(at, x, tensor, axes, keepdim)

    return reduced


def mean(at: Builder, x: Value, dim: Any = None, keepdim: bool = False, *_: Any, **__: Any) -> Value:
    """The mean over axes, as global pooling, which checks that hardware can divide."""
    axes = _axes(x, dim)
    x.all_at(axes)  # an error if one of them is the batch's
    if 3 <= x.rank <= 5 and x.all_at(axes) == tuple(range(1, x.rank - 1)):
        tensor = at.step(getattr(keras.layers, f"GlobalAveragePooling{x.rank - 2}D"), x.tensor, keepdims=True)
        return _finished(at, x, tensor, axes, keepdim)
    kept = [axis for axis in x.axes[1:] if axis not in axes]
    x = at.arranged(x, (x.batch, *axes, *kept))
    sizes = x.sizes[len(axes) :]
    flat = at.reshaped(x.tensor, (prod(x.sizes[: len(axes)]), prod(sizes)))
    tensor = at.step(keras.layers.GlobalAveragePooling1D, flat)
    return _finished(at, x, at.reshaped(tensor, (*(1 for _ in axes), *sizes)), axes, keepdim)


def _extreme(function: Any) -> Any:
    reduced = _reduction(function)

    def extreme(at: Builder, x: Value, dim: Any = None, keepdim: bool = False) -> Any:
        from weft.pytorch.operations.elementwise import maximum, minimum

        if isinstance(dim, Value) or hasattr(dim, "detach"):
            return (maximum if function is keras.ops.max else minimum)(at, x, dim)
        found = reduced(at, x, dim, keepdim)
        return (found, Missing("the numbers of the largest values; take those outside of the network"))

    return extreme


class Missing:
    """What torch returns and the network has not; an error where it is read.

    Args:
        what: What it is, and what to do about it.
    """

    def __init__(self, what: str) -> None:
        self.what = what


FUNCTIONS = {
    "sum": _reduction(keras.ops.sum),
    "mean": mean,
    "amax": _reduction(keras.ops.max),
    "amin": _reduction(keras.ops.min),
    "max": _extreme(keras.ops.max),
    "min": _extreme(keras.ops.min),
}

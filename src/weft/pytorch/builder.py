"""What handlers of operations build with: names, layers with weights, and the one place where data are moved.

A layer that torch calls twice, or two calls that share their weights, become one Keras layer that is called twice.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from weft.errors import UnsupportedError
from weft.naming import unique
from weft.pytorch.value import Value

FEW_BITS = 12
"""Constants of at most so many significant bits are constants in hardware; others become weights, to be quantised."""


class Builder:
    """Builds the Keras graph of one module.

    Attributes:
        rows: How many rows the tensors had with which the module was looked at; no other axis is meant by it.
        place: The name of the operation at hand: where it stands in the user's module tree, such as `encoder.layers.0`.
    """

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.place = ""
        self._taken: set[str] = set()
        self._layers: dict[Any, tuple[Any, Any]] = {}

    def name(self, wanted: str = "") -> str:
        """Return a new layer name: the place in the module tree, with `_` for dots; C++ and HLS take it, too."""
        name = re.sub(r"\W", "_", wanted or self.place)
        return unique(f"layer_{name}" if name[:1].isdigit() else name, self._taken)

    def step(self, kind: Any, tensor: Any, **config: Any) -> Any:
        """Call a new layer without weights, whose name says where it stands and what it does."""
        return kind(**config, name=self.name(f"{self.place}_{kind.__name__.lower()}"))(tensor)

    def function(self, kind: Any, x: Value, **config: Any) -> Value:
        """Call the new layer that a module is, of one tensor, without weights."""
        return x.like(kind(**config, name=self.name())(x.tensor))

    def weighted(
        self,
        kind: Any,
        config: dict[str, Any],
        sources: Sequence[Any],
        weights: Sequence[Any],
        *inputs: Any,
        **call: Any,
    ) -> Any:
        """Call a layer with these weights; torch tensors that were seen before, in the same layer, give that layer.

        Args:
            kind: The class of the layer.
            config: Its arguments.
            sources: The torch tensors that its weights come from.
            weights: Arrays in the order of the layer's own weights.
            inputs: What it reads.
            call: Further arguments of the call.
        """
        key = (kind, repr(sorted(config.items())), tuple(map(id, sources)))
        if key in self._layers:
            return self._layers[key][0](*inputs, **call)
        layer = kind(**config, name=self.name())
        made = layer(*inputs, **call)
        layer.set_weights([np.asarray(weight, np.float32) for weight in weights])
        if all(not getattr(source, "requires_grad", True) for source in sources if source is not None):
            layer.trainable = False
        self._layers[key] = (layer, sources)  # which keeps them alive, or another could have the same id
        return made

    def arranged(self, x: Value, axes: tuple[int, ...]) -> Value:
        """Return a value with its Keras axes in another order, moved if they are not."""
        if x.axes == axes:
            return x
        if axes[0] != x.batch:
            raise UnsupportedError(
                "it needs the rows of the batch in its first axis; build the module with batch_first=True, or "
                "transpose before it"
            )
        order = tuple(x.axes.index(axis) for axis in axes)
        return Value(self.step(keras.layers.Permute, x.tensor, dims=order[1:]), axes)

    def plain(self, x: Value) -> Value:
        """Return a value in torch's order, behind the batch."""
        return self.arranged(x, x.in_order)

    def rows_first(self, x: Value) -> Value:
        """Return a value in torch's order, whose first axis is the batch."""
        return self.arranged(x, tuple(range(x.rank)))

    def with_last(self, x: Value, axis: int = -1) -> Value:
        """Return a value whose last Keras axis holds a torch axis."""
        axis %= x.rank
        if x.at(axis) == x.rank - 1:
            return x
        return self.arranged(x, (*(one for one in x.in_order if one != axis), axis))

    def channels_last(self, x: Value) -> Value:
        """Return (batch, channels, *window) as (batch, *window, channels)."""
        return self.arranged(x, (0, *range(2, x.rank), 1))

    def reshaped(self, tensor: Any, shape: Sequence[int]) -> Any:
        """Return a tensor with other axes behind the batch."""
        if tuple(tensor.shape[1:]) == tuple(shape):
            return tensor
        return self.step(keras.layers.Reshape, tensor, target_shape=tuple(int(size) for size in shape))

    def joined(self, tensors: Sequence[Any], axis: int) -> Any:
        """Return tensors one behind the other."""
        return tensors[0] if len(tensors) == 1 else self.step(keras.layers.Concatenate, list(tensors), axis=axis)

    def picked(self, tensor: Any, axis: int, indices: Sequence[int]) -> Any:
        """Return the slices of a tensor with these numbers along an axis, in this order; a number may come twice."""
        if list(indices) == list(range(tensor.shape[axis])):
            return tensor
        runs: list[list[int]] = []
        for index in indices:
            if runs and index == runs[-1][1]:
                runs[-1][1] += 1
            else:
                runs.append([index, index + 1])
        before = (slice(None),) * axis
        return self.joined([tensor[(*before, slice(first, last))] for first, last in runs], axis)


def array(tensor: Any) -> np.ndarray:
    """Return a torch tensor, or a number, as an array of float32."""
    return np.asarray(tensor.detach().cpu().numpy() if hasattr(tensor, "detach") else tensor, np.float32)


def has_few_bits(values: np.ndarray) -> bool:
    """Whether each of these numbers has at most `FEW_BITS` significant bits."""
    mantissa, _ = np.frexp(values.astype(np.float64))
    scaled = mantissa * 2.0**FEW_BITS
    return bool((scaled == np.floor(scaled)).all())

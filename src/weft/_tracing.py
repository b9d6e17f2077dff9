"""Layers and operations that alkaid 0.8.2 cannot trace, or traces in another shape than Keras': taught to it here.

A layer that moves values is asked by Keras itself where each value goes, with their numbers in place of the values.
Alkaid keeps the batch axis everywhere but behind `Reshape`, `Flatten` and a ReLU with a slope; here they keep it, too.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

import numpy as np


def teach(layers: Iterable[Any]) -> None:
    """Let alkaid trace all that can be, and these layers as those of HGQ2 that they are a kind of."""
    from alkaid.converter._plugin_loader import maybe_load_for
    from alkaid.converter.builtin.keras.layers import _registry

    _teach()
    for kind in {type(layer) for layer in layers}:
        base = of_hgq(kind)
        if base is not None and kind not in _registry:
            maybe_load_for(base, "keras")
            _registry[kind] = _registry[base]


def of_hgq(kind: type) -> type | None:
    """Return the layer of HGQ2 that a class is, or that it completes under the same name."""
    return next(
        (one for one in kind.__mro__ if one.__module__.startswith("hgq.") and one.__name__ == kind.__name__), None
    )


@cache
def _teach() -> None:
    """Register the layers and operations, once; Keras is imported."""
    import keras
    from alkaid.converter.builtin.keras.layers._base import ReplayOperationBase
    from alkaid.trace import FVArray
    from hgq._alkaid_keras_plugin.rnn import _QSimpleRNN, mirror_quantizer
    from keras import layers, ops, tree
    from keras.src.activations.activations import ReLU
    from keras.src.ops import core, nn
    from keras.src.ops import numpy as numbers

    class Moves(ReplayOperationBase):
        __activation_handled__ = True
        handles = (
            *(layers.Reshape, layers.Flatten, layers.Identity, layers.Permute, layers.RepeatVector, core.StopGradient),
            *(layers.Cropping1D, layers.Cropping2D, layers.Cropping3D, numbers.Transpose, numbers.ExpandDims),
            *(layers.UpSampling1D, layers.UpSampling2D, layers.UpSampling3D, numbers.Moveaxis, numbers.Repeat),
            *(numbers.Squeeze, numbers.Swapaxes, numbers.Stack, numbers.Split, numbers.Flip, numbers.Roll),
            *(numbers.Tile, numbers.Hstack, numbers.Vstack, numbers.BroadcastTo, numbers.Copy, numbers.Take),
        )

        def call(self, *args: Any, **kwargs: Any) -> Any:
            values: list[FVArray] = []

            def numbered(x: Any) -> Any:
                if not isinstance(x, FVArray):
                    return x
                first = sum(one.size for one in values)
                values.append(x.ravel())
                return ops.convert_to_tensor(np.arange(first, first + x.size, dtype="int32").reshape(x.shape))

            places = self.op.call(*tree.map_structure(numbered, args), **kwargs)
            flat = values[0] if len(values) == 1 else np.concatenate(values)
            found = [flat[ops.convert_to_numpy(place)] for place in tree.flatten(places)]
            return found[0] if len(found) == 1 else tuple(found)

    class Nothing(ReplayOperationBase):
        handles = (layers.ActivityRegularization,)

        def call(self, x: FVArray) -> FVArray:
            return x

    class Slopes(ReplayOperationBase):
        handles = (ReLU, layers.ReLU, layers.LeakyReLU, nn.LeakyRelu)

        def call(self, x: FVArray) -> FVArray:
            slope, flat = self.op.negative_slope, x.ravel()
            threshold, top = getattr(self.op, "threshold", 0), getattr(self.op, "max_value", None)
            if threshold == 0 and slope == 0 and top is None:
                return np.maximum(x, 0)
            whole = flat if top is None else np.minimum(flat, top)
            below = flat - (threshold + 2.0 ** (-flat.kif[2] - 1)) if threshold else flat
            return np.where(below < 0, (flat - threshold) * slope, whole).reshape(x.shape)

    class Arithmetic(ReplayOperationBase):
        handles = (numbers.Negative, numbers.Square, nn.Relu, nn.Relu6, nn.HardTanh)

        def call(self, x: FVArray) -> FVArray:
            match type(self.op).__name__:
                case "Negative":
                    return x * -1.0
                case "Square":
                    return x * x
                case "Relu":
                    return np.maximum(x, 0)
                case "Relu6":
                    return np.clip(x, 0, 6)
                case _:
                    return np.clip(x, -1, 1)

    class Tables(ReplayOperationBase):
        handles = (nn.Celu, nn.LogSigmoid, nn.Softplus, nn.Softsign, numbers.Reciprocal)

        def call(self, x: FVArray) -> FVArray:
            return x.apply(lambda y: keras.ops.convert_to_numpy(self.op.call(keras.ops.convert_to_tensor(y))))

    class Recurrence(_QSimpleRNN):
        handles = _QSimpleRNN.handles

        def _step(self, x: FVArray, state: FVArray) -> tuple[FVArray, FVArray]:
            y, _ = super()._step(x, state)
            if getattr(self.op, "quantizes_output", False):
                y = mirror_quantizer(self.op.cell.sq, y)
            return y, y

"""The bits of a finalised model, layer by layer: those of its quantised weights, and those of the inputs they meet."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class LayerBits:
    """One quantised layer.

    Attributes:
        name: The layer's name.
        weights: Width of each weight, (n,), in bits without sign: from its highest to its lowest bit that is not zero;
            0 for a weight that is zero.
        inputs: Declared width of each input, (m,), in bits without sign.
    """

    name: str
    weights: NDArray[np.int64]
    inputs: NDArray[np.int64]


def bits_of(path: Path) -> list[LayerBits]:
    """Return the quantised layers of a saved model, in order."""
    from weft._backend import set_backend

    set_backend()
    import hgq  # noqa: F401 - registers the layers that the model is made of
    import keras

    model = keras.models.load_model(path, compile=False)
    layers = [layer for layer in model.layers if hasattr(layer, "kq") and hasattr(layer, "iq")]
    return [_bits(layer) for layer in layers]


def _bits(layer: object) -> LayerBits:
    from weft.cost.products import significant_bits
    from weft.ops import convert_to_numpy

    shape = tuple(layer.input.shape[1:])
    declared = np.broadcast_to(convert_to_numpy(layer.iq.bits_((1, *shape)))[0], shape)
    inputs = np.maximum(np.ravel(declared), 0).astype(np.int64)
    return LayerBits(layer.name, significant_bits(convert_to_numpy(layer.qkernel)).ravel(), inputs)

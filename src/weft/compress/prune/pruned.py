"""The wrapper that carries a mask into any HGQ2 layer: it takes the place of the layer's kernel quantiser.

A HGQ2 layer reads its kernel only as `kq(kernel)` and its cost only through `kq.bits_`. `Pruned(kq)` multiplies both
by a mask, so a pruned weight is 0 in the output and costs 0 in the loss, in every layer type, without a second layer
zoo. It has to be put in place before the layer is built; the mask is a non-trainable variable and so part of every
checkpoint.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


class Pruned(keras.layers.Layer):
    """A kernel quantiser with a mask of the kernel's shape, 1 where the weight is kept.

    Args:
        quantizer: The HGQ2 quantiser that it wraps; everything else about it passes through.
    """

    def __init__(self, quantizer: Any) -> None:
        super().__init__(name=f"{quantizer.name}_pruned")
        self.quantizer = quantizer

    def build(self, shape: tuple[int, ...]) -> None:
        self.quantizer.build(shape)
        self.mask = self.add_weight(name="mask", shape=tuple(shape), initializer="ones", trainable=False)
        super().build(shape)

    def call(self, kernel: Any, training: Any = None) -> Any:
        return self.quantizer(kernel * self.mask, training=training)

    @property
    def config(self) -> Any:
        return self.quantizer.config

    @property
    def bits(self) -> Any:
        return self.quantizer.bits_(ops.shape(self.mask)) * self.mask

    def bits_(self, shape: tuple[int, ...]) -> Any:
        return ops.broadcast_to(self.bits, shape)

    def compute_output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape

"""Depthwise convolutions in the manner of HGQ2, which has none: one filter, or a few, for each channel.

A depthwise convolution is a convolution in as many groups as there are channels. The layers here find out that number
when they are built, and are HGQ2's convolutions in everything else: quantisers, EBOPs, output. `plain` returns the HGQ2
layer itself, which needs no weft to be loaded and which the adder graph knows; `convert` uses it from the start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
from hgq.layers import QConv1D, QConv2D

if TYPE_CHECKING:
    from keras.layers import Layer as _Mixin
else:
    _Mixin = object

_OF_A_KERNEL = ("initializer", "regularizer", "constraint")


class _Depthwise(_Mixin):
    """What makes a convolution of HGQ2 a depthwise one. The kernel has shape (*window, 1, channels * multiplier)."""

    def __init__(
        self,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        depth_multiplier: int = 1,
        *,
        depthwise_initializer: Any = "glorot_uniform",
        depthwise_regularizer: Any = None,
        depthwise_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            filters=depth_multiplier,  # of each channel; `build` counts all
            kernel_size=kernel_size,
            strides=strides,
            padding=padding,
            kernel_initializer=depthwise_initializer,
            kernel_regularizer=depthwise_regularizer,
            kernel_constraint=depthwise_constraint,
            **kwargs,
        )
        self.depth_multiplier = depth_multiplier

    def build(self, input_shape: Any) -> None:
        self.groups = input_shape[1 if self.data_format == "channels_first" else -1]
        self.filters = self.groups * self.depth_multiplier
        super().build(input_shape)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["filters"], config["groups"]
        config |= {f"depthwise_{part}": config.pop(f"kernel_{part}") for part in _OF_A_KERNEL}
        return config | {"depth_multiplier": self.depth_multiplier}

    def plain(self) -> Any:
        """Return HGQ2's layer that computes the same, unbuilt, with variables of the same names and shapes."""
        return self._plain.from_config(super().get_config())


@keras.saving.register_keras_serializable(package="weft")
class QDepthwiseConv1D(_Depthwise, QConv1D):
    """A quantised `keras.layers.DepthwiseConv1D`; it takes that layer's arguments, and HGQ2's quantisers."""

    _plain = QConv1D


@keras.saving.register_keras_serializable(package="weft")
class QDepthwiseConv2D(_Depthwise, QConv2D):
    """A quantised `keras.layers.DepthwiseConv2D`; it takes that layer's arguments, and HGQ2's quantisers."""

    _plain = QConv2D

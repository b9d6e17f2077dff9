"""Batch normalisation that becomes one layer with the dense layer or convolution before it.

What is quantised is the kernel and the bias that hardware applies, W·γ/σ and β - (μ - b)γ/σ, where b is the bias of the
layer before.
"""

from __future__ import annotations

from typing import Any

import keras
from keras.src.layers.convolutional.base_conv import BaseConv
from keras.src.layers.convolutional.base_depthwise_conv import BaseDepthwiseConv
from keras.src.layers.convolutional.base_separable_conv import BaseSeparableConv

from weft.quantize.counterparts._base import array
from weft.quantize.graph import Call
from weft.quantize.operations import function_of

_CONVOLUTIONS = (BaseConv, BaseDepthwiseConv, BaseSeparableConv)
_OWN = (
    *("momentum", "epsilon", "center", "scale", "gamma_initializer", "moving_mean_initializer"),
    *("moving_variance_initializer", "gamma_regularizer", "gamma_constraint", "synchronized"),
)


def can_fuse(layer: Any, call: Call) -> bool:
    """Whether a call that alone reads a layer is a batch normalisation that can become one layer with it."""
    norm = call.operation
    if not isinstance(norm, keras.layers.BatchNormalization) or function_of(layer) != "linear":
        return False
    if layer.trainable != norm.trainable or getattr(norm, "renorm", False) or norm.dtype_policy.name != "float32":
        return False
    if call.node.arguments.kwargs.get("training") is not None:  # it was called in one mode for good
        return False
    rank = len(layer.output.shape)
    channels = 1 if getattr(layer, "data_format", None) == "channels_first" else rank - 1
    if not isinstance(norm.axis, int) or norm.axis % rank != channels:
        return False
    if isinstance(layer, keras.layers.EinsumDense):
        kernel, output = layer.equation.split(",")[1].split("->")
        return output[-1] in kernel and layer.bias_axes in (None, output[-1])
    return isinstance(layer, (keras.layers.Dense, *_CONVOLUTIONS))


def normalization_of(norm: Any) -> dict[str, Any]:
    """Return what a layer with batch normalisation takes of it as constructor arguments: β is its bias."""
    config = norm.get_config()
    beta = {f"bias_{name}": config[f"beta_{name}"] for name in ("initializer", "regularizer", "constraint")}
    return {name: config[name] for name in _OWN} | beta


def copy_normalization(norm: Any, bias: Any, new: Any, epsilon: float | None = None) -> None:
    """Give a layer with batch normalisation the weights and statistics of one, and the bias of the layer before.

    `epsilon` is what the layer adds to the variance if that is not what the normalisation does.
    """
    if norm.scale:
        new.bn_gamma.assign(array(norm.gamma))
    if norm.center:
        new.bias.assign(array(norm.beta))
    new.moving_mean.assign(array(norm.moving_mean) - (0.0 if bias is None else array(bias)))
    other = 0.0 if epsilon is None else norm.epsilon - epsilon
    new.moving_variance.assign(array(norm.moving_variance) + other)

"""Convolutions: `Conv1D` to `Conv3D`, depthwise and separable ones.

A depthwise convolution is a convolution in as many groups as there are channels, and a separable one is a depthwise one
with a convolution of size 1 behind it. A causal convolution pads first, since HGQ2 0.2 gives a quantiser a width for
each value before padding, and then hands it the padded input.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import hgq.layers as hgq
import keras
import numpy as np

from weft.quantize.counterparts._base import (
    FUNCTION_PARTS,
    KERNEL_PARTS,
    Axes,
    Kit,
    Made,
    Rule,
    array,
    computes_in_float32,
    config_of,
    copy_weights,
    first_objection,
    freeze_like,
)
from weft.quantize.counterparts.functions import function_after, inline, objection_to_function
from weft.quantize.depthwise import QDepthwiseConv1D, QDepthwiseConv2D

_CONVOLUTIONS = {1: hgq.QConv1D, 2: hgq.QConv2D, 3: hgq.QConv3D}
_DEPTHWISE = {1: QDepthwiseConv1D, 2: QDepthwiseConv2D}
_OF_A_KERNEL = ("initializer", "regularizer", "constraint")


def _conv(layer: Any, kit: Kit) -> Made:
    config, padding = _padded(layer, kit, config_of(layer, "activation"))
    after = function_after(layer, kit)
    new = _quantized(_CONVOLUTIONS[layer.rank], layer, kit.before() if after else kit, config)
    return Made([*padding, new, *after], partial(copy_weights, layer, new))


def _depthwise(layer: Any, kit: Kit) -> Made:
    after = function_after(layer, kit)
    new = _in_groups(layer, kit.before() if after else kit, config_of(layer, "activation"))

    def copy() -> None:
        new._kernel.assign(_grouped(layer.kernel))
        if layer.use_bias:
            new.bias.assign(array(layer.bias))
        freeze_like(layer, new)

    return Made([new, *after], copy)


def _separable(layer: Any, kit: Kit) -> Made:
    config = config_of(layer, "activation", "filters", "use_bias")
    points = {name: config.pop(name) for name in ("bias_initializer", "bias_regularizer", "bias_constraint")}
    points |= {f"kernel_{part}": config.pop(f"pointwise_{part}") for part in _OF_A_KERNEL}
    points |= {name: config[name] for name in ("data_format", "trainable", "dtype")}
    points |= {"name": layer.name, "filters": layer.filters, "kernel_size": 1, "use_bias": layer.use_bias}
    config |= {"name": kit.name(layer, "depthwise"), "use_bias": False}
    config, padding = _padded(layer, kit, config)
    after = function_after(layer, kit)
    depthwise = _in_groups(layer, kit.before(), config, activation=None)
    last = kit.before() if after else kit
    pointwise = _quantized(_CONVOLUTIONS[layer.rank], layer, last.after(), points)

    def copy() -> None:
        depthwise._kernel.assign(_grouped(layer.depthwise_kernel))
        pointwise._kernel.assign(array(layer.pointwise_kernel))
        if layer.use_bias:
            pointwise.bias.assign(array(layer.bias))
        freeze_like(layer, depthwise)
        freeze_like(layer, pointwise)

    return Made([*padding, depthwise, pointwise, *after], copy)


def _quantized(kind: Callable[..., Any], layer: Any, kit: Kit, config: dict[str, Any], **changed: Any) -> Any:
    arguments: dict[str, Any] = {
        "activation": inline(layer, kit),
        "iq_conf": kit.input(),
        "kq_conf": kit.weight((-1,), layer.rank),
        "bq_conf": kit.bias(),
        **kit.rest(),
    }
    return kind(**(config | arguments | changed))


def _in_groups(layer: Any, kit: Kit, config: dict[str, Any], **changed: Any) -> Any:
    """Make the depthwise layer: HGQ2's own where the number of channels is known, or else one that finds it out."""
    shape = kit.reads[0].shape
    if shape is None:
        return _quantized(_DEPTHWISE[layer.rank], layer, kit, config, **changed)
    channels = shape[1 if layer.data_format == "channels_first" else -1]
    config = config | {f"kernel_{part}": config[f"depthwise_{part}"] for part in _OF_A_KERNEL}
    config |= {"filters": channels * layer.depth_multiplier, "groups": channels}
    for name in ("depth_multiplier", *(f"depthwise_{part}" for part in _OF_A_KERNEL)):
        del config[name]
    return _quantized(_CONVOLUTIONS[layer.rank], layer, kit, config, **changed)


def _grouped(kernel: Any) -> np.ndarray:
    """Return a depthwise kernel (*window, channels, multiplier) as that of groups, (*window, 1, all outputs)."""
    kernel = array(kernel)
    return kernel.reshape(*kernel.shape[:-2], 1, -1)


def _padded(layer: Any, kit: Kit, config: dict[str, Any]) -> tuple[dict[str, Any], list[Any]]:
    if layer.padding != "causal":
        return config, []
    before = layer.dilation_rate[0] * (layer.kernel_size[0] - 1)
    padding = keras.layers.ZeroPadding1D((before, 0), data_format=layer.data_format, name=kit.name(layer, "padding"))
    return config | {"padding": "valid"}, [padding]


def _kernels(layer: Any) -> list[Axes]:
    return [Axes(tuple(layer._kernel.shape), (-1,), layer.rank)]


def _depthwise_kernels(layer: Any) -> list[Axes]:
    return [Axes(_grouped(layer.kernel).shape, (-1,), layer.rank)]


def _separable_kernels(layer: Any) -> list[Axes]:
    kernels = _grouped(layer.depthwise_kernel), layer.pointwise_kernel
    return [Axes(tuple(kernel.shape), (-1,), layer.rank) for kernel in kernels]


_PARTS = KERNEL_PARTS + FUNCTION_PARTS
_OBJECTION = first_objection(computes_in_float32, objection_to_function)

RULES = {
    **{f"Conv{rank}D": Rule(_conv, _PARTS, _kernels, _OBJECTION) for rank in (1, 2, 3)},
    **{f"DepthwiseConv{r}D": Rule(_depthwise, _PARTS, _depthwise_kernels, _OBJECTION) for r in (1, 2)},
    **{f"SeparableConv{r}D": Rule(_separable, _PARTS, _separable_kernels, _OBJECTION) for r in (1, 2)},
}

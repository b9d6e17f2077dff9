"""Convolutions: `Conv1D` to `Conv3D`, depthwise and separable ones.

A depthwise convolution is a convolution in as many groups as there are channels, and a separable one is a depthwise one
with a convolution of size 1 behind it. Batch normalisation behind any of them becomes a part of it, of the last of two.
A causal convolution pads first, since HGQ2 0.2 gives a quantiser a width for each value before padding, and then hands
it the padded input.
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
    first_objection,
    freeze_like,
)
from weft.quantize.counterparts.functions import function_after, inline, objection_to_function
from weft.quantize.counterparts.fusion import copy_normalization, normalization_of
from weft.quantize.depthwise import QDepthwiseConv1D, QDepthwiseConv2D
from weft.quantize.normalized import QConv1DBatchnorm, QConv2DBatchnorm, QConv3DBatchnorm

_CONVOLUTIONS = {1: hgq.QConv1D, 2: hgq.QConv2D, 3: hgq.QConv3D}
_NORMALIZED = {1: QConv1DBatchnorm, 2: QConv2DBatchnorm, 3: QConv3DBatchnorm}
_DEPTHWISE = {1: QDepthwiseConv1D, 2: QDepthwiseConv2D}
_OF_A_KERNEL = ("initializer", "regularizer", "constraint")


def _conv(layer: Any, kit: Kit, norm: Any = None) -> Made:
    config, padding = _padded(layer, kit, config_of(layer, "activation"))
    after = function_after(layer, kit)
    new = _quantized(layer, kit.before() if after else kit, config, norm)
    return Made([*padding, new, *after], lambda: _copy(layer, new, layer._kernel, norm))


def _depthwise(layer: Any, kit: Kit, norm: Any = None) -> Made:
    after = function_after(layer, kit)
    new = _in_groups(layer, kit.before() if after else kit, config_of(layer, "activation"), norm)
    return Made([new, *after], lambda: _copy(layer, new, _grouped(layer.kernel), norm))


def _separable(layer: Any, kit: Kit, norm: Any = None) -> Made:
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
    pointwise = _quantized(layer, last, points, norm, iq_conf=kit.again())

    def copy() -> None:
        depthwise._kernel.assign(_grouped(layer.depthwise_kernel))
        freeze_like(layer, depthwise)
        _copy(layer, pointwise, layer.pointwise_kernel, norm)

    return Made([*padding, depthwise, pointwise, *after], copy)


def _with_normalization(make: Callable[..., Made], layer: Any, norm: Any, kit: Kit) -> Made:
    return make(layer, kit, norm)


def _copy(layer: Any, new: Any, kernel: Any, norm: Any) -> None:
    """Give a convolution its kernel, and the bias or the batch normalisation behind it."""
    new._kernel.assign(array(kernel))
    if norm is not None:
        copy_normalization(norm, layer.bias if layer.use_bias else None, new)
    elif layer.use_bias:
        new.bias.assign(array(layer.bias))
    freeze_like(layer, new)


def _quantized(layer: Any, kit: Kit, config: dict[str, Any], norm: Any = None, kind: Any = None, **changed: Any) -> Any:
    arguments: dict[str, Any] = {
        "activation": inline(layer, kit),
        "iq_conf": kit.input(),
        "kq_conf": kit.weight((-1,), layer.rank),
        "bq_conf": kit.bias(),
        **kit.rest(),
    }
    if norm is not None:
        kind, changed = _NORMALIZED[layer.rank], normalization_of(norm) | changed
        config = {name: value for name, value in config.items() if name != "use_bias"}
    kind = _CONVOLUTIONS[layer.rank] if kind is None else kind
    return kind(**(config | arguments | changed))


def _in_groups(layer: Any, kit: Kit, config: dict[str, Any], norm: Any = None, **changed: Any) -> Any:
    """Make the depthwise layer: HGQ2's own where the number of channels is known, or else one that finds it out."""
    shape = kit.reads[0].shape
    if shape is None:
        return _quantized(layer, kit, config, kind=_DEPTHWISE[layer.rank], **changed)
    channels = shape[1 if layer.data_format == "channels_first" else -1]
    config = config | {f"kernel_{part}": config[f"depthwise_{part}"] for part in _OF_A_KERNEL}
    config |= {"filters": channels * layer.depth_multiplier, "groups": channels}
    for name in ("depth_multiplier", *(f"depthwise_{part}" for part in _OF_A_KERNEL)):
        del config[name]
    return _quantized(layer, kit, config, norm, **changed)


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


def _rule(make: Callable[..., Made], kernels: Callable[[Any], list[Axes]]) -> Rule:
    return Rule(make, _PARTS, kernels, _OBJECTION, partial(_with_normalization, make))


RULES = {
    **{f"Conv{rank}D": _rule(_conv, _kernels) for rank in (1, 2, 3)},
    **{f"DepthwiseConv{rank}D": _rule(_depthwise, _depthwise_kernels) for rank in (1, 2)},
    **{f"SeparableConv{rank}D": _rule(_separable, _separable_kernels) for rank in (1, 2)},
}

"""Convolutions and transposed convolutions, in any number of groups, with every padding.

A transposed convolution is written as what it is: zeros between the values, zeros around them, and a convolution with
the kernel turned around. So it reaches firmware, and needs no backend that has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import keras
import numpy as np

from weft.errors import UnsupportedError
from weft.pytorch.builder import Builder, array
from weft.pytorch.operations.shapes import padded, zeros_around
from weft.pytorch.value import Value


def each(value: Any, rank: int) -> tuple[Any, ...]:
    """Return one number for each axis of a window."""
    found = (value,) if isinstance(value, int | float) else tuple(value)
    return found * rank if len(found) == 1 else found


def convolution(
    at: Builder,
    x: Value,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    *,
    mode: str = "zeros",
) -> Value:
    """A convolution; the weight has shape (n_out, n_in / groups, *window)."""
    rank = weight.ndim - 2
    kernel, dilation, stride = tuple(weight.shape[2:]), each(dilation, rank), each(stride, rank)
    reach = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
    if padding == "same":
        widths = [(total // 2, total - total // 2) for total in reach]
    else:
        widths = [(one, one) for one in each(0 if padding == "valid" else padding, rank)]
    is_same = mode == "zeros" and set(stride) == {1} and any(map(any, widths))
    is_same = is_same and widths == [(total // 2, total - total // 2) for total in reach]
    x = at.channels_last(x)
    if not is_same:
        x = padded(at, x, {2 + i: width for i, width in enumerate(widths) if any(width)}, mode)
    kernels = np.moveaxis(array(weight), (0, 1), (-1, -2))
    tensor = _convolved(
        at, x.tensor, kernels, bias, (weight, bias), stride, dilation, groups, "same" if is_same else "valid"
    )
    return x.like(tensor)


def _convolved(
    at: Builder,
    tensor: Any,
    kernel: np.ndarray,
    bias: Any,
    sources: Any,
    strides: Any,
    dilation: Any,
    groups: int,
    padding: str,
) -> Any:
    rank = kernel.ndim - 2
    if set(strides) != {1} and set(dilation) != {1}:
        raise UnsupportedError("it has a stride and a dilation, which Keras has not together; leave one of them at 1")
    config = {
        "filters": kernel.shape[-1],
        "kernel_size": kernel.shape[:-2],
        "strides": strides,
        "dilation_rate": dilation,
        "groups": groups,
        "padding": padding,
        "use_bias": bias is not None,
    }
    weights = [kernel] if bias is None else [kernel, array(bias)]
    return at.weighted(getattr(keras.layers, f"Conv{rank}D"), config, sources, weights, tensor)


def transposed(
    at: Builder,
    x: Value,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Value:
    """A transposed convolution; the weight has shape (n_in, n_out / groups, *window)."""
    rank = weight.ndim - 2
    settings = zip(
        *(each(one, rank) for one in (stride, padding, output_padding, dilation)), weight.shape[2:], strict=True
    )
    x = at.channels_last(x)
    tensor, around = x.tensor, {}
    for axis, (step, cut, more, spread, size) in enumerate(settings, 1):
        tensor = _spread(at, tensor, axis, step)
        edge = spread * (size - 1) - cut
        around[axis] = (edge, edge + more)
    for axis, (before, after) in around.items():
        n = tensor.shape[axis]
        tensor = at.picked(tensor, axis, range(max(0, -before), n + min(0, after)))
    tensor = zeros_around(at, tensor, {axis: (max(0, one), max(0, two)) for axis, (one, two) in around.items()})
    kernel = array(weight)[(slice(None), slice(None), *(slice(None, None, -1),) * rank)]
    n_in, n_out = kernel.shape[0] // groups, kernel.shape[1]
    kernel = kernel.reshape(groups, n_in, n_out, *kernel.shape[2:])
    kernel = np.moveaxis(kernel, (1, 0, 2), (-3, -2, -1)).reshape(*kernel.shape[3:], n_in, groups * n_out)
    ones = (1,) * rank
    return x.like(_convolved(at, tensor, kernel, bias, (weight, bias), ones, each(dilation, rank), groups, "valid"))


def _spread(at: Builder, tensor: Any, axis: int, step: int) -> Any:
    """Put step - 1 zeros between the values along an axis."""
    if step == 1:
        return tensor
    sizes = list(tensor.shape[1:])
    columns = at.reshaped(tensor, (prod(sizes[:axis]), 1, prod(sizes[axis:])))
    columns = at.step(keras.layers.ZeroPadding2D, columns, padding=((0, 0), (0, step - 1)))
    sizes[axis - 1] *= step
    wide = at.reshaped(columns, sizes)
    return at.picked(wide, axis, range(sizes[axis - 1] - step + 1))


def general(
    at: Builder,
    x: Value,
    weight: Any,
    bias: Any,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    is_transposed: bool,
    output_padding: Sequence[int],
    groups: int,
) -> Value:
    """Either of both, as exported programs have it."""
    if is_transposed:
        return transposed(at, x, weight, bias, stride, padding, output_padding, groups, dilation)
    return convolution(at, x, weight, bias, stride, padding, dilation, groups)


def _conv_module(at: Builder, m: Any, x: Value) -> Value:
    return convolution(at, x, m.weight, m.bias, m.stride, m.padding, m.dilation, m.groups, mode=m.padding_mode)


def _transposed_module(at: Builder, m: Any, x: Value) -> Value:
    return transposed(at, x, m.weight, m.bias, m.stride, m.padding, m.output_padding, m.groups, m.dilation)


def _upsample(
    at: Builder, x: Value, size: Any = None, scale_factor: Any = None, mode: str = "nearest", *_: Any
) -> Value:
    """Every value so many times, along each axis of the window."""
    x = at.channels_last(x)
    window = x.sizes[:-1]
    factors = each(scale_factor, len(window)) if size is None else _ratios(each(size, len(window)), window)
    if mode != "nearest" or any(factor != int(factor) for factor in factors):
        raise UnsupportedError(f"it upsamples by {factors}, mode {mode}; use mode='nearest' and whole factors")
    whole = tuple(int(factor) for factor in factors)
    kind = getattr(keras.layers, f"UpSampling{len(window)}D")
    return at.function(kind, x, size=whole[0] if len(window) == 1 else whole)


def _ratios(size: Sequence[int], window: Sequence[int]) -> tuple[float, ...]:
    return tuple(one / n for one, n in zip(size, window, strict=True))


_RANKS = (1, 2, 3)

MODULES = {
    **{f"Conv{n}d": _conv_module for n in _RANKS},
    **{f"ConvTranspose{n}d": _transposed_module for n in _RANKS},
    "Upsample": lambda at, m, x: _upsample(at, x, m.size, m.scale_factor, m.mode),
    "UpsamplingNearest2d": lambda at, m, x: _upsample(at, x, m.size, m.scale_factor, m.mode),
}

FUNCTIONS = {
    **{f"conv{n}d": convolution for n in _RANKS},
    **{f"conv_transpose{n}d": transposed for n in _RANKS},
    "convolution": general,
    "interpolate": _upsample,
}

"""Pooling: the largest or the mean value of windows, of given size or as many as are asked for.

Torch pads before it takes the largest by -∞; a copy of the nearest value does the same, since a window reaches over the
edge by at most half its size and so holds that value.
"""

from __future__ import annotations

from typing import Any

import keras

from weft.errors import UnsupportedError
from weft.pytorch.builder import Builder
from weft.pytorch.operations.convolution import each
from weft.pytorch.operations.shapes import padded
from weft.pytorch.value import Value


def max_pool(
    at: Builder,
    x: Value,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Value:
    """The largest value of each window."""
    x = at.channels_last(x)
    rank = x.rank - 2
    if set(each(dilation, rank)) != {1} or return_indices:
        raise UnsupportedError("it has a dilation, or gives out indices; pool neighbours, and their values only")
    return _pooled(at, "Max", x, kernel_size, stride, padding, ceil_mode, "replicate")


def avg_pool(
    at: Builder,
    x: Value,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: Any = None,
) -> Value:
    """The mean value of each window."""
    x = at.channels_last(x)
    if divisor_override is not None or (any(each(padding, x.rank - 2)) and not count_include_pad):
        raise UnsupportedError(
            "its windows divide by different numbers; use count_include_pad=True and no divisor_override"
        )
    return _pooled(at, "Average", x, kernel_size, stride, padding, ceil_mode, "zeros")


def _pooled(
    at: Builder, kind: str, x: Value, kernel_size: Any, stride: Any, padding: Any, ceil_mode: bool, mode: str
) -> Value:
    rank = x.rank - 2
    kernel, padding = each(kernel_size, rank), each(padding, rank)
    stride = kernel if stride is None or stride == [] else each(stride, rank)
    widths = {}
    for i, (k, s, p) in enumerate(zip(kernel, stride, padding, strict=True)):
        n = x.size(2 + i)
        over = (n + 2 * p - k) % s
        more = s - over if ceil_mode and over else 0
        if more and n + 2 * p - k - over + s >= n + p:  # a window that begins behind the values is left out
            more = 0
        if more and kind == "Average":
            raise UnsupportedError("ceil_mode=True makes windows that divide by different numbers; use ceil_mode=False")
        if p or more:
            widths[2 + i] = (p, p + more)
    x = padded(at, x, widths, mode)
    config = {"pool_size": kernel[0] if rank == 1 else kernel, "strides": stride[0] if rank == 1 else stride}
    return at.function(getattr(keras.layers, f"{kind}Pooling{rank}D"), x, **config)


def _adaptive(kind: str) -> Any:
    def pool(at: Builder, x: Value, output_size: Any, return_indices: bool = False) -> Value:
        """As many windows as are asked for, which share the values as evenly as can be."""
        x = at.channels_last(x)
        rank = x.rank - 2
        sizes = [n if one is None else one for n, one in zip(x.sizes, each(output_size, rank), strict=False)]
        if return_indices:
            raise UnsupportedError("it gives out indices; pool values only")
        if set(sizes) == {1}:
            return at.function(getattr(keras.layers, f"Global{kind}Pooling{rank}D"), x, keepdims=True)
        if all(n % size == 0 for n, size in zip(x.sizes, sizes, strict=False)):
            window = tuple(n // size for n, size in zip(x.sizes, sizes, strict=False))
            config = {"pool_size": window[0] if rank == 1 else window}
            return at.function(getattr(keras.layers, f"{kind}Pooling{rank}D"), x, **config)
        for i, size in enumerate(sizes):
            x = _along(at, kind, x, i, size)
        return x

    return pool


def _along(at: Builder, kind: str, x: Value, axis: int, size: int) -> Value:
    """Pool windows that overlap or differ in length, one by one, along one axis of the window."""
    rank, n = x.rank - 2, x.sizes[axis]
    parts = []
    for i in range(size):
        first, last = i * n // size, -(-(i + 1) * n // size)
        window = tuple(last - first if j == axis else 1 for j in range(rank))
        part = at.picked(x.tensor, axis + 1, range(first, last))
        layer = getattr(keras.layers, f"{kind}Pooling{rank}D")
        parts.append(at.step(layer, part, pool_size=window[0] if rank == 1 else window))
    return x.like(at.joined(parts, axis + 1))


_RANKS = (1, 2, 3)
_MAX, _MEAN = _adaptive("Max"), _adaptive("Average")


def _max_module(at: Builder, m: Any, x: Value) -> Value:
    return max_pool(at, x, m.kernel_size, m.stride, m.padding, m.dilation, m.ceil_mode, m.return_indices)


def _avg_module(at: Builder, m: Any, x: Value) -> Value:
    divisor = getattr(m, "divisor_override", None)
    return avg_pool(at, x, m.kernel_size, m.stride, m.padding, m.ceil_mode, m.count_include_pad, divisor)


MODULES = {
    **{f"MaxPool{n}d": _max_module for n in _RANKS},
    **{f"AvgPool{n}d": _avg_module for n in _RANKS},
    **{f"AdaptiveAvgPool{n}d": lambda at, m, x: _MEAN(at, x, m.output_size) for n in _RANKS},
    **{f"AdaptiveMaxPool{n}d": lambda at, m, x: _MAX(at, x, m.output_size, m.return_indices) for n in _RANKS},
}

FUNCTIONS = {
    **{f"max_pool{n}d": max_pool for n in _RANKS},
    **{f"avg_pool{n}d": avg_pool for n in _RANKS},
    **{f"adaptive_avg_pool{n}d": _MEAN for n in _RANKS},
    **{f"adaptive_max_pool{n}d": _MAX for n in _RANKS},
}

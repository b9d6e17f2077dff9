"""Sums, products and comparisons value by value: of two tensors, or of one and a constant.

A constant of few bits is one in hardware too. Other constants, parameters such as a learnt position or a scale of 0.1,
become the weights of an `EinsumDense` along the axes on which they differ, where they are quantised and go on learning.
"""

from __future__ import annotations

from string import ascii_lowercase
from typing import Any

import keras
import numpy as np

from weft.errors import UnsupportedError
from weft.pytorch.builder import Builder, array, has_few_bits
from weft.pytorch.value import Value


def binary(at: Builder, layer: Any, x: Value, y: Value) -> Value:
    """Join two tensors value by value."""
    x, y = aligned(at, x, y)
    return x.like(layer(name=at.name())([x.tensor, y.tensor]))


def aligned(at: Builder, x: Value, y: Value) -> tuple[Value, Value]:
    """Return two values with as many axes in the same order."""
    x, y = _of_rank(at, x, y.rank), _of_rank(at, y, x.rank)
    if x.batch != y.batch:
        raise UnsupportedError(
            "it joins tensors whose batch axes do not meet, so that rows would be mixed; unsqueeze the one with fewer "
            "axes"
        )
    return x, at.arranged(y, x.axes)


def _of_rank(at: Builder, x: Value, rank: int) -> Value:
    if x.rank >= rank:
        return x
    new = rank - x.rank
    tensor = at.reshaped(x.tensor, (*(1 for _ in range(new)), *x.sizes))
    return Value(tensor, (x.batch + new, *range(new), *(axis + new for axis in x.axes[1:])))


def constant_for(at: Builder, x: Value, constant: Any) -> np.ndarray:
    """Return a constant in the order of a value's Keras axes, (1, ...); the batch axis is 1."""
    found = array(constant)
    if found.ndim > x.rank:
        raise UnsupportedError(
            f"it joins a tensor of {x.rank} axes with a constant of {found.ndim}; drop some of these"
        )
    found = found.reshape((1,) * (x.rank - found.ndim) + found.shape).transpose(x.axes)
    if found.shape[0] == at.rows and (found == found[:1]).all():
        found = found[:1]
    if found.shape[0] != 1:
        raise UnsupportedError("it joins rows of the batch with different constants; use the same for all rows")
    return found


def _constant(x: np.ndarray) -> Any:
    return float(x.reshape(())) if x.size == 1 else x


def scaled(at: Builder, x: Value, constant: Any) -> Value:
    """The product with a constant."""
    factor = constant_for(at, x, constant)
    if (factor == 1).all() and np.broadcast_shapes(factor.shape[1:], x.sizes) == x.sizes:
        return x
    if not _is_parameter(constant) and has_few_bits(factor):
        return _broadcast(x, keras.ops.multiply(x.tensor, _constant(factor)))
    return _einsum(at, x, constant, factor, None)


def shifted(at: Builder, x: Value, constant: Any, sign: int = 1) -> Value:
    """The sum with a constant."""
    offset = sign * constant_for(at, x, constant)
    if not _is_parameter(constant) and has_few_bits(offset):
        return _broadcast(x, keras.ops.add(x.tensor, _constant(offset)))
    return _einsum(at, x, constant, np.ones_like(offset), offset)


def _broadcast(x: Value, tensor: Any) -> Value:
    return x.like(tensor)


def _is_parameter(constant: Any) -> bool:
    return bool(getattr(constant, "requires_grad", False))


def _einsum(at: Builder, x: Value, source: Any, kernel: np.ndarray, bias: np.ndarray | None) -> Value:
    """Multiply along the axes on which a kernel differs, and add a bias."""
    full = np.broadcast_shapes(kernel.shape[1:], x.sizes)
    if full != x.sizes:
        raise UnsupportedError(
            f"a constant of shape {kernel.shape[1:]} repeats a tensor of {x.sizes}; expand it before"
        )
    axes = [axis for axis in range(1, x.rank) if kernel.shape[axis] > 1] or [x.rank - 1]
    letters = ascii_lowercase[: x.rank]
    mine = "".join(letters[axis] for axis in axes)
    shape = tuple(x.tensor.shape[axis] for axis in axes)
    config = {
        "equation": f"{letters},{mine}->{letters}",
        "output_shape": x.sizes,
        "bias_axes": None if bias is None else mine,
    }
    squeezed = tuple(kernel.shape[axis] for axis in axes)
    weights = [np.broadcast_to(one.reshape(squeezed), shape) for one in (kernel, bias) if one is not None]
    sources = (source,) if hasattr(source, "detach") else (at.name("constant"),)
    return x.like(at.weighted(keras.layers.EinsumDense, config, sources, weights, x.tensor))


def add(at: Builder, x: Any, y: Any, *, alpha: Any = 1) -> Value:
    """x + alpha y."""
    if not isinstance(x, Value):
        return add(at, scaled(at, y, alpha), x)
    if isinstance(y, Value):
        return binary(at, keras.layers.Add, x, scaled(at, y, alpha))
    return shifted(at, x, y * alpha if alpha != 1 else y)


def sub(at: Builder, x: Any, y: Any, *, alpha: Any = 1) -> Value:
    """x - alpha y."""
    if not isinstance(x, Value):
        return add(at, neg(at, scaled(at, y, alpha)), x)
    if isinstance(y, Value):
        return binary(at, keras.layers.Subtract, x, scaled(at, y, alpha))
    return shifted(at, x, y, -1)


def neg(at: Builder, x: Value) -> Value:
    """-x."""
    return x.like(keras.ops.negative(x.tensor))


def mul(at: Builder, x: Any, y: Any) -> Value:
    """x y."""
    if isinstance(x, Value) and isinstance(y, Value):
        return binary(at, keras.layers.Multiply, x, y)
    return scaled(at, x, y) if isinstance(x, Value) else scaled(at, y, x)


def div(at: Builder, x: Any, y: Any, *, rounding_mode: Any = None) -> Value:
    """x / y for a constant y."""
    if isinstance(y, Value) or rounding_mode is not None:
        raise UnsupportedError(
            "it divides by a tensor, or rounds; multiply by a constant, or put the division outside of the network"
        )
    return scaled(at, x, 1.0 / y)


def power(at: Builder, x: Any, exponent: Any) -> Value:
    """x to a small whole power."""
    if not isinstance(x, Value) or isinstance(exponent, Value) or exponent not in (1, 2, 3, 4):
        found = "the data" if isinstance(exponent, Value) else exponent
        raise UnsupportedError(f"it takes a power of {found}; multiply, or use a power of 1 to 4")
    result = x
    for _ in range(int(exponent) - 1):
        result = binary(at, keras.layers.Multiply, result, x)
    return result


def _extreme(layer: Any, function: Any) -> Any:
    def extreme(at: Builder, x: Any, y: Any) -> Value:
        if isinstance(x, Value) and isinstance(y, Value):
            return binary(at, layer, x, y)
        x, y = (x, y) if isinstance(x, Value) else (y, x)
        return x.like(function(x.tensor, _constant(constant_for(at, x, y))))

    return extreme


maximum = _extreme(keras.layers.Maximum, keras.ops.maximum)
minimum = _extreme(keras.layers.Minimum, keras.ops.minimum)


def clamp(at: Builder, x: Value, min: Any = None, max: Any = None) -> Value:
    """x between two bounds."""
    if min is not None:
        x = maximum(at, x, min)
    return x if max is None else minimum(at, x, max)


FUNCTIONS = {
    **{name: add for name in ("add", "iadd", "__add__", "__radd__")},
    **{name: sub for name in ("sub", "isub", "subtract")},
    **{name: mul for name in ("mul", "imul", "multiply")},
    **{name: div for name in ("div", "divide", "truediv", "itruediv", "true_divide")},
    "rsub": lambda at, x, y, **more: sub(at, y, x, **more),
    "neg": neg,
    "negative": neg,
    "pow": power,
    "square": lambda at, x: power(at, x, 2),
    "abs": lambda at, x: x.like(keras.ops.abs(x.tensor)),
    "absolute": lambda at, x: x.like(keras.ops.abs(x.tensor)),
    "maximum": maximum,
    "minimum": minimum,
    "clamp": clamp,
    "clip": clamp,
    "clamp_min": lambda at, x, min: clamp(at, x, min),
    "clamp_max": lambda at, x, max: clamp(at, x, None, max),
}

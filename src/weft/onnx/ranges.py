"""Interval arithmetic through a finalised network: which quantisers no input can make overflow.

Where that is proven, to wrap around and to saturate are the same, and a quantiser of ONNX says either. An interval may
be wider than the values (operands are taken as independent, and sums of weights get the room that float32 may have
rounded away); then a quantiser counts as one that may overflow though it cannot.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from weft.onnx.number import Floats, Number
from weft.quantize.graph import Call
from weft.quantize.operations import function_of, kind_of, name_of

_ROUNDING = 2.0**-22
"""Twice what one addition in float32 rounds away, as a share of its operands."""


@dataclass(frozen=True, eq=False)
class Interval:
    """The least and the greatest value of each element of a tensor, shape (1, ...); infinite where it is not known."""

    low: Floats
    high: Floats


def anything(shape: tuple[int, ...]) -> Interval:
    """Return what is known of a network's input: nothing."""
    return Interval(np.full(shape, -np.inf), np.full(shape, np.inf))


def fits(number: Number, read: Interval) -> bool:
    """Return whether no value of an interval overflows a format once it is rounded."""
    low, high = (number.rounded(end) for end in (read.low, read.high))
    alive = number.width > 0
    return bool(((~alive) | ((low >= number.low) & (high <= number.high))).all())


def quantized(number: Number, read: Interval, *, wraps: bool) -> Interval:
    """Return the interval of values behind a quantiser."""
    shape = np.broadcast_shapes(read.low.shape, number.low.shape)
    if wraps:
        return Interval(np.broadcast_to(number.low, shape), np.broadcast_to(number.high, shape))
    ends = (np.clip(number.rounded(end), number.low, number.high) for end in (read.low, read.high))
    return Interval(*(np.broadcast_to(end, shape) for end in ends))


def through(call: Call, read: list[Interval]) -> Interval:
    """Return the interval of what a call gives for what it reads behind its quantisers; without table functions."""
    layer, kind, name = call.operation, kind_of(call.operation), name_of(call.operation)
    with np.errstate(invalid="ignore"):
        if name == "BatchNormalization":
            found = _scaled(layer, read[0])
        elif kind == "linear":
            found = _weighted(layer, read[0])
        elif name in ("Multiply", "Matmul", "Square"):
            found = _product(call, read)
        elif name == "Subtract":
            found = Interval(_run(call, [read[0].low, read[-1].high]), _run(call, [read[0].high, read[-1].low]))
        elif name == "Negative":
            found = Interval(-read[0].high, -read[0].low)
        else:  # what grows with each of its operands, in float32 too
            found = Interval(_run(call, [one.low for one in read]), _run(call, [one.high for one in read]))
    low, high = np.nan_to_num(found.low, nan=-np.inf, posinf=np.inf, neginf=-np.inf), found.high
    return Interval(low, np.nan_to_num(high, nan=np.inf, posinf=np.inf, neginf=-np.inf))


def _run(call: Call, values: list[Floats], operation: Callable[..., Any] | None = None) -> Floats:
    """Compute what a call does for other values, without the layer's quantisers."""
    import keras

    known = {id(t): keras.ops.convert_to_tensor(v.astype(np.float32)) for t, v in zip(call.inputs, values, strict=True)}
    args, kwargs = call.node.arguments.fill_in(known)
    layer = call.operation
    if operation is None and hasattr(layer, "enable_iq"):
        operation = _bare(layer)
    made = (operation or layer.call)(*args, **(kwargs if operation is None else {}))
    return np.asarray(keras.ops.convert_to_numpy(made), np.float64)


def _bare(layer: Any) -> Callable[..., Any]:
    """Return the function of Keras' layer that a layer of HGQ2 has its quantisers around."""
    from keras import ops

    if name_of(layer) in ("Sum", "MeanPow2"):
        return lambda x: ops.sum(x, axis=layer.axes, keepdims=layer.keepdims) * layer.scale
    if name_of(layer) == "AveragePow2":
        return lambda many: sum(many[1:], many[0]) * layer._scale
    kind = next(one for one in type(layer).__mro__ if one.__module__.startswith("keras.") and "call" in one.__dict__)
    return lambda x: kind.call(layer, x)


def linear_operation(layer: Any) -> Callable[[Any, Any], Any]:
    """Return the product of a tensor and a kernel that a layer computes."""
    from keras import ops

    if name_of(layer) == "Dense":
        return ops.matmul
    if name_of(layer) == "EinsumDense":
        return lambda x, kernel: ops.einsum(layer.equation, x, kernel)

    def convolve(x: Any, kernel: Any) -> Any:
        if layer.padding != "causal":
            return layer.convolution_op(x, kernel)
        x = ops.pad(x, layer._compute_causal_padding())
        return ops.conv(x, kernel, layer.strides, "valid", layer.data_format, layer.dilation_rate)

    return convolve


def _weighted(layer: Any, read: Interval) -> Interval:
    from keras import ops

    from weft.quantize.formats import bias_of, kernel_of

    kernel, operation = kernel_of(layer), linear_operation(layer)

    def applied(x: Floats, weights: Floats) -> Floats:
        tensors = (ops.convert_to_tensor(one.astype(np.float32)) for one in (x, weights))
        return np.asarray(ops.convert_to_numpy(operation(*tensors)), np.float64)

    above, below = np.maximum(kernel, 0), np.minimum(kernel, 0)
    low = applied(read.low, above) + applied(read.high, below)
    high = applied(read.high, above) + applied(read.low, below)
    size = applied(np.maximum(np.abs(read.low), np.abs(read.high)), np.abs(kernel))
    bias = bias_of(layer)
    if bias is not None:
        bias = bias.reshape(channel_shape(layer, low.ndim)) if hasattr(layer, "data_format") else bias
        low, high, size = low + bias, high + bias, size + np.abs(bias)
    found = _widened(Interval(low, high), size, float(np.prod(kernel.shape[:-1])) + 1)
    if getattr(layer, "activation", None) is None:
        return found
    ends = (ops.convert_to_numpy(layer.activation(ops.convert_to_tensor(end))) for end in (found.low, found.high))
    return Interval(*(np.asarray(end, np.float64) for end in ends)) if function_of(layer) != "linear" else found


def channel_shape(layer: Any, rank: int) -> tuple[int, ...]:
    """Return the shape in which one number a channel meets what a convolution gives."""
    return (1, -1, *[1] * (rank - 2)) if layer.data_format == "channels_first" else (*[1] * (rank - 1), -1)


def _widened(found: Interval, size: Floats, n_terms: float) -> Interval:
    """Give an interval the room that float32 may have rounded away of a sum; `size` is that of all terms together."""
    room = size * n_terms * _ROUNDING
    return Interval(found.low - room, found.high + room)


def _scaled(layer: Any, read: Interval) -> Interval:
    import keras

    parts = (np.asarray(keras.ops.convert_to_numpy(one), np.float64) for one in layer.qscaler_and_qoffset)
    scale, offset = (part.reshape(layer._shape) for part in parts)
    ends = [read.low * scale + offset, read.high * scale + offset]
    found = Interval(np.minimum(*ends), np.maximum(*ends))
    return _widened(found, np.maximum(np.abs(found.low), np.abs(found.high)) + 2 * np.abs(offset), 2.0)


def _product(call: Call, read: list[Interval]) -> Interval:
    """Return the interval of a product: by its corners, or where sums of products are made, by magnitudes."""
    if name_of(call.operation) == "Matmul":
        sizes = [np.maximum(np.abs(one.low), np.abs(one.high)) for one in read]
        high = _run(call, sizes)
        high = high * (1 + sizes[0].shape[-1] * _ROUNDING)
        return Interval(-high, high)
    if name_of(call.operation) == "Square":
        ends = [read[0].low ** 2, read[0].high ** 2]
        crosses = (read[0].low < 0) & (read[0].high > 0)
        return Interval(np.where(crosses, 0.0, np.minimum(*ends)), np.maximum(*ends))
    if len(read) == 1:  # times a constant
        ends = [_run(call, [end]) for end in (read[0].low, read[0].high)]
        return Interval(np.minimum(*ends), np.maximum(*ends))
    low, high = read[0].low, read[0].high
    for one in read[1:]:
        corners = [a * b for a in (low, high) for b in (one.low, one.high)]
        low, high = np.min(corners, axis=0), np.max(corners, axis=0)
    return Interval(low, high)

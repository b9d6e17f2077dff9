"""Layers and operations of a finalised model as ONNX nodes; what is around them, quantisers, is written elsewhere.

Tensors keep Keras' order of axes. Convolutions and pooling of channels-last layers stand between two transpositions.
What only moves values is asked by Keras itself where each value goes, and is a `Gather` where ONNX has no node for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from weft.errors import UnsupportedError
from weft.onnx.graph import Graph
from weft.onnx.ranges import channel_shape
from weft.quantize.graph import Call
from weft.quantize.operations import function_of, kind_of, name_of

Weights = Callable[[Graph, Any, str], str]
"""Writes constants as a quantised tensor and returns its name."""

_PAIRS = {
    **{"Add": "Add", "Subtract": "Sub", "Multiply": "Mul", "Maximum": "Max", "Minimum": "Min", "Matmul": "MatMul"},
    **{"Average": "Add", "AveragePow2": "Add"},
}
_SHAPED = ("Reshape", "Flatten", "Squeeze", "ExpandDims", "Ravel")
_NOTHING = ("Identity", "Dropout", "ActivityRegularization", "StopGradient", "Copy", "GaussianNoise", "GaussianDropout",
            "AlphaDropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D")  # fmt: skip
_REMEDIES = {
    "Softmax": "cut the softmax: it does not change the class",
    "MultiHeadAttention": "its softmax has no exact form in ONNX",
    "LinformerAttention": "its softmax has no exact form in ONNX",
    "SimpleRNN": "its state is quantised in every step; write the steps out as dense layers",
    "GRU": "its state is quantised in every step; write the steps out as dense layers",
}


def write(graph: Graph, call: Call, read: Sequence[str], weights: Weights) -> str:
    """Write the nodes of one call, without its quantisers, and return the name of what it gives.

    Args:
        graph: What is written to.
        call: The call, of a layer that is no table function and no quantiser.
        read: What it reads, one name for each tensor.
        weights: Writes kernels and biases.

    Raises:
        UnsupportedError: The layer has no exact form in ONNX.
    """
    layer, kind, name = call.operation, kind_of(call.operation), name_of(call.operation)
    if name in _REMEDIES:
        raise refusal(call, _REMEDIES[name])
    if kind == "linear":
        made = _normalized(graph, call, read[0], weights) if name == "BatchNormalization" else _weighted(
            graph, call, read[0], weights)  # fmt: skip
        return _function(graph, call, made)
    if name in _PAIRS:
        return _joined(graph, call, list(read))
    if "Pooling" in name:
        return _pooled(graph, call, read[0])
    if name in ("Sum", "Mean", "MeanPow2"):
        return _summed(graph, call, read[0])
    if name == "Rescaling" and np.ndim(layer.scale) == 0 and not np.any(layer.offset):
        return _times(graph, read[0], layer.scale, call)
    if name == "Negative":
        return graph.add("Neg", read, call.place)
    if name == "Concatenate":
        return graph.add("Concat", read, call.place, axis=_axis(layer.axis, call.outputs[0]))
    if kind == "moves" and not name.startswith("Activation"):
        return _moved(graph, call, read)
    if function_of(layer) != "linear" or name in ("Activation", "ReLU"):
        return _function(graph, call, read[0])
    raise refusal(call, "replace it by layers that docs/onnx.md lists, or verify it as RTL instead")


def refusal(call: Call, remedy: str) -> UnsupportedError:
    """Return the error that says that a layer has no form in ONNX."""
    return UnsupportedError(
        f"layer '{call.place}' ({type(call.operation).__name__}) has no exact form in ONNX; {remedy}"
    )


def _axis(axis: int, tensor: Any) -> int:
    return axis % len(tensor.shape)


def _times(graph: Graph, x: str, scale: float, call: Call) -> str:
    """Multiply by a power of two."""
    if abs(math.frexp(scale)[0]) != 0.5:
        raise refusal(call, f"it multiplies by {scale:g}, which float32 rounds; take a power of two")
    return x if scale == 1 else graph.add("Mul", [x, graph.constant(scale)], f"{call.place}_scale")


def _weighted(graph: Graph, call: Call, x: str, weights: Weights) -> str:
    from weft.quantize.formats import bias_of, kernel_of

    layer, name, place = call.operation, name_of(call.operation), call.place
    if name not in ("Dense", "EinsumDense", "Conv1D", "Conv2D", "Conv3D"):
        raise refusal(call, "replace it by dense layers or convolutions")
    kernel, bias = kernel_of(layer), bias_of(layer)
    if name == "Dense":
        made = graph.add("MatMul", [x, weights(graph, kernel, f"{place}_kernel")], place)
    elif name == "EinsumDense":
        inputs = [x, weights(graph, kernel, f"{place}_kernel")]
        made = graph.add("Einsum", inputs, place, equation=layer.equation)
    else:
        made = _convolved(graph, call, x, weights(graph, np.moveaxis(kernel, (-1, -2), (0, 1)), f"{place}_kernel"))
        rank = len(call.outputs[0].shape)
        bias = None if bias is None else bias.reshape(channel_shape(layer, rank)[1:])
    if bias is None:
        return made
    return graph.add("Add", [made, weights(graph, bias, f"{place}_bias")], f"{place}_biased")


def _first(graph: Graph, call: Call, x: str) -> str:
    """Bring channels to the front."""
    rank = len(call.inputs[0].shape)
    if call.operation.data_format == "channels_first":
        return x
    return graph.add("Transpose", [x], f"{call.place}_first", perm=[0, rank - 1, *range(1, rank - 1)])


def _last(graph: Graph, call: Call, x: str) -> str:
    rank = len(call.inputs[0].shape)
    if call.operation.data_format == "channels_first":
        return x
    return graph.add("Transpose", [x], f"{call.place}_last", perm=[0, *range(2, rank), 1])


def pads_of(sizes: Sequence[int], windows: Sequence[int], strides: Sequence[int], padding: str) -> list[int]:
    """Return how many zeros Keras puts before each axis, then behind each, in ONNX' order.

    Args:
        sizes: The size of each axis in space.
        windows: How wide the taps of a window reach.
        strides: Steps between windows.
        padding: `valid`, `same` or `causal`.
    """
    if padding == "valid":
        return [0] * 2 * len(sizes)
    if padding == "causal":
        return [windows[0] - 1, 0]
    total = [
        max((-(-size // stride) - 1) * stride + window - size, 0)
        for size, window, stride in zip(sizes, windows, strides, strict=True)
    ]
    return [one // 2 for one in total] + [one - one // 2 for one in total]


def _space(call: Call) -> tuple[int, ...]:
    shape = tuple(call.inputs[0].shape)
    return shape[2:] if call.operation.data_format == "channels_first" else shape[1:-1]


def _convolved(graph: Graph, call: Call, x: str, kernel: str) -> str:
    layer = call.operation
    windows = [(taps - 1) * rate + 1 for taps, rate in zip(layer.kernel_size, layer.dilation_rate, strict=True)]
    attributes: dict[str, Any] = {
        "pads": pads_of(_space(call), windows, layer.strides, layer.padding),
        "strides": list(layer.strides),
        "dilations": list(layer.dilation_rate),
        "kernel_shape": list(layer.kernel_size),
        "group": layer.groups,
    }
    return _last(graph, call, graph.add("Conv", [_first(graph, call, x), kernel], call.place, **attributes))


def _pooled(graph: Graph, call: Call, x: str) -> str:
    layer, name, space = call.operation, name_of(call.operation), _space(call)
    whole = name.startswith("Global")
    window = space if whole else tuple(np.broadcast_to(layer.pool_size, len(space)).tolist())
    strides = space if whole else tuple(np.broadcast_to(layer.strides, len(space)).tolist())
    padding = "valid" if whole else layer.padding
    averages = "Average" in name
    if averages and math.prod(window) & (math.prod(window) - 1):
        raise refusal(call, f"it averages over {math.prod(window)} values, which float32 rounds; take a power of two")
    pads = pads_of(space, window, strides, padding)
    if averages and any(pads):
        raise refusal(call, "at the border it averages over fewer values; use padding='valid'")
    kind = "AveragePool" if averages else "MaxPool"
    made = graph.add(kind, [_first(graph, call, x)], call.place, kernel_shape=list(window), strides=list(strides),
                     pads=pads)  # fmt: skip
    if whole and not layer.keepdims:
        shape = graph.constant([0, call.outputs[0].shape[-1]], "int64")
        return graph.add("Reshape", [made, shape], f"{call.place}_flat")
    return _last(graph, call, made)


def _summed(graph: Graph, call: Call, x: str) -> str:
    layer, shape = call.operation, call.inputs[0].shape
    axes = layer.axes if hasattr(layer, "axes") else layer.axis
    axes = tuple(range(len(shape))) if axes is None else tuple(one % len(shape) for one in np.atleast_1d(axes))
    if 0 in axes:
        raise refusal(call, "it adds up the rows of a batch")
    average = 1 / math.prod(shape[one] for one in axes) if name_of(layer) == "Mean" else 1.0
    made = graph.add("ReduceSum", [x, graph.constant(axes, "int64")], call.place, keepdims=int(layer.keepdims))
    return _times(graph, made, getattr(layer, "scale", average), call)


def _joined(graph: Graph, call: Call, read: list[str]) -> str:
    """Chain the operation of two tensors, of which one may be a constant."""
    layer, name = call.operation, name_of(call.operation)
    if len({len(tensor.shape) for tensor in call.inputs}) > 1:
        raise refusal(call, "its operands have different numbers of axes; reshape them to the same")
    if len(read) == 1:
        args = [*call.node.arguments.args, *call.node.arguments.kwargs.values()]
        known = {id(call.inputs[0]): read[0]}
        read = [known.get(id(one)) or graph.constant(np.asarray(one)) for one in args]
    made = read[0]
    for one in read[1:]:
        made = graph.add(_PAIRS[name], [made, one], call.place)
    if name.startswith("Average"):
        return _times(graph, made, getattr(layer, "_scale", 1 / len(read)), call)
    return made


def _moved(graph: Graph, call: Call, read: Sequence[str]) -> str:
    from keras import ops, tree

    layer, name = call.operation, name_of(call.operation)
    if name in _NOTHING:
        return read[0]
    if name.startswith("ZeroPadding"):
        around = np.zeros((len(call.inputs[0].shape), 2), int)
        pairs = np.reshape(layer.padding, (-1, 2))
        first = 2 if getattr(layer, "data_format", "channels_last") == "channels_first" else 1
        around[first : first + len(pairs)] = pairs
        return graph.add("Pad", [read[0], graph.constant(around.T.ravel(), "int64")], call.place)
    if len(read) > 1 or len(call.outputs) > 1:
        raise refusal(call, "it takes or gives several tensors; use Concatenate, or slices of one tensor")
    size = math.prod(call.inputs[0].shape[1:])
    numbers = np.arange(size, dtype="int32").reshape(1, *call.inputs[0].shape[1:])
    args, kwargs = call.node.arguments.fill_in({id(call.inputs[0]): ops.convert_to_tensor(numbers)})
    places: Any = ops.convert_to_numpy(tree.flatten(layer.call(*args, **kwargs))[0])
    if places.shape[0] != 1 or math.prod(places.shape[1:]) != math.prod(call.outputs[0].shape[1:]):
        raise refusal(call, "it moves values to another row of the batch")
    shape = graph.constant([0, *places.shape[1:]], "int64")
    for perm in _orders(numbers.ndim):
        if numbers.ndim == places.ndim and np.array_equal(numbers.transpose(perm), places):
            return graph.add("Transpose", [read[0]], call.place, perm=list(perm))
    if np.array_equal(places.ravel(), numbers.ravel()):
        return graph.add("Reshape", [read[0], shape], call.place)
    flat = graph.add("Reshape", [read[0], graph.constant([0, size], "int64")], f"{call.place}_flat")
    taken = graph.add("Gather", [flat, graph.constant(places.ravel(), "int64")], f"{call.place}_gather", axis=1)
    return graph.add("Reshape", [taken, shape], call.place)


def _orders(rank: int) -> list[tuple[int, ...]]:
    from itertools import permutations

    return [(0, *one) for one in permutations(range(1, rank)) if one != tuple(range(1, rank))]


def _normalized(graph: Graph, call: Call, x: str, weights: Weights) -> str:
    import keras

    layer = call.operation
    parts = (np.asarray(keras.ops.convert_to_numpy(one), np.float64) for one in layer.qscaler_and_qoffset)
    scale, offset = (part.reshape(layer._shape[1:]) for part in parts)
    made = graph.add("Mul", [x, weights(graph, scale, f"{call.place}_scale")], f"{call.place}_scaled")
    return graph.add("Add", [made, weights(graph, offset, f"{call.place}_offset")], call.place)


def _function(graph: Graph, call: Call, x: str) -> str:
    """Write the piecewise linear function that a layer ends with, or is."""
    layer, function = call.operation, function_of(call.operation)
    name = f"{call.place}_{function}"
    match function:
        case "linear":
            return x
        case "relu" if not getattr(layer, "threshold", 0) and getattr(layer, "max_value", None) is None:
            return graph.add("Relu", [x], name)
        case "relu" if not getattr(layer, "threshold", 0):
            return graph.add("Clip", [x, graph.constant(0.0), graph.constant(layer.max_value)], name)
        case "relu6":
            return graph.add("Clip", [x, graph.constant(0.0), graph.constant(6.0)], name)
        case "hard_tanh":
            return graph.add("Clip", [x, graph.constant(-1.0), graph.constant(1.0)], name)
        case "leaky_relu" if not getattr(layer, "threshold", 0) and getattr(layer, "max_value", None) is None:
            slope = getattr(layer, "negative_slope", 0.2)
            return graph.add("LeakyRelu", [x], name, alpha=float(slope))
        case _:
            remedy = "use relu, relu6, hard_tanh, leaky_relu or a QUnaryFunctionLUT"
            raise refusal(call, f"its function is {function}; {remedy}")

"""ONNX nodes as layers of HGQ2 and Keras, one function for each kind of node."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from weft.errors import UnsupportedError
from weft.onnx.layers import pads_of
from weft.onnx.network import Network, array
from weft.onnx.number import Floats
from weft.onnx.recognise import number_of
from weft.onnx.values import Known, Value, made_of


@dataclass(frozen=True)
class Node:
    """One node.

    Attributes:
        name: Its name, or that of what it gives.
        kind: Its operation.
        inputs: What it reads: tensors, constants, or None where nothing is given.
        attributes: Its attributes by name.
        shape: The shape of what it gives, with a batch axis of 1.
    """

    name: str
    kind: str
    inputs: Sequence[Value | Floats | None]
    attributes: dict[str, Any]
    shape: tuple[int, ...]

    def tensor(self, place: int = 0) -> Value:
        """Return an input that has to be a tensor."""
        found = self.inputs[place]
        if not isinstance(found, Value):
            raise self.refusal(f"its input {place} is a constant, and weft reads a tensor there")
        return found

    def constant(self, place: int) -> Floats:
        """Return an input that has to be a constant."""
        found = self.inputs[place] if place < len(self.inputs) else None
        if not isinstance(found, np.ndarray):
            raise self.refusal(
                f"its input {place} is computed from the network's input, and weft reads a constant there"
            )
        return found

    def refusal(self, reason: str) -> UnsupportedError:
        """Return the error that names the node."""
        return UnsupportedError(f"node '{self.name}' ({self.kind}) cannot be read: {reason}")


Handler = Callable[[Network, Node], Value]


def _quant(network: Network, node: Node) -> Value:
    value = node.tensor()
    scale, zero, bits = (node.constant(place) for place in (1, 2, 3))
    number = number_of(node.name, scale, zero, bits, node.attributes, value.rank)
    return value.then("Quant", number, node.name)


def _bipolar(network: Network, node: Node) -> Value:
    raise node.refusal(
        "it rounds activations to -1 and 1, which no fixed-point format holds alone; use Quant of 2 bits"
    )


_MERGES: dict[str, tuple[str, Callable[[Known, Known], Known]]] = {
    "Add": ("Add", lambda a, b: Known(a.low + b.low, a.high + b.high, min(a.step, b.step))),
    "Sub": ("Subtract", lambda a, b: Known(a.low - b.high, a.high - b.low, min(a.step, b.step))),
    "Mul": ("Multiply", lambda a, b: _product(a, b)),
    "Max": ("Maximum", lambda a, b: Known(max(a.low, b.low), max(a.high, b.high), min(a.step, b.step))),
    "Min": ("Minimum", lambda a, b: Known(min(a.low, b.low), min(a.high, b.high), min(a.step, b.step))),
}


def _product(a: Known, b: Known) -> Known:
    corners = [one * other for one in (a.low, a.high) for other in (b.low, b.high)]
    return Known(min(corners), max(corners), a.step * b.step)


def _arithmetic(network: Network, node: Node) -> Value:
    """Two tensors are a layer; a tensor and a constant are remembered until it is clear what they are part of."""
    tensors = [one for one in node.inputs if isinstance(one, Value)]
    if len(tensors) == 2:
        if tensors[0].rank != tensors[1].rank:
            raise node.refusal("its operands have different numbers of axes")
        kind, known = _MERGES.get(node.kind, (None, None))
        if kind is None or known is None:
            raise node.refusal("it has two tensors as operands")
        return network.merged(kind, tensors, node.name, known)
    value = tensors[0]
    constants = [one for one in node.inputs if isinstance(one, np.ndarray)]
    constant, kind = array(constants[0]) if constants else None, node.kind
    if constant is not None:
        if constant.ndim > value.rank:
            raise node.refusal("its constant has more axes than the tensor")
        constant = constant.reshape((1,) * (value.rank - constant.ndim) + constant.shape)
    if kind == "Sub" and constant is not None:
        if isinstance(node.inputs[0], np.ndarray):
            raise node.refusal("it takes a tensor from a constant; multiply by -1 and add")
        kind, constant = "Add", -constant
    if kind == "Div" and constant is not None:
        kind, constant = "Mul", 1 / constant
    if kind == "Neg":
        kind, constant = "Mul", array(-1.0)
    if kind == "Mod" and not node.attributes.get("fmod"):
        raise node.refusal("it is a remainder of integers")
    return value.then(kind, constant, node.name)


def _matmul(network: Network, node: Node) -> Value:
    value, kernel = node.tensor(), array(node.constant(1))
    if kernel.ndim != 2:
        raise node.refusal(f"its weights have {kernel.ndim} axes, and a dense layer has 2")
    return network.linear("Dense", value, kernel, node.name, units=kernel.shape[1])


def _gemm(network: Network, node: Node) -> Value:
    value, kernel, has = node.tensor(), array(node.constant(1)), node.attributes
    if has.get("transA") or has.get("alpha", 1.0) != 1.0 or has.get("beta", 1.0) != 1.0:
        raise node.refusal("it has transA, or an alpha or beta that is not 1")
    kernel = kernel.T if has.get("transB") else kernel
    made = network.linear("Dense", value, kernel, node.name, units=kernel.shape[1])
    return made if len(node.inputs) < 3 else made.then("Add", array(node.constant(2)).reshape(1, -1), node.name)


def _einsum(network: Network, node: Node) -> Value:
    value, kernel, equation = node.tensor(), array(node.constant(1)), node.attributes["equation"].replace(" ", "")
    shape = (None, *node.shape[1:])
    return network.linear("EinsumDense", value, kernel, node.name, rank=len(shape), equation=equation,
                          output_shape=shape[1:])  # fmt: skip


def _spatial(value: Value) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the order of axes that Keras has channels last in, and the sizes in space."""
    order = (0, *range(2, value.rank), 1)
    shape = value.base.tensor().shape
    return order, tuple(shape[value.axes.index(axis)] for axis in range(2, value.rank))


def _padding(node: Node, sizes: Sequence[int], windows: Sequence[int], strides: Sequence[int]) -> str | list[int]:
    """Return Keras' word for the zeros around a tensor, or how many there are before and behind each axis."""
    how = node.attributes.get("auto_pad", "NOTSET")
    if how in ("SAME_UPPER", "VALID"):
        return {"SAME_UPPER": "same", "VALID": "valid"}[how]
    if how != "NOTSET":
        raise node.refusal(f"it pads by {how}; use explicit pads")
    pads = list(node.attributes.get("pads", [0] * 2 * len(sizes)))
    for word in ("valid", "same"):
        if pads == pads_of(sizes, windows, strides, word):
            return word
    return pads


def _padded(
    network: Network, value: Value, order: Sequence[int], pairs: Sequence[tuple[int, int]], node: Node
) -> Value:
    """Return a tensor with zeros before and behind each axis in space; `order` brings channels to the end."""
    layer = getattr(keras.layers, f"ZeroPadding{len(pairs)}D")
    padding = pairs[0] if len(pairs) == 1 else tuple(pairs)
    return network.plain(lambda name: layer(padding, name=name), value, f"{node.name}_pad",
                         lambda known: Known(min(known.low, 0.0), max(known.high, 0.0), known.step), order)  # fmt: skip


def _pad(network: Network, node: Node) -> Value:
    value, pads = node.tensor(), node.constant(1).reshape(2, -1).T
    filled = len(node.inputs) > 2 and node.inputs[2] is not None and bool(np.any(node.constant(2)))
    has = node.attributes.get("mode", "constant"), filled
    order = next((one for one in ((0, *range(1, value.rank - 1), value.rank - 1), (0, *range(2, value.rank), 1))
                  if not pads[one[-1]].any()), None)  # fmt: skip
    if has != ("constant", False) or order is None or pads[0].any() or not 3 <= value.rank <= 5 or (pads < 0).any():
        raise node.refusal("it adds other things than zeros along axes in space")
    return _padded(network, value, order, [tuple(pads[axis].tolist()) for axis in order[1:-1]], node)


def _conv(network: Network, node: Node) -> Value:
    value, kernel, has = node.tensor(), array(node.constant(1)), node.attributes
    rank = kernel.ndim - 2
    if rank not in (1, 2, 3):
        raise node.refusal(f"it has {rank} axes in space, and there are layers for 1, 2 and 3")
    taps, strides = kernel.shape[2:], tuple(has.get("strides", [1] * rank))
    rates = tuple(has.get("dilations", [1] * rank))
    order, sizes = _spatial(value)
    windows = [(size - 1) * rate + 1 for size, rate in zip(taps, rates, strict=True)]
    padding = _padding(node, sizes, windows, strides)
    if not isinstance(padding, str):
        value, padding = (
            _padded(network, value, order, [*zip(padding[:rank], padding[rank:], strict=True)], node),
            "valid",
        )
    made = network.linear(
        f"Conv{rank}D", value, np.moveaxis(kernel, (0, 1), (-1, -2)), node.name, order, filters=kernel.shape[0],
        kernel_size=taps, strides=strides, padding=padding, dilation_rate=rates, groups=has.get("group", 1),
        data_format="channels_last",
    )  # fmt: skip
    if len(node.inputs) < 3 or node.inputs[2] is None:
        return made
    return made.then("Add", array(node.constant(2)).reshape(1, -1, *[1] * rank), node.name)


def _pool(network: Network, node: Node) -> Value:
    value, has = node.tensor(), node.attributes
    order, sizes = _spatial(value)
    averages, rank = "Average" in node.kind, len(sizes)
    kind = f"{'Average' if averages else 'Max'}Pooling{rank}D"
    if node.kind.startswith("Global"):
        count = math.prod(sizes)
        settings: dict[str, Any] = {"keepdims": True}
        kind = f"Global{kind}"
    else:
        window, strides = tuple(has["kernel_shape"]), tuple(has.get("strides", [1] * rank))
        padding = _padding(node, sizes, window, strides)
        if has.get("ceil_mode") or any(rate != 1 for rate in has.get("dilations", [1])):
            raise node.refusal("it has ceil_mode or dilations, and Keras' layers have not")
        if not isinstance(padding, str) or (averages and padding != "valid"):
            raise node.refusal(f"its pads {padding} are none that Keras' layers have; pad before it")
        count = math.prod(window)
        settings = {"pool_size": window, "strides": strides, "padding": padding}
    if averages and count & (count - 1):
        raise node.refusal(f"it averages over {count} values, which float32 rounds; take a power of two")
    share = 1 / count if averages else 1.0
    return network.layer(kind, value, node.name, lambda known: known._replace(step=known.step * share), order,
                         data_format="channels_last", **settings)  # fmt: skip


def _function(function: str, known: Callable[[Known], Known | None]) -> Handler:
    def handler(network: Network, node: Node) -> Value:
        value = node.tensor()
        return network.plain(lambda name: keras.layers.Activation(function, name=name), value, node.name, known,
                             value.axes)  # fmt: skip

    return handler


def _within(low: float, high: float) -> Callable[[Known], Known]:
    return lambda known: Known(min(max(known.low, low), high), max(min(known.high, high), low), min(known.step, 1.0))


def _clip(network: Network, node: Node) -> Value:
    ends = float(node.constant(1).ravel()[0]), float(node.constant(2).ravel()[0])
    functions = {(0.0, 6.0): "relu6", (-1.0, 1.0): "hard_tanh"}
    if ends not in functions:
        raise node.refusal(f"it bounds values by {ends[0]:g} and {ends[1]:g}; weft reads 0 and 6, or -1 and 1")
    return _function(functions[ends], _within(*ends))(network, node)


def _leaky(network: Network, node: Node) -> Value:
    value, slope = node.tensor(), float(node.attributes.get("alpha", 0.01))
    return network.plain(lambda name: keras.layers.LeakyReLU(slope, name=name), value, node.name, lambda _: None,
                         value.axes)  # fmt: skip


def _transpose(network: Network, node: Node) -> Value:
    value = node.tensor()
    order = tuple(node.attributes.get("perm", range(value.rank)[::-1]))
    if order[0] != 0:
        raise node.refusal("it moves the batch axis; keep it the first")
    return value.transposed(order)


def _reshape(network: Network, node: Node) -> Value:
    value = node.tensor()
    shape = tuple(value.base.tensor().shape)
    if node.shape[0] != 1 or math.prod(node.shape[1:]) != math.prod(shape[1:]):
        raise node.refusal(f"it gives the shape {node.shape}, which mixes rows of the batch; keep the first axis")
    if len(node.shape) == value.rank and value.axes == tuple(range(value.rank)) and node.shape[1:] == shape[1:]:
        return value
    raw = value.base.raw and not value.todo
    tensor, known = network.settled(value, node.name)
    made = keras.layers.Reshape(node.shape[1:], name=network.name(node.name))(tensor)
    return made_of(made, known, raw=raw)


def _concat(network: Network, node: Node) -> Value:
    values = [node.tensor(place) for place in range(len(node.inputs))]
    axis = node.attributes["axis"] % values[0].rank
    if axis == 0:
        raise node.refusal("it joins batches; join another axis")
    read = [network.settled(one, node.name) for one in values]
    known = [one for _, one in read if one is not None]
    total = None
    if len(known) == len(read):
        total = Known(min(o.low for o in known), max(o.high for o in known), min(o.step for o in known))
    layer = keras.layers.Concatenate(axis=axis, name=network.name(node.name))
    raw = all(one.base.raw and not one.todo for one in values)
    return made_of(layer([tensor for tensor, _ in read]), total, raw=raw)


def _sum(network: Network, node: Node) -> Value:
    value, has = node.tensor(), node.attributes
    axes = has["axes"] if "axes" in has else array(node.constant(1)).astype(int).tolist()
    axes = tuple(axis % value.rank for axis in axes)
    shape = value.base.tensor().shape
    count = math.prod(shape[value.axes.index(axis)] for axis in axes)
    made = network.layer("Sum", value, node.name, lambda one: Known(one.low * count, one.high * count, one.step),
                         tuple(range(value.rank)), axes=axes, keepdims=bool(has.get("keepdims", 1)))  # fmt: skip
    return made_of(made.base.tensor(), made.base.known)


def _gather(network: Network, node: Node) -> Value:
    value, places = node.tensor(), node.constant(1)
    if node.attributes.get("axis", 0) != 1 or places.ndim != 1 or value.rank != 2:
        raise node.refusal("weft reads it along axis 1 of a tensor of two axes, with a list of places")
    tensor, known = network.settled(value, node.name)
    return made_of(keras.ops.take(tensor, places.astype("int32"), axis=1), known)


def _identity(network: Network, node: Node) -> Value:
    return node.tensor()


HANDLERS: dict[str, Handler] = {
    "Quant": _quant,
    "IntQuant": _quant,
    "BipolarQuant": _bipolar,
    **dict.fromkeys(("Add", "Sub", "Mul", "Div", "Neg", "Max", "Min", "Mod", "Floor", "Ceil", "Round"), _arithmetic),
    "MatMul": _matmul,
    "Gemm": _gemm,
    "Einsum": _einsum,
    "Conv": _conv,
    **dict.fromkeys(("MaxPool", "AveragePool", "GlobalMaxPool", "GlobalAveragePool"), _pool),
    "Relu": _function("relu", lambda known: Known(max(known.low, 0.0), max(known.high, 0.0), known.step)),
    "LeakyRelu": _leaky,
    "Clip": _clip,
    "Transpose": _transpose,
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze"), _reshape),
    "Concat": _concat,
    "Pad": _pad,
    "Gather": _gather,
    "ReduceSum": _sum,
    **dict.fromkeys(("Identity", "Dropout"), _identity),
}
"""What reads the nodes of each kind."""

REMEDIES = {
    "BatchNormalization": "fold it into the layer before it, and quantise that (Brevitas: merge_bn)",
    "Softmax": "cut it off: it does not change the class",
    "Trunc": "use Quant, which rounds to given bits too",
}

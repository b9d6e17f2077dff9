"""Follow zeros through a finalised model: what nothing feeds or nobody reads costs nothing.

A value that is always 0 (all weights and the bias of its neuron are) needs no weight that reads it, and the neuron
behind a value that nobody reads needs none at all. Both are followed through everything that maps 0 to 0 and knows
which of its values come from where; other operations are taken to read and to give everything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import keras
import numpy as np
from hgq.quantizer import Quantizer
from keras.src.layers.convolutional.base_conv import BaseConv

from weft._interpreter import interpreted
from weft.quantize.contraction import Einsum
from weft.quantize.counterparts._base import array
from weft.quantize.formats import bias_of, kernel_of, passes
from weft.quantize.graph import Call, flow, graph_of
from weft.quantize.operations import PIECEWISE, function_of, is_pure, is_quantized, kind_of, name_of

_LARGEST = 2**24
"""Where a value comes from is found by sending its number through; float32 counts so far."""


def remove_dead(model: keras.Model) -> int:
    """Set to 0 the weights and biases of a finalised model that no output depends on; outputs stay exactly equal.

    Args:
        model: A model of HGQ2 layers that is no longer trained; its weights are changed in place.

    Returns:
        How many weights and biases were set to 0.

    Raises:
        UnsupportedError: The model's graph is not known.
    """
    kernels: dict[int, _Linear] = {}
    _follow(model, kernels)
    return sum(linear.clean() for linear in kernels.values())


@dataclass(frozen=True)
class Followed:
    """One call of one layer, and what is known of the values that it reads and makes; shapes without the batch axis.

    Attributes:
        call: The call.
        alive: Where each tensor that it reads may differ from 0.
        read: Where each tensor that it makes is read by somebody.
        kernel: The kernel of a dense layer or convolution, as it multiplies; None for other layers.
    """

    call: Call
    alive: list[np.ndarray]
    read: list[np.ndarray]
    kernel: np.ndarray | None


def follow(model: keras.Model) -> list[Followed]:
    """Return the calls of a model in order, nested ones too, with the zeros that go through it; it is not changed.

    Raises:
        UnsupportedError: The model's graph is not known.
    """
    return [
        Followed(
            link.call,
            [value.alive for value in inputs],
            [value.read for value in outputs],
            link.linear.values if isinstance(link, _Multiplies) else None,
        )
        for link, inputs, outputs in _follow(model, {})
    ]


def _follow(model: keras.Model, kernels: dict[int, _Linear]) -> list[tuple[_Link, list[_Value], list[_Value]]]:
    graph = graph_of(model)
    tape: list[tuple[_Link, list[_Value], list[_Value]]] = []

    def visit(call: Call, inputs: list[_Value]) -> list[_Value]:
        link = _link(call, kernels)
        alive = link.forward([value.alive for value in inputs])
        outputs = [_Value(one) for one in alive]
        tape.append((link, inputs, outputs))
        return outputs

    ends = flow(model, [_Value(np.ones(tensor.shape[1:], bool)) for tensor in graph.inputs], visit)
    for value in ends:
        value.read[...] = True
    for link, inputs, outputs in reversed(tape):
        for value, read in zip(
            inputs, link.backward([v.alive for v in inputs], [v.read for v in outputs]), strict=True
        ):
            value.read |= read
    return tape


@dataclass
class _Value:
    """A tensor without its batch axis: where it may differ from 0, and where somebody reads it."""

    alive: np.ndarray
    read: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.read = np.zeros(self.alive.shape, bool)


class _Link:
    """How the values of one call depend on each other. This knows nothing: all is read, all may differ from 0."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.shapes = [tuple(tensor.shape[1:]) for tensor in call.outputs]

    def forward(self, alive: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return where each output may differ from 0."""
        return [np.ones(shape, bool) for shape in self.shapes]

    def backward(self, alive: Sequence[np.ndarray], read: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return where each input is read, given where it is alive and where each output is read."""
        return [np.ones(one.shape, bool) for one in alive]


class _Moves(_Link):
    """Values are moved: each output is one of the inputs, or 0."""

    def __init__(self, call: Call) -> None:
        super().__init__(call)
        sizes = [prod(tensor.shape[1:]) for tensor in call.inputs]
        starts = np.cumsum([0, *sizes])
        numbers = {
            id(tensor): np.arange(1, size + 1, dtype=np.float32).reshape(1, *tensor.shape[1:]) + start
            for tensor, size, start in zip(call.inputs, sizes, starts, strict=False)
        }
        self._starts = starts[1:-1]
        self._sources = [
            array(one).astype(np.int64).reshape(shape)
            for one, shape in zip(_run(call, numbers), self.shapes, strict=True)
        ]

    def forward(self, alive: Sequence[np.ndarray]) -> list[np.ndarray]:
        known = np.concatenate([np.zeros(1, bool), *(one.ravel() for one in alive)])
        return [known[source] for source in self._sources]

    def backward(self, alive: Sequence[np.ndarray], read: Sequence[np.ndarray]) -> list[np.ndarray]:
        known = np.zeros(1 + sum(one.size for one in alive), bool)
        for source, one in zip(self._sources, read, strict=True):
            known[source[one]] = True
        return [part.reshape(one.shape) for part, one in zip(np.split(known[1:], self._starts), alive, strict=True)]


class _Joins(_Link):
    """Values at the same place are joined: a sum or choice of zeros is 0, and a product with one."""

    def forward(self, alive: Sequence[np.ndarray]) -> list[np.ndarray]:
        join = np.logical_and if name_of(self.call.operation) == "Multiply" else np.logical_or
        made = join.reduce(np.broadcast_arrays(*self._passed(alive)))
        return [np.broadcast_to(made, self.shapes[0]).copy()]

    def backward(self, alive: Sequence[np.ndarray], read: Sequence[np.ndarray]) -> list[np.ndarray]:
        passed, found = self._passed(alive), []
        for i, one in enumerate(passed):
            mine = read[0]
            if name_of(self.call.operation) == "Multiply":
                mine = np.logical_and.reduce(np.broadcast_arrays(mine, *passed[:i], *passed[i + 1 :]))
            found.append(_summed(mine, one.shape) & _passes_all(self.call.operation, i, one.shape))
        return found

    def _passed(self, alive: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [one & _passes_all(self.call.operation, i, one.shape) for i, one in enumerate(alive)]


class _Applies(_Link):
    """One function for each value; where it maps 0 to 0, what is 0 stays so."""

    def __init__(self, call: Call) -> None:
        super().__init__(call)
        zeros = {id(tensor): np.zeros((1, *tensor.shape[1:]), np.float32) for tensor in call.inputs}
        self._makes = array(_run(call, zeros)[0])[0] != 0

    def forward(self, alive: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [alive[0] | self._makes]

    def backward(self, alive: Sequence[np.ndarray], read: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [read[0]]


class _Pools(_Link):
    """Windows of one channel; followed by channels."""

    def __init__(self, call: Call) -> None:
        super().__init__(call)
        self._axis = 0 if call.operation.data_format == "channels_first" else -1

    def forward(self, alive: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [_spread(_channels(alive[0], self._axis), self.shapes[0], self._axis)]

    def backward(self, alive: Sequence[np.ndarray], read: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [_spread(_channels(read[0], self._axis), alive[0].shape, self._axis)]


class _Linear:
    """The weights of one layer in all of its calls: which of them are used."""

    def __init__(self, layer: Any) -> None:
        self.layer = layer
        self.values, self.bias = kernel_of(layer), bias_of(layer)
        self.kernel = self.values != 0
        self.used = np.zeros(self.kernel.shape, bool)
        self.bias_used = None if self.bias is None else np.zeros(self.bias.shape, bool)

    def clean(self) -> int:
        """Set to 0 what no call uses, and return how many numbers that are."""
        layer, kernel = self.layer, array(self.layer._kernel)
        dead = ~self.used & (kernel != 0)
        kernel[dead] = 0
        layer._kernel.assign(kernel)
        n = int(dead.sum())
        if self.bias_used is not None:
            bias = array(layer.bias)
            gone = ~self.bias_used
            if hasattr(layer, "moving_mean"):  # a fused normalisation: the offset is the bias less the scaled mean
                mean = array(layer.moving_mean)
                if mean.size != bias.size:
                    return n
                mean[gone.reshape(mean.shape)] = 0
                layer.moving_mean.assign(mean)
            n += int((gone & (self.bias != 0)).sum())
            bias[gone] = 0
            layer.bias.assign(bias)
        return n


class _Multiplies(_Link):
    """A layer with weights: which input reaches which output through which of them."""

    def __init__(self, call: Call, linear: _Linear) -> None:
        super().__init__(call)
        self.linear, self.layer = linear, call.operation
        self._passed: np.ndarray | None = None
        self._turns_zero = function_of(self.layer) not in (*PIECEWISE, "tanh")

    def forward(self, alive: Sequence[np.ndarray]) -> list[np.ndarray]:
        made = self._reach(alive[0] & self._passes(alive[0].shape), self.linear.kernel)
        if self.linear.bias is not None:
            made |= self._of_bias(self.linear.bias != 0)
        return [made | self._turns_zero]

    def backward(self, alive: Sequence[np.ndarray], read: Sequence[np.ndarray]) -> list[np.ndarray]:
        passed = alive[0] & self._passes(alive[0].shape)
        used = self._use(passed, read[0]) & self.linear.kernel
        self.linear.used |= used
        if self.linear.bias_used is not None:
            self.linear.bias_used |= self._to_bias(read[0], self.linear.bias_used.shape)
        return [self._trace(read[0], used) & passed]

    def _passes(self, shape: tuple[int, ...]) -> np.ndarray:
        if self._passed is None:
            self._passed = _passes_all(self.layer, 0, shape)
        return self._passed

    def _reach(self, alive: np.ndarray, kernel: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def _use(self, alive: np.ndarray, read: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def _trace(self, read: np.ndarray, kernel: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def _of_bias(self, bias: np.ndarray) -> np.ndarray:
        return np.broadcast_to(bias, self.shapes[0])

    def _to_bias(self, read: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        return _summed(read, shape)


class _Einsum(_Multiplies):
    """A dense layer, or one that is given by an einsum."""

    def __init__(self, call: Call, linear: _Linear) -> None:
        super().__init__(call, linear)
        equation = getattr(call.operation, "equation", "...a,ab->...b")
        self._form = Einsum.of(equation, call.inputs[0].shape, linear.kernel.shape)

    def _reach(self, alive: np.ndarray, kernel: np.ndarray) -> np.ndarray:
        return np.asarray(self._form.forward(alive, kernel) > 0)

    def _use(self, alive: np.ndarray, read: np.ndarray) -> np.ndarray:
        return np.asarray(self._form.weigh(alive, read) > 0)

    def _trace(self, read: np.ndarray, kernel: np.ndarray) -> np.ndarray:
        return np.asarray(self._form.back(kernel, read) > 0)


class _Convolution(_Multiplies):
    """A convolution, followed by channels; each of its groups reads channels of its own."""

    def __init__(self, call: Call, linear: _Linear) -> None:
        super().__init__(call, linear)
        self._axis = 0 if self.layer.data_format == "channels_first" else -1
        self._groups = self.layer.groups

    def _reach(self, alive: np.ndarray, kernel: np.ndarray) -> np.ndarray:
        made = _einsum("gc,cgo->go", self._grouped(alive), self._matrix(kernel)).ravel()
        return _spread(made, self.shapes[0], self._axis)

    def _use(self, alive: np.ndarray, read: np.ndarray) -> np.ndarray:
        used = _einsum("gc,go->cgo", self._grouped(alive), self._grouped(read))
        return np.broadcast_to(used.reshape(self.linear.kernel.shape[-2:]), self.linear.kernel.shape)

    def _trace(self, read: np.ndarray, kernel: np.ndarray) -> np.ndarray:
        found = _einsum("go,cgo->gc", self._grouped(read), self._matrix(kernel)).ravel()
        return _spread(found, tuple(self.call.inputs[0].shape[1:]), self._axis)

    def _of_bias(self, bias: np.ndarray) -> np.ndarray:
        return _spread(bias, self.shapes[0], self._axis)

    def _to_bias(self, read: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        return _channels(read, self._axis)

    def _grouped(self, values: np.ndarray) -> np.ndarray:
        return _channels(values, self._axis).reshape(self._groups, -1)

    def _matrix(self, kernel: np.ndarray) -> np.ndarray:
        joined = kernel.reshape(-1, *kernel.shape[-2:]).any(axis=0)
        return joined.reshape(kernel.shape[-2], self._groups, -1)


class _Scales(_Link):
    """A batch normalisation of its own: a scale and an offset for each channel."""

    def __init__(self, call: Call) -> None:
        super().__init__(call)
        layer = call.operation
        scale, offset = (array(one) != 0 for one in layer.qscaler_and_qoffset)
        shape = [1] * len(self.shapes[0])
        shape[layer.axis - 1 if layer.axis > 0 else layer.axis] = -1
        self._scale, self._offset = scale.reshape(shape), offset.reshape(shape)

    def forward(self, alive: Sequence[np.ndarray]) -> list[np.ndarray]:
        passed = alive[0] & _passes_all(self.call.operation, 0, alive[0].shape)
        return [(passed & self._scale) | self._offset]

    def backward(self, alive: Sequence[np.ndarray], read: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [read[0] & self._scale & _passes_all(self.call.operation, 0, alive[0].shape)]


def _link(call: Call, kernels: dict[int, _Linear]) -> _Link:
    operation, kind = call.operation, kind_of(call.operation)
    n_tensors = len(call.inputs)
    if kind == "moves" and sum(prod(tensor.shape[1:]) for tensor in call.inputs) < _LARGEST:
        return _Moves(call)
    if name_of(operation) in ("Add", "Subtract", "Average", "AveragePow2", "Multiply", "Maximum", "Minimum"):
        ranks = {len(tensor.shape) for tensor in (*call.inputs, *call.outputs)}
        return _Joins(call) if n_tensors > 1 and len(ranks) == 1 else _Link(call)
    if "Pooling" in name_of(operation):
        return _Pools(call)
    if kind == "linear" and is_quantized(operation):
        if name_of(operation) == "BatchNormalization":
            return _Scales(call)
        link = _Convolution if isinstance(operation, BaseConv) else _Einsum
        if link is _Convolution or isinstance(operation, keras.layers.Dense | keras.layers.EinsumDense):
            return link(call, kernels.setdefault(id(operation), _Linear(operation)))
    if (kind in ("selects", "function", "quantizer") or name_of(operation) == "Rescaling") and _is_elementwise(call):
        return _Applies(call)
    return _Link(call)


def _is_elementwise(call: Call) -> bool:
    known = ("softmax", "log_softmax", "sort")
    shapes = {tuple(tensor.shape) for tensor in (*call.inputs, *call.outputs)}
    return len(call.inputs) == len(shapes) == 1 and function_of(call.operation) not in known


def _run(call: Call, values: dict[int, np.ndarray]) -> list[Any]:
    """Call the operation with arrays in the place of its tensors, and return what it makes."""

    def operation(arrays: list[Any]) -> list[Any]:
        args, kwargs = call.node.arguments.fill_in(dict(zip(values, arrays, strict=True)))
        kwargs = {name: value for name, value in kwargs.items() if value is not None and name != "training"}
        return keras.tree.flatten(call.operation(*args, **kwargs))

    return interpreted(operation, list(values.values()))


def _passes_all(layer: Any, i: int, shape: tuple[int, ...]) -> np.ndarray:
    """Return which values of a layer's i-th input its quantiser lets through: those with at least one bit."""
    if is_pure(layer) or not getattr(layer, "enable_iq", False):
        return np.ones(shape, bool)
    quantizer = layer.iq if isinstance(layer.iq, Quantizer) else layer.iq[i]
    return passes(quantizer, (1, *shape))[0]


def _einsum(equation: str, *arrays: np.ndarray) -> np.ndarray:
    return np.einsum(equation, *(one.astype(np.float64) for one in arrays)) > 0


def _channels(values: np.ndarray, axis: int) -> np.ndarray:
    """Return which channels hold a true value."""
    return np.asarray(np.moveaxis(values, axis, -1).reshape(-1, values.shape[axis]).any(axis=0))


def _spread(channels: np.ndarray, shape: tuple[int, ...], axis: int) -> np.ndarray:
    """Return an array of `shape` whose values are those of their channel."""
    sizes = [1] * len(shape)
    sizes[axis] = -1
    return np.broadcast_to(channels.reshape(sizes), shape).copy()


def _summed(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return where any of the values is true that come from one place of an array of `shape` by broadcasting."""
    values = np.asarray(values.reshape(-1, *values.shape[values.ndim - len(shape) :]).any(axis=0))
    axes = tuple(axis for axis, size in enumerate(shape) if size == 1)
    return np.asarray(values.any(axis=axes, keepdims=True)) if axes else values

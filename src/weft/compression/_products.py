"""The kernels of a float Keras model, and in how many products each of their weights takes part.

The inputs of kernels are seen in one forward pass, so branches, shared layers, nested models and the layers inside an
attention layer need no rules of their own. A product with the zeros that pad a convolution is none; products of two
activations, as in attention, have no kernel and are not counted here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from weft.errors import UnsupportedError
from weft.types import Tensor

if TYPE_CHECKING:
    import keras

Shape = tuple[int, ...]


@dataclass(frozen=True)
class FloatKernel:
    """One kernel, and the inputs that it is multiplied with.

    Attributes:
        name: The names of the models and layers around its layer and of the layer, joined by `/`.
        unit: The same for the layer as the model's graph knows it, for instance the attention layer that holds it.
        layer: The layer that multiplies with it.
        variable: The kernel's variable.
        output_axes: The axes of the kernel that number the outputs; the others number what an output reads.
        shapes: Shape of the input without its batch axis, once for each call in a forward pass.
    """

    name: str
    unit: str
    layer: keras.Layer
    variable: keras.Variable
    output_axes: tuple[int, ...]
    shapes: tuple[Shape, ...]

    @property
    def shape(self) -> Shape:
        """Shape of the kernel."""
        return tuple(int(size) for size in self.variable.shape)

    @cached_property
    def positions(self) -> int:
        """How often the whole kernel is applied in one inference, padding counted as if it were data."""
        return sum(_positions(self.layer, shape) for shape in self.shapes)

    @cached_property
    def products(self) -> np.ndarray:
        """How many products with an input each weight takes part in in one inference, shape of the kernel."""
        return np.asarray(sum(_products(self.layer, shape, self.shape) for shape in self.shapes))


def float_kernels(
    model: keras.Model, inputs: Any, only: Sequence[str] = ("*",), skip: Sequence[str] = ()
) -> list[FloatKernel]:
    """Return the kernels of a model that patterns choose, in the order of a forward pass.

    Args:
        model: A built Sequential or functional model, not quantised.
        inputs: One batch of inputs, of any size.
        only: Units to take kernels from, by name, place or pattern.
        skip: Units to leave out, by name, place or pattern.

    Warns:
        NoEffectWarning: A pattern matches no unit with a kernel.

    Raises:
        UnsupportedError: The products of a chosen unit are not known, or the model has no graph.
    """
    from weft.quantize.graph import walk
    from weft.quantize.selection import matches, warn_of_unmatched

    found: dict[int, Callable[[tuple[Shape, ...]], FloatKernel]] = {}
    units = {call.place: call for call in walk(model) if any(map(_has_kernel, _inside(call.operation)))}
    for patterns, what in ((only, "only"), (skip, "skip")):
        warn_of_unmatched(patterns, units, what, stacklevel=3)
    for call in units.values():
        chosen, left_out = (any(matches(p, call.place) for p in patterns) for patterns in (only, skip))
        if chosen and not left_out:
            for layer in _layers(call.operation):
                name = call.place + layer.path.removeprefix(call.operation.path)
                kernel = next(v for v in layer._trainable_variables if v.path.endswith("kernel"))
                found[id(layer)] = partial(FloatKernel, name, call.place, layer, kernel, _output_axes(layer))
    shapes: dict[int, list[Shape]] = {}

    def note(layer: keras.Layer, inputs: Tensor) -> Tensor:
        shapes.setdefault(id(layer), []).append(tuple(int(size) for size in inputs.shape[1:]))
        return inputs

    with tapped([make.args[2] for make in found.values()], note):
        _shapes_through(model, inputs)
    return [found[number](tuple(calls)) for number, calls in shapes.items()]


@contextmanager
def tapped(layers: Sequence[keras.Layer], change: Callable[[keras.Layer, Tensor], Tensor]) -> Iterator[None]:
    """Let layers read `change(layer, inputs)` in place of their inputs as long as the context lasts."""
    before = {id(layer): layer.__dict__.get("call") for layer in layers}

    def tap(layer: keras.Layer, call: Callable[..., Tensor]) -> Callable[..., Tensor]:
        return lambda inputs, *args, **kwargs: call(change(layer, inputs), *args, **kwargs)

    for layer in layers:  # past the setters of Keras and torch, which would take the function for a part of the layer
        object.__setattr__(layer, "call", tap(layer, layer.call))
    try:
        yield
    finally:
        for layer in layers:
            object.__delattr__(layer, "call")
            if before[id(layer)] is not None:
                object.__setattr__(layer, "call", before[id(layer)])


def _shapes_through(model: keras.Model, inputs: Any) -> None:
    """Call a model for the shapes that appear in it; JAX needs no values for that."""
    import keras

    if keras.backend.backend() != "jax":
        model(inputs, training=False)
        return
    import jax

    jax.eval_shape(partial(model, training=False), inputs)


def _inside(operation: Any) -> list[keras.Layer]:
    import keras

    return operation._flatten_layers() if isinstance(operation, keras.Layer) else []


def _has_kernel(layer: keras.Layer) -> bool:
    return any(variable.path.endswith("kernel") for variable in layer._trainable_variables)


def _layers(operation: Any) -> list[keras.Layer]:
    """Return the layers with kernels of one operation of a graph: itself, or those of an attention layer."""
    import keras

    layers = [layer for layer in _inside(operation) if _has_kernel(layer)]
    known = operation in layers or isinstance(operation, keras.layers.MultiHeadAttention)
    if not (known and all(map(_kind, layers))):
        raise UnsupportedError(
            f"the products of layer '{operation.name}' ({type(operation).__name__}) are not known: weft counts those "
            "of float Dense, EinsumDense, Conv1D to Conv3D, DepthwiseConv1D and 2D and MultiHeadAttention layers; "
            f"write the model with these, or leave the layer out with skip: ['{operation.name}']"
        )
    return layers


def _kind(layer: keras.Layer) -> str | None:
    """Return `dense`, `einsum`, `conv` or `depthwise`, or None for what is not counted."""
    from keras import layers as kl
    from keras.src.layers.convolutional.base_conv import BaseConv
    from keras.src.layers.convolutional.base_depthwise_conv import BaseDepthwiseConv

    if hasattr(layer, "kq"):  # HGQ2's layers derive from those of Keras
        return None
    kinds = {kl.Dense: "dense", kl.EinsumDense: "einsum", BaseConv: "conv", BaseDepthwiseConv: "depthwise"}
    return next((kind for known, kind in kinds.items() if isinstance(layer, known)), None)


def _output_axes(layer: keras.Layer) -> tuple[int, ...]:
    kind = _kind(layer)
    if kind == "einsum":
        _, kernel, output = einsum_labels(layer.equation)
        return tuple(axis for axis, label in enumerate(kernel) if label in output)
    return (-2, -1) if kind == "depthwise" else (-1,)


def einsum_labels(equation: str) -> tuple[str, str, str]:
    """Return the labels of input, kernel and output, with `...` where the equation has it."""
    inputs, output = equation.replace(" ", "").split("->")
    data, kernel = inputs.split(",")
    return data, kernel, output


def _positions(layer: keras.Layer, shape: Shape) -> int:
    kind = _kind(layer)
    if kind == "dense":
        return math.prod(shape[:-1])
    if kind == "einsum":
        return _einsum_positions(layer.equation, shape)
    return math.prod(window.n_out for window in _windows(layer, shape))


def _products(layer: keras.Layer, shape: Shape, kernel: Shape) -> np.ndarray:
    if _kind(layer) in ("dense", "einsum"):
        return np.full(kernel, _positions(layer, shape), dtype=np.int64)
    result = np.ones((), dtype=np.int64)
    for window in _windows(layer, shape):
        result = np.multiply.outer(result, window.products())
    return np.broadcast_to(result[..., None, None], kernel)


def _einsum_positions(equation: str, shape: Shape) -> int:
    data, kernel, _ = einsum_labels(equation)
    sizes: Sequence[int] = (1, *shape)
    before, dots, after = data.partition("...")
    labelled = dict(zip(before, sizes, strict=False)) | dict(zip(reversed(after), reversed(sizes), strict=False))
    hidden = sizes[len(before) : len(sizes) - len(after)] if dots else ()
    return math.prod(hidden) * math.prod(size for label, size in labelled.items() if label not in kernel)


@dataclass(frozen=True)
class _Window:
    """A convolution along one axis."""

    n_in: int
    taps: int
    stride: int
    dilation: int
    padding: str

    @property
    def n_out(self) -> int:
        span = (self.taps - 1) * self.dilation
        room = self.n_in - span if self.padding == "valid" else self.n_in
        return max(0, -(-room // self.stride))

    def products(self) -> np.ndarray:
        """Return how many outputs read data, not padding, through each tap; (taps,)."""
        span = (self.taps - 1) * self.dilation
        around = max(0, (self.n_out - 1) * self.stride + span + 1 - self.n_in)
        before = {"valid": 0, "same": around // 2, "causal": span}[self.padding]
        read = np.arange(self.n_out)[None, :] * self.stride + np.arange(self.taps)[:, None] * self.dilation - before
        return ((read >= 0) & (read < self.n_in)).sum(axis=1)


def _windows(layer: Any, shape: Shape) -> list[_Window]:
    space = shape[:-1] if layer.data_format == "channels_last" else shape[1:]
    each = zip(space, layer.kernel_size, layer.strides, layer.dilation_rate, strict=True)
    return [_Window(*sizes, layer.padding) for sizes in each]

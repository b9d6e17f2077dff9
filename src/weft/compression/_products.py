"""The kernels of a float Keras model, and in how many products each of their weights takes part.

What kernels read is seen in one forward pass (`_taps`), so branches, shared layers, nested models, steps in time and
the layers inside an attention layer need no rules of their own. A product with the zeros that pad a convolution is
none; products of two activations, as in attention, have no kernel and are not counted here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from weft.compression._taps import tapped
from weft.errors import UnsupportedError
from weft.quantize.contraction import Einsum, Form, convolution_of
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
        kind: How it is multiplied: `dense`, `einsum`, `conv`, `depthwise`, or `point` for each point of a window.
        read: Which of the values that the layer multiplies with kernels this one reads, as `_taps` numbers them.
        shapes: Shape of the input without its batch axis, once for each call in a forward pass.
    """

    name: str
    unit: str
    layer: keras.Layer
    variable: keras.Variable
    kind: str
    read: int
    shapes: tuple[Shape, ...]

    @property
    def shape(self) -> Shape:
        """Shape of the kernel."""
        return tuple(int(size) for size in self.variable.shape)

    @property
    def output_axes(self) -> tuple[int, ...]:
        """The axes of the kernel that number the outputs; the others number what an output reads."""
        if self.kind == "einsum":
            _, kernel, output = einsum_labels(self.layer.equation)
            return tuple(axis for axis, label in enumerate(kernel) if label in output)
        return (-2, -1) if self.kind == "depthwise" else (-1,)

    @cached_property
    def positions(self) -> int:
        """How often the whole kernel is applied in one inference, padding counted as if it were data."""
        return sum(_form(self, shape).positions for shape in self.shapes)

    @cached_property
    def products(self) -> np.ndarray:
        """How many products with an input each weight takes part in in one inference, shape of the kernel."""
        return np.asarray(sum(_products(self, shape) for shape in self.shapes))


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

    found: dict[tuple[int, int], partial[FloatKernel]] = {}
    units = {call.place: call for call in walk(model) if any(map(_has_kernel, _inside(call.operation)))}
    for patterns, what in ((only, "only"), (skip, "skip")):
        warn_of_unmatched(patterns, units, what, stacklevel=3)
    for call in units.values():
        chosen, left_out = (any(matches(p, call.place) for p in patterns) for patterns in (only, skip))
        if chosen and not left_out:
            for layer in _layers(call.operation):
                name = call.place + layer.path.removeprefix(call.operation.path)
                for read, (kernel, kind, suffix) in enumerate(_kernels(layer)):
                    make = partial(FloatKernel, name + suffix, call.place, layer, kernel, kind, read)
                    found[id(layer), read] = make
    shapes: dict[tuple[int, int], list[Shape]] = {}

    def note(layer: keras.Layer, read: int, inputs: Tensor) -> Tensor:
        shapes.setdefault((id(layer), read), []).append(tuple(int(size) for size in inputs.shape[1:]))
        return inputs

    with tapped([make.args[2] for make in found.values()], note):
        _shapes_through(model, inputs)
    return [found[place](tuple(calls)) for place, calls in shapes.items()]


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

    if isinstance(operation, keras.layers.MultiHeadAttention):
        layers = [layer for layer in _inside(operation) if _has_kernel(layer)]
    else:
        layers = [operation]
    if not all(map(_kernels, layers)):
        raise UnsupportedError(
            f"the products of layer '{operation.name}' ({type(operation).__name__}) are not known: weft counts those "
            "of float Dense, EinsumDense, Conv1D to Conv3D, DepthwiseConv and SeparableConv 1D and 2D, SimpleRNN, GRU "
            f"and MultiHeadAttention layers; write the model with these, or leave the layer out with skip: "
            f"['{operation.name}']"
        )
    return layers


def _kernels(layer: Any) -> list[tuple[keras.Variable, str, str]]:
    """Return each kernel of a layer, how it is multiplied, and what its name has more than the layer's."""
    from keras import layers as kl
    from keras.src.layers.convolutional.base_conv import BaseConv
    from keras.src.layers.convolutional.base_depthwise_conv import BaseDepthwiseConv
    from keras.src.layers.convolutional.base_separable_conv import BaseSeparableConv

    if any(hasattr(one, "kq") for one in layer._flatten_layers()):  # HGQ2's layers derive from those of Keras
        return []
    if isinstance(layer, BaseSeparableConv):
        return [(layer.depthwise_kernel, "depthwise", "_depthwise"), (layer.pointwise_kernel, "point", "")]
    if isinstance(layer, kl.SimpleRNN | kl.GRU):
        cell = layer.cell
        return [
            (cell.kernel, "dense", f"/{cell.name}/kernel"),
            (cell.recurrent_kernel, "dense", f"/{cell.name}/recurrent_kernel"),
        ]
    kinds = {kl.Dense: "dense", kl.EinsumDense: "einsum", BaseConv: "conv", BaseDepthwiseConv: "depthwise"}
    kind = next((kind for known, kind in kinds.items() if isinstance(layer, known)), None)
    if kind is None:
        return []
    return [(next(v for v in layer._trainable_variables if v.path.endswith("kernel")), kind, "")]


def einsum_labels(equation: str) -> tuple[str, str, str]:
    """Return the labels of input, kernel and output, with `...` where the equation has it."""
    inputs, output = equation.replace(" ", "").split("->")
    data, kernel = inputs.split(",")
    return data, kernel, output


def _form(kernel: FloatKernel, shape: Shape) -> Form:
    if kernel.kind in ("dense", "einsum"):
        equation = kernel.layer.equation if kernel.kind == "einsum" else "...a,ab->...b"
        return Einsum.of(equation, (1, *shape), kernel.shape)
    return convolution_of(kernel.layer, shape, window=kernel.kind != "point")


def _products(kernel: FloatKernel, shape: Shape) -> np.ndarray:
    form = _form(kernel, shape)
    return form.weigh(np.ones(shape), np.ones(form.result_shape)).astype(np.int64).reshape(kernel.shape)

"""See, and change, the values that the kernels of a float model are multiplied with, in any call of the model.

Most layers multiply one kernel with their input. A separable convolution multiplies a second one with what the first
makes of it, and a recurrent layer one with its input and one with its state, in each step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from weft import ops
from weft.quantize.replaced import replaced, with_step
from weft.types import Tensor

if TYPE_CHECKING:
    import keras

Change = Callable[["keras.Layer", int, Tensor], Tensor]
"""Gets a layer, a value that it multiplies with a kernel, and before it which one; returns what replaces it."""


@contextmanager
def tapped(layers: Sequence[keras.Layer], change: Change) -> Iterator[None]:
    """Let the kernels of layers read `change(layer, i, value)` in place of their i-th value while the context lasts."""
    with ExitStack() as stack:
        for layer in {id(layer): layer for layer in layers}.values():
            for thing, name, value in _replacements(layer, change):
                stack.enter_context(replaced(thing, name, value))
        yield


def _replacements(layer: Any, change: Change) -> list[tuple[Any, str, Any]]:
    """Return which attributes of which layers get other values."""
    cell = getattr(layer, "cell", None)
    if cell is not None:
        return with_step(layer, _step(layer, cell.call, change))
    if hasattr(layer, "pointwise_kernel"):
        return [(layer, "call", lambda inputs: _separable(layer, inputs, change))]
    call = layer.call
    return [(layer, "call", lambda inputs, *args, **kwargs: call(change(layer, 0, inputs), *args, **kwargs))]


def _step(layer: Any, call: Callable[..., Any], change: Change) -> Callable[..., Any]:
    def step(inputs: Tensor, states: Any, *args: Any, **kwargs: Any) -> Any:
        nested = isinstance(states, list | tuple)
        state = change(layer, 1, states[0] if nested else states)
        return call(change(layer, 0, inputs), [state] if nested else state, *args, **kwargs)

    return step


def _separable(layer: Any, inputs: Tensor, change: Change) -> Tensor:
    """Compute a separable convolution in its two steps."""
    first = layer.data_format == "channels_first"
    where = {"padding": layer.padding, "data_format": layer.data_format, "dilation_rate": layer.dilation_rate}
    x = ops.depthwise_conv(change(layer, 0, inputs), layer.depthwise_kernel, layer.strides, **where)
    x = ops.conv(change(layer, 1, x), layer.pointwise_kernel, 1, "valid", layer.data_format)
    if layer.use_bias:
        x = x + ops.reshape(layer.bias, (1, -1, *[1] * layer.rank) if first else (-1,))
    return x if layer.activation is None else layer.activation(x)

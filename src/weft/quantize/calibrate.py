"""Calibration: find the range of every activation on data, once training is over.

During training a quantiser that follows the data knows the range of recent batches. Before a model is frozen its ranges
are traced anew over all rows given (never the test split), and the sign bit is kept only where a negative value was
seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np

from weft.quantize.given import checked_rows

if TYPE_CHECKING:
    import keras

_ROWS = 8192


def calibrate(model: keras.Model, x: Any, compiled: bool = True) -> None:
    """Set the integer and sign bits of all quantisers of `model` that follow the data, from all rows of `x`.

    In one batch the result is that of `hgq.utils.trace_minmax`. In several, the ranges of a fixed width are traced
    until no batch changes them, since what a layer reads depends on the ranges before it.

    Args:
        model: A model with quantisers; other state than their ranges (and HGQ2's momentary EBOPs) stays.
        x: Rows (n, ...) float32, or a list or dictionary of such arrays, one for each input.
        compiled: Whether one program is made of the network, where the backend can; without, many networks of like
            layers in one process are sooner done, on few rows.

    Raises:
        DataError: There are no rows, or a value is no finite number.
        ShapeError: The rows do not fit the inputs, or these differ in their number of rows.
    """
    from keras import tree

    x = checked_rows(model, x, "calibration")
    arrays = tree.flatten(x)
    n = len(arrays[0])
    batches = [tree.pack_sequence_as(x, [one[start : start + _ROWS] for one in arrays]) for start in range(0, n, _ROWS)]
    quantizers = list(_following(model))
    for quantizer, _ in quantizers:
        quantizer._i.assign(np.full(quantizer._i.shape, -1e9, np.float32))
        quantizer._k.assign(np.zeros(quantizer._k.shape, np.uint8))
    trace = _tracer(model, compiled)
    trace(batches)
    moving = [one for one, place in quantizers if hasattr(one, "_b") and place not in ("weight", "bias")]
    while moving and len(batches) > 1:
        before = _ranges(moving)
        trace(batches)
        if all(np.array_equal(one, two) for one, two in zip(before, _ranges(moving), strict=True)):
            break


def cover_weights(model: keras.Model) -> None:
    """Widen the ranges of kernels and biases that follow the data to what these hold now; all other state stays.

    A step of training traces a range before it moves the weights, which may leave it by that.
    """
    import keras
    from hgq.utils.minmax_trace import TrainingFlagWrapper

    follows = {id(v) for one, place in _following(model) if place in ("weight", "bias") for v in (one._i, one._k)}
    before = [(v, np.array(keras.ops.convert_to_numpy(v))) for v in model.variables if id(v) not in follows]
    row = keras.tree.map_structure(
        lambda tensor: np.zeros([1 if size is None else size for size in tensor.shape], tensor.dtype), model.input
    )
    _trace_eagerly(model, [row], TrainingFlagWrapper("tracing"))
    for variable, value in before:
        variable.assign(value)


def _following(layer: Any, place: str = "") -> Iterator[tuple[Any, str]]:
    """Yield the quantisers whose range follows the data, which have a speed at which it falls, and their places."""
    from hgq.quantizer import Quantizer

    if hasattr(layer, "_i_decay_speed") and layer.trainable:
        yield layer, place
    for inside in layer._layers:
        yield from _following(inside, layer.config.place if isinstance(layer, Quantizer) else place)


def _ranges(quantizers: list[Any]) -> list[np.ndarray]:
    import keras

    return [np.array(keras.ops.convert_to_numpy(quantizer._i)) for quantizer in quantizers]


def _tracer(model: keras.Model, compiled: bool) -> Callable[[list[Any]], None]:
    """Return what runs a model forward over batches, tracing: one compiled program on JAX, if wanted."""
    import keras
    from hgq.utils.minmax_trace import TrainingFlagWrapper

    tracing = TrainingFlagWrapper("tracing")
    if keras.backend.backend() != "jax" or not compiled:
        return lambda batches: _trace_eagerly(model, batches, tracing)
    import jax
    import jax.numpy as jnp

    trainable = [jnp.asarray(np.array(v.value)) for v in model.trainable_variables]

    @jax.jit
    def step(trainable: list[Any], state: list[Any], rows: Any) -> list[Any]:  # constants would make each a new program
        return model.stateless_call(trainable, state, rows, training=tracing)[1]

    def whole(rows: np.ndarray) -> Any:
        missing = _ROWS - len(rows)  # a row that comes twice changes no range, and the shape (so the program) stays
        return jnp.asarray(np.concatenate([rows, np.repeat(rows[:1], missing, axis=0)]) if missing else rows)

    def trace(batches: list[Any]) -> None:
        state = [jnp.asarray(np.array(v.value)) for v in model.non_trainable_variables]
        for rows in batches:
            state = step(trainable, state, keras.tree.map_structure(whole, rows))
        for variable, value in zip(model.non_trainable_variables, state, strict=True):
            variable.assign(np.asarray(value))

    return trace


def _trace_eagerly(model: keras.Model, batches: list[Any], tracing: Any) -> None:
    import keras

    context = nullcontext()
    if keras.backend.backend() == "torch":
        import torch

        context = torch.no_grad()
    with context:
        for rows in batches:
            model(keras.tree.map_structure(keras.ops.convert_to_tensor, rows), training=tracing)

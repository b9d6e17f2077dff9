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

from weft.errors import UnsupportedError
from weft.quantize.given import checked_rows

if TYPE_CHECKING:
    import keras

_ROWS = 8192

Trace = Callable[[list[Any]], None]
"""What runs a model forward over batches of rows, and lets its ranges follow them."""


def calibrate(model: keras.Model, x: Any, trace: Trace | None = None) -> None:
    """Set the integer and sign bits of all quantisers of `model` that follow the data, from all rows of `x`.

    In one batch the result is that of `hgq.utils.trace_minmax`. In several, the ranges of a fixed width are traced
    until no batch changes them, since what a layer reads depends on the ranges before it.

    Args:
        model: A model with quantisers; other state than their ranges (and HGQ2's momentary EBOPs) stays.
        x: Rows (n, ...) float32, or a list or dictionary of such arrays, one for each input.
        trace: How rows are traced; None makes one compiled program of the network where the backend can.

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
    trace = trace or _compiled(model)
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

    follows = {id(v) for one, place in _following(model) if place in ("weight", "bias") for v in (one._i, one._k)}
    before = [(v, np.array(keras.ops.convert_to_numpy(v))) for v in model.variables if id(v) not in follows]
    row = keras.tree.map_structure(
        lambda tensor: np.zeros([1 if size is None else size for size in tensor.shape], tensor.dtype), model.input
    )
    _trace_eagerly(model, [row], _tracing())
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


def interpreted(model: keras.Model) -> Trace:
    """Return what traces rows by NumPy, without compiling: for a few rows, of a network that comes once.

    What it has learnt of the network holds for other weights, too. A network with operations that NumPy has no form of
    is traced by Keras, operation by operation.
    """
    from weft._interpreter import Interpreted

    programs: dict[Any, Interpreted | None] = {}

    def trace(batches: list[Any]) -> None:
        import keras

        if keras.backend.backend() != "jax":
            return _trace_eagerly(model, batches, _tracing())
        state = _values(model.non_trainable_variables)
        for n, rows in enumerate(batches):
            arguments = (_values(model.trainable_variables), state, rows)
            shapes = str(keras.tree.map_structure(np.shape, rows))
            if shapes not in programs:
                programs[shapes] = _written(_step(model), *arguments)
            program = programs[shapes]
            if program is None:
                _assign(model, state)
                return _trace_eagerly(model, batches[n:], _tracing())
            state = program(*arguments)
        _assign(model, state)

    return trace


def _written(function: Callable[..., Any], *args: Any) -> Any:
    from weft._interpreter import Interpreted

    try:
        return Interpreted(function, *args)
    except UnsupportedError:
        return None


def _compiled(model: keras.Model) -> Trace:
    """Return what traces rows by one compiled program on JAX, and operation by operation elsewhere."""
    import keras

    if keras.backend.backend() != "jax":
        return lambda batches: _trace_eagerly(model, batches, _tracing())
    import jax
    import jax.numpy as jnp

    trainable = [jnp.asarray(value) for value in _values(model.trainable_variables)]
    step = jax.jit(_step(model))

    def whole(rows: np.ndarray) -> Any:
        missing = _ROWS - len(rows)  # a row that comes twice changes no range, and the shape (so the program) stays
        return jnp.asarray(np.concatenate([rows, np.repeat(rows[:1], missing, axis=0)]) if missing else rows)

    def trace(batches: list[Any]) -> None:
        state = [jnp.asarray(value) for value in _values(model.non_trainable_variables)]
        for rows in batches:
            state = step(trainable, state, keras.tree.map_structure(whole, rows))
        _assign(model, state)

    return trace


def _step(model: keras.Model) -> Callable[..., list[Any]]:
    """Return a function of trainable variables, the others and rows, that gives the others after tracing the rows."""
    tracing = _tracing()

    def step(trainable: list[Any], state: list[Any], rows: Any) -> list[Any]:  # constants would make each a new program
        return model.stateless_call(trainable, state, rows, training=tracing)[1]

    return step


def _tracing() -> Any:
    from hgq.utils.minmax_trace import TrainingFlagWrapper

    return TrainingFlagWrapper("tracing")


def _values(variables: list[Any]) -> list[np.ndarray]:
    return [np.array(variable.value) for variable in variables]


def _assign(model: keras.Model, state: list[Any]) -> None:
    for variable, value in zip(model.non_trainable_variables, state, strict=True):
        variable.assign(np.asarray(value))


def _trace_eagerly(model: keras.Model, batches: list[Any], tracing: Any) -> None:
    import keras

    context = nullcontext()
    if keras.backend.backend() == "torch":
        import torch

        context = torch.no_grad()
    with context:
        for rows in batches:
            model(keras.tree.map_structure(keras.ops.convert_to_tensor, rows), training=tracing)

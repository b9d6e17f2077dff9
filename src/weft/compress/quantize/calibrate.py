"""Calibration: find the range of every activation on data, once training is over.

During training a wrapping quantiser follows the range of recent batches. Before a model is frozen its ranges are
traced anew over all rows given (never the test split), and the sign bit is kept only where a negative value was seen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from weft.errors import DataError

if TYPE_CHECKING:
    import keras

_ROWS = 8192


def calibrate(model: keras.Model, x: np.ndarray) -> None:
    """Set the integer and sign bits of all wrapping quantisers of `model` from the rows `x`, (n, ...) float32.

    The result equals `hgq.utils.trace_minmax` on the same rows; the forward passes run compiled.

    Raises:
        DataError: There are no rows.
    """
    import jax
    import jax.numpy as jnp
    from hgq.utils.minmax_trace import TrainingFlagWrapper

    if len(x) == 0:
        raise DataError("calibration needs at least one row, and got none")
    _forget_ranges(model)
    tracing = TrainingFlagWrapper("tracing")
    trainable = [jnp.asarray(np.array(v.value)) for v in model.trainable_variables]
    state = [jnp.asarray(np.array(v.value)) for v in model.non_trainable_variables]

    @jax.jit
    def trace(state: list[Any], rows: Any) -> list[Any]:
        return model.stateless_call(trainable, state, rows, training=tracing)[1]

    for start in range(0, len(x), _ROWS):
        rows = x[start : start + _ROWS]
        if len(rows) < _ROWS:  # a range does not change when a row comes twice; the shape, and so the program, stays
            rows = np.concatenate([rows, np.repeat(rows[:1], _ROWS - len(rows), axis=0)])
        state = trace(state, jnp.asarray(rows))
    for variable, value in zip(model.non_trainable_variables, state, strict=True):
        variable.assign(np.asarray(value))


def _forget_ranges(layer: Any) -> None:
    if hasattr(layer, "_i_decay_speed") and layer.trainable:
        layer._i.assign(np.full(layer._i.shape, -1e9, np.float32))
        layer._k.assign(np.zeros(layer._k.shape, np.uint8))
    for sub in layer._layers:
        _forget_ranges(sub)

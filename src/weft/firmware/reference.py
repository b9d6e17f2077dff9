"""The Keras level of verification: what the finalised model computes, without rounding that hardware does not do.

Hardware is exact. Keras computes in float32, which is exact too as long as every sum fits into 24 bits; with wide
weights and activations it does not, and rounds. So the network can also be computed in float64, with the same quantised
weights and the same tables: there every sum of up to 53 bits is exact.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import keras

_ROWS = 4096
_FOLDED = ("QBatchNormDense", "QEinsumDenseBatchnorm")
_TABLES = ("QUnaryFunctionLUT", "QAffinedUnaryFunctionLUT")


@dataclass(frozen=True)
class Values:
    """What a model computed, as float64.

    Attributes:
        outputs: Its outputs, (n, n_out).
        layers: The outputs of each layer, (n, size), by name, in order.
    """

    outputs: np.ndarray
    layers: dict[str, np.ndarray]


def in_float32(model: keras.Model, x: np.ndarray) -> np.ndarray:
    """Return the outputs of a finalised model on x, (n, *input_shape), as it is: (n, n_out), float64."""
    import keras

    if keras.backend.backend() != "jax":
        return _predict(model, x.astype("float32"))[0]
    import jax

    with jax.default_matmul_precision("highest"):  # less, and a GPU multiplies fewer bits than float32 has
        return _predict(model, x.astype("float32"))[0]


def in_float64(model: keras.Model, x: np.ndarray) -> Values:
    """Compute a finalised model in float64 on x, (n, *input_shape)."""
    import keras

    with _float64():
        model = _copy_in_float64(model)
        layers = [layer for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]
        taps = keras.Model(model.inputs, [*(layer.output for layer in layers), model.outputs[0]])
        *values, outputs = _predict(taps, x.astype("float64"))
    return Values(outputs, dict(zip((layer.name for layer in layers), values, strict=True)))


def _predict(model: keras.Model, x: np.ndarray) -> list[np.ndarray]:
    """Predict in batches of one size, so that one compilation serves them all."""
    padded = np.concatenate([x, np.zeros((-len(x) % _ROWS, *x.shape[1:]), x.dtype)])
    values = model.predict(padded, batch_size=_ROWS, verbose=0)
    values = values if isinstance(values, list) else [values]
    return [np.asarray(v, dtype=np.float64).reshape(len(padded), -1)[: len(x)] for v in values]


@contextlib.contextmanager
def _float64() -> Iterator[None]:
    """Let Keras compute in float64 inside the block."""
    import keras
    from keras.src.backend.common import dtypes

    floatx, policy = keras.config.floatx(), keras.config.dtype_policy()
    wide: contextlib.AbstractContextManager[Any] = contextlib.nullcontext()
    if keras.backend.backend() == "jax":
        import jax

        wide = jax.enable_x64(True)
    with wide:
        keras.config.set_floatx("float64")
        keras.config.set_dtype_policy("float64")
        # Keras narrows what its type promotion makes of float64, in floor and round for example. Were this table gone
        # from a later Keras, values would be rounded and verification would report a mismatch.
        narrowed = dtypes.BIT64_TO_BIT32_DTYPE.pop("float64", None)
        try:
            yield
        finally:
            if narrowed is not None:
                dtypes.BIT64_TO_BIT32_DTYPE["float64"] = narrowed
            keras.config.set_floatx(floatx)
            keras.config.set_dtype_policy(policy)


def _copy_in_float64(model: keras.Model) -> keras.Model:
    """Copy a model into float64; weights and tables keep the values they have in float32."""
    from weft import ops

    copy = type(model).from_config(_widened(model.get_config()))
    for mine, other in zip(copy.variables, model.variables, strict=True):
        mine.assign(ops.convert_to_numpy(other))
    for mine, other in zip(copy.layers, model.layers, strict=True):
        kind = type(other).__name__
        if kind in _FOLDED:  # the fold of batch normalisation rounds: take the kernel that float32 came to
            kernel, bias = (ops.convert_to_numpy(v).astype(np.float64) for v in (other.qkernel, other.qbias))
            mine.get_fused_qkernel_and_qbias = lambda *_, both=(kernel, bias), **__: both
        elif hasattr(other, "qkernel"):
            mine._kernel.assign(ops.convert_to_numpy(other.qkernel))
            if other.bias is not None:
                mine.bias.assign(ops.convert_to_numpy(other.qbias))
        elif kind in _TABLES:
            mine.activation = _as_float32(mine.activation)
    return copy


def _as_float32(function: Any) -> Any:
    from weft import ops

    return lambda x: ops.cast(function(ops.cast(x, "float32")), "float64")


def _widened(config: Any) -> Any:
    if isinstance(config, dict):
        return {key: _widened(value) for key, value in config.items()}
    if isinstance(config, list | tuple):
        return type(config)(_widened(value) for value in config)
    return "float64" if config == "float32" else config

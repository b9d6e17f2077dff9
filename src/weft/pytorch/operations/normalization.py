"""Batch normalisation with its statistics, and layer normalisation."""

from __future__ import annotations

from typing import Any

import keras

from weft.errors import UnsupportedError
from weft.pytorch.builder import Builder, array
from weft.pytorch.value import Value


def batch_norm(
    at: Builder,
    x: Value,
    running_mean: Any,
    running_var: Any,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float | None = 0.1,
    eps: float = 1e-5,
) -> Value:
    """(x - μ) / sqrt(σ² + ε) γ + β, with statistics from training; torch's momentum is 1 minus Keras'."""
    if running_mean is None or training:
        raise UnsupportedError("it normalises by the batch at hand, also in eval; use track_running_stats=True")
    if momentum is None:
        raise UnsupportedError(
            "its statistics are those of all batches (momentum=None); give it a momentum, such as 0.1"
        )
    x = at.channels_last(x) if x.rank > 2 else at.rows_first(x)
    config = {
        "momentum": 1.0 - momentum,
        "epsilon": eps,
        "scale": weight is not None,
        "center": bias is not None,
    }
    sources = (weight, bias, running_mean, running_var)
    weights = [array(one) for one in sources if one is not None]
    return x.like(at.weighted(keras.layers.BatchNormalization, config, sources, weights, x.tensor))


def layer_norm(
    at: Builder, x: Value, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5, *_: Any
) -> Value:
    """(x - μ) / sqrt(σ² + ε) γ + β, with the statistics of the last axes of each row."""
    n = 1 if isinstance(normalized_shape, int) else len(normalized_shape)
    x = at.with_last(x) if n == 1 else at.rows_first(x)
    config = {
        "axis": -1 if n == 1 else list(range(-n, 0)),
        "epsilon": eps,
        "scale": weight is not None,
        "center": bias is not None,
    }
    weights = [array(one) for one in (weight, bias) if one is not None]
    sources = (weight, bias) if weights else (at.name("norm"),)
    return x.like(at.weighted(keras.layers.LayerNormalization, config, sources, weights, x.tensor))


def _batch_module(at: Builder, m: Any, x: Value) -> Value:
    if not m.track_running_stats:
        raise UnsupportedError("it normalises by the batch at hand, also in eval; use track_running_stats=True")
    return batch_norm(at, x, m.running_mean, m.running_var, m.weight, m.bias, False, m.momentum, m.eps)


def _exported_batch(
    at: Builder,
    x: Value,
    weight: Any,
    bias: Any,
    mean: Any,
    var: Any,
    training: bool,
    momentum: float,
    eps: float,
    *_: Any,
) -> Value:
    return batch_norm(at, x, mean, var, weight, bias, training, momentum, eps)


MODULES = {
    **{f"BatchNorm{n}d": _batch_module for n in (1, 2, 3)},
    "LayerNorm": lambda at, m, x: layer_norm(at, x, m.normalized_shape, m.weight, m.bias, m.eps),
}

FUNCTIONS = {"batch_norm": batch_norm, "layer_norm": layer_norm}

EXPORTED = {"batch_norm": _exported_batch}

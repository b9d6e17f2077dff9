"""Nonlinear functions, softmax and dropout."""

from __future__ import annotations

from typing import Any

import keras

from weft.errors import UnsupportedError
from weft.pytorch.builder import Builder
from weft.pytorch.operations.elementwise import binary, clamp, scaled
from weft.pytorch.value import Value


@keras.saving.register_keras_serializable(package="weft")
def gelu_tanh(x: Any) -> Any:
    """GELU as torch approximates it by tanh."""
    return keras.ops.gelu(x, approximate=True)


@keras.saving.register_keras_serializable(package="weft")
def gelu_erf(x: Any) -> Any:
    """GELU itself."""
    return keras.ops.gelu(x, approximate=False)


def named(function: Any) -> Any:
    """Return the handler of a function of one tensor that Keras has by name."""
    return lambda at, x, *_, **__: at.function(keras.layers.Activation, x, activation=function)


def _module(function: str) -> Any:
    return lambda at, m, x: at.function(keras.layers.Activation, x, activation=function)


def leaky_relu(at: Builder, x: Value, negative_slope: float = 0.01, inplace: bool = False) -> Value:
    """x, or a part of it where it is negative."""
    return at.function(keras.layers.LeakyReLU, x, negative_slope=float(negative_slope))


def hardtanh(at: Builder, x: Value, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Value:
    """x between two bounds."""
    if (min_val, max_val) == (-1, 1):
        return at.function(keras.layers.Activation, x, activation="hard_tanh")
    if min_val == 0:
        return at.function(keras.layers.ReLU, x, max_value=float(max_val))
    return clamp(at, x, min_val, max_val)


def elu(at: Builder, x: Value, alpha: float = 1.0, *_: Any, **__: Any) -> Value:
    """x, or alpha (exp x - 1) where it is negative."""
    return at.function(keras.layers.ELU, x, alpha=float(alpha))


def celu(at: Builder, x: Value, alpha: float = 1.0, inplace: bool = False) -> Value:
    """ELU whose slope at 0 is 1."""
    if alpha != 1:
        raise UnsupportedError(f"it has alpha={alpha:g}, and only alpha=1 has a counterpart; use ELU")
    return elu(at, x)


def gelu(at: Builder, x: Value, approximate: str = "none") -> Value:
    """x Φ(x)."""
    function = gelu_tanh if approximate == "tanh" else gelu_erf
    return at.function(keras.layers.Activation, x, activation=function)


def softplus(at: Builder, x: Value, beta: float = 1, threshold: float = 20) -> Value:
    """log(1 + exp x)."""
    if beta != 1:
        raise UnsupportedError(f"it has beta={beta:g}, and only beta=1 has a counterpart; scale the weights before it")
    return at.function(keras.layers.Activation, x, activation="softplus")


def prelu(at: Builder, x: Value, weight: Any) -> Value:
    """x, or a learnt part of it where it is negative: relu(x) - a relu(-x)."""
    shape = [1] * x.rank
    shape[1 if x.rank > 1 else 0] = -1
    above = at.step(keras.layers.ReLU, x.tensor)
    below = at.step(keras.layers.ReLU, keras.ops.negative(x.tensor))
    part = scaled(at, x.like(below), weight if weight.numel() == 1 else weight.reshape(shape))
    return binary(at, keras.layers.Subtract, x.like(above), part)


def softmax(at: Builder, x: Value, dim: Any = None, *_: Any, **__: Any) -> Value:
    """Shares along an axis."""
    if dim is None:
        raise UnsupportedError("its axis is not given; use softmax(x, dim=-1)")
    x = at.with_last(x, dim)
    return at.function(keras.layers.Softmax, x, axis=-1)


def dropout(at: Builder, x: Value, p: float = 0.5, *_: Any, **__: Any) -> Value:
    """Some values as 0 in training."""
    return x if p == 0 else at.function(keras.layers.Dropout, x, rate=float(p))


def _spatial(at: Builder, m: Any, x: Value) -> Value:
    if m.p == 0:
        return x
    x = at.channels_last(x)
    return at.function(getattr(keras.layers, f"SpatialDropout{x.rank - 2}D"), x, rate=float(m.p))


_NAMES = {
    **{"relu": "relu", "relu6": "relu6", "silu": "silu", "tanh": "tanh", "sigmoid": "sigmoid", "selu": "selu"},
    **{"softsign": "softsign", "hardsigmoid": "hard_sigmoid", "hardswish": "hard_silu", "mish": "mish"},
    **{"logsigmoid": "log_sigmoid", "log_sigmoid": "log_sigmoid", "exp": "exponential", "tanhshrink": "tanh_shrink"},
}

FUNCTIONS = {
    **{name: named(function) for name, function in _NAMES.items()},
    "leaky_relu": leaky_relu,
    "hardtanh": hardtanh,
    "elu": elu,
    "celu": celu,
    "gelu": gelu,
    "softplus": softplus,
    "prelu": prelu,
    "softmax": softmax,
    "dropout": dropout,
    "feature_dropout": dropout,
}

MODULES = {
    **{
        name: _module(_NAMES[name.lower()]) for name in ("ReLU", "ReLU6", "SiLU", "Tanh", "Sigmoid", "SELU", "Softsign")
    },
    **{
        name: _module(_NAMES[name.lower()]) for name in ("Hardsigmoid", "Hardswish", "Mish", "LogSigmoid", "Tanhshrink")
    },
    "LeakyReLU": lambda at, m, x: leaky_relu(at, x, m.negative_slope),
    "Hardtanh": lambda at, m, x: hardtanh(at, x, m.min_val, m.max_val),
    "ELU": lambda at, m, x: elu(at, x, m.alpha),
    "CELU": lambda at, m, x: celu(at, x, m.alpha),
    "GELU": lambda at, m, x: gelu(at, x, m.approximate),
    "Softplus": lambda at, m, x: softplus(at, x, m.beta),
    "PReLU": lambda at, m, x: prelu(at, x, m.weight),
    "Softmax": lambda at, m, x: softmax(at, x, m.dim),
    "Softmax2d": lambda at, m, x: softmax(at, x, -3),
    "Dropout": lambda at, m, x: dropout(at, x, m.p),
    **{f"Dropout{n}d": _spatial for n in (1, 2, 3)},
}

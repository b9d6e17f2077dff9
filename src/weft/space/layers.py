"""The layers that blocks are made of: plain Keras layers, in float; `weft.quantize` gives them other numbers."""

from __future__ import annotations

from typing import Any

LEAKY_SLOPE = 0.125
"""Slope of leaky ReLU below zero: a power of two, which is a shift in hardware."""


def dense(x: Any, units: int, activation: str, normalization: str, name: str) -> Any:
    """Add a dense layer with normalisation and activation; (n, n_in) becomes (n, units)."""
    import keras

    normalized = normalization == "batch"
    inline = "relu" if activation == "relu" and not normalized else None
    x = keras.layers.Dense(units, activation=inline, use_bias=not normalized, name=name)(x)
    if normalized:
        x = keras.layers.BatchNormalization(name=f"{name}_bn")(x)
    if activation == "leaky_relu":
        return keras.layers.LeakyReLU(negative_slope=LEAKY_SLOPE, name=f"{name}_act")(x)
    return x if activation == "none" or inline else keras.layers.Activation(activation, name=f"{name}_act")(x)


def flatten(x: Any, name: str) -> Any:
    """Return `x` as (n, size)."""
    import keras

    return x if len(x.shape) == 2 else keras.layers.Flatten(name=name)(x)


def dropout(x: Any, rate: float, name: str) -> Any:
    """Drop values in training; nothing in inference."""
    import keras

    return keras.layers.Dropout(rate, name=name)(x) if rate else x

"""The layers that blocks are made of: plain Keras layers, in float; `weft.quantize` gives them other numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from weft.blocks._base import HiddenGenes

LEAKY_SLOPE = 0.125
"""Slope of leaky ReLU below zero: a power of two, which is a shift in hardware."""


def dense(x: Any, units: int, activation: str, normalization: str, name: str) -> Any:
    """Add a dense layer with normalisation and activation on the last axis; (n, ..., n_in) becomes (n, ..., units)."""
    import keras

    return layer(x, keras.layers.Dense, {"units": units}, activation, normalization, name)


def layer(x: Any, kind: Any, options: dict[str, Any], activation: str, normalization: str, name: str) -> Any:
    """Add a layer with weights, its normalisation and its activation."""
    import keras

    normalized = normalization == "batch"
    inline = "relu" if activation == "relu" and not normalized else None
    x = kind(**options, activation=inline, use_bias=not normalized, name=name)(x)
    if normalized:
        x = keras.layers.BatchNormalization(name=f"{name}_bn")(x)
    return x if inline else activated(x, activation, f"{name}_act")


def activated(x: Any, activation: str, name: str) -> Any:
    """Add an activation."""
    import keras

    if activation == "leaky_relu":
        return keras.layers.LeakyReLU(negative_slope=LEAKY_SLOPE, name=name)(x)
    return x if activation == "none" else keras.layers.Activation(activation, name=name)(x)


def convolution(x: Any, filters: int, kernel: int, stride: int, activation: str, normalization: str, name: str) -> Any:
    """Add a padded convolution along a sequence or over an image, with normalisation and activation."""
    import keras

    kind = keras.layers.Conv1D if len(x.shape) == 3 else keras.layers.Conv2D
    options = {"filters": filters, "kernel_size": kernel, "strides": stride, "padding": "same"}
    return layer(x, kind, options, activation, normalization, name)


def pooled(x: Any, side: int, name: str) -> Any:
    """Add the maximum over windows of a sequence or an image; 1 for none."""
    import keras

    pooling = keras.layers.MaxPooling1D if len(x.shape) == 3 else keras.layers.MaxPooling2D
    return pooling(side, name=name)(x) if side > 1 else x


def hidden(x: Any, units: tuple[int, ...], genes: HiddenGenes, prefix: str) -> Any:
    """Add dense layers one behind the other, as the genes of a block say."""
    for i, width in enumerate(units):
        x = dense(x, width, genes.activation, genes.normalization, f"{prefix}_dense{i}")
        x = dropout(x, genes.dropout, f"{prefix}_dropout{i}")
    return x


def flatten(x: Any, name: str) -> Any:
    """Return `x` as (n, size)."""
    import keras

    return x if len(x.shape) == 2 else keras.layers.Flatten(name=name)(x)


def reshape(x: Any, shape: tuple[int, ...], name: str) -> Any:
    """Return `x` as (n, *shape)."""
    import keras

    return x if tuple(x.shape[1:]) == shape else keras.layers.Reshape(shape, name=name)(x)


def dropout(x: Any, rate: float, name: str) -> Any:
    """Drop values in training; nothing in inference."""
    import keras

    return keras.layers.Dropout(rate, name=name)(x) if rate else x


def mean(x: Any, name: str) -> Any:
    """Return the mean over the places of a sequence, (n, length, features) becomes (n, features).

    It is divided by the next power of two, a shift in hardware; the rest of the scale is left to the layer behind.
    """
    import keras

    missing = (1 << (x.shape[1] - 1).bit_length()) - x.shape[1]
    x = keras.layers.ZeroPadding1D((0, missing), name=f"{name}_zeros")(x) if missing else x
    return keras.layers.GlobalAveragePooling1D(name=name)(x)


def attention(x: Any, heads: int, key_dim: int, memory: Any, name: str) -> Any:
    """Add multi-head attention of `x`, (n, length, features), to `memory`, (n, any length, features), and `x` itself.

    Without biases: that of the keys changes no softmax, and the others are those of the layers around.
    """
    import keras

    attend = keras.layers.MultiHeadAttention(heads, key_dim, use_bias=False, name=name)
    return keras.layers.Add(name=f"{name}_add")([x, attend(x, memory)])

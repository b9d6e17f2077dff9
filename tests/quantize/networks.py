"""Float networks for tests of conversion, small ones that between them hold every layer there is a counterpart of."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers as L
from keras import ops


def randomized(model: keras.Model, seed: int = 0) -> keras.Model:
    """Give a model weights and statistics that nobody could mistake for its first ones."""
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        if "quantizer" in variable.path or not variable.shape:
            continue
        if any(word in variable.path for word in ("variance", "gamma")):
            variable.assign(rng.uniform(0.2, 1.5, variable.shape))
        elif variable.dtype == "float32":
            variable.assign(rng.normal(0.0, 0.4, variable.shape))
    return model


def rows(model: keras.Model, n: int = 5, seed: int = 1) -> Any:
    """Return normal rows for every input of a model."""
    rng = np.random.default_rng(seed)
    made = [rng.normal(0.0, 1.0, (n, *tensor.shape[1:])).astype(np.float32) for tensor in model.inputs]
    return made[0] if len(made) == 1 else made


def outputs(model: keras.Model, x: Any) -> list[np.ndarray]:
    """Return what a model makes of rows, one array for each output."""
    return [ops.convert_to_numpy(y) for y in keras.tree.flatten(model(x))]


def assert_equal_outputs(one: keras.Model, two: keras.Model, x: Any, tolerance: float = 1e-5) -> None:
    """Compare two models within a share of the largest output."""
    for a, b in zip(outputs(one, x), outputs(two, x), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * max(np.abs(a).max(), 1e-3))


def vision() -> keras.Model:
    """Convolutions of two dimensions, pooling, padding, a residual, a nested model."""
    inputs = keras.Input((6, 6, 3), name="image")
    x = L.Conv2D(4, 3, padding="same", name="conv")(inputs)
    x = L.BatchNormalization(name="norm")(x)
    x = L.ReLU(name="rectified")(x)
    y = L.DepthwiseConv2D(3, padding="same", activation="relu", name="depthwise")(x)
    y = L.SeparableConv2D(4, 3, padding="same", depth_multiplier=2, name="separable")(y)
    x = L.Add(name="residual")([x, y])
    x = L.BatchNormalization(name="scaled")(L.MaxPooling2D(2, name="largest")(x))
    x = L.ZeroPadding2D(1, name="padded")(x)
    x = L.Cropping2D(1, name="cropped")(x)
    x = L.Conv2D(4, 1, groups=2, use_bias=False, name="groups")(L.UpSampling2D(name="larger")(x))
    head = keras.Sequential(
        [keras.Input((6, 6, 4)), L.AveragePooling2D(2, name="mean"), L.Flatten(name="flat")], name="head"
    )
    x = L.Dense(3, activation="softmax", name="classes")(head(x))
    return keras.Model(inputs, x, name="vision")


def volumes() -> keras.Model:
    """Convolutions of one and three dimensions, and pooling of everything."""
    inputs = [keras.Input((3, 3, 3, 2), name="volume"), keras.Input((6, 2), name="series")]
    x = L.Conv3D(2, 2, name="conv3")(inputs[0])
    x = [L.GlobalAveragePooling3D(name="means")(x), L.Flatten()(L.MaxPooling3D(2, name="pool3")(x))]
    y = L.Conv1D(3, 2, padding="causal", dilation_rate=2, name="causal")(inputs[1])
    y = L.SeparableConv1D(3, 2, activation="tanh", name="separable1")(L.DepthwiseConv1D(2, name="depthwise1")(y))
    y = [L.GlobalMaxPooling1D(name="tops")(y), L.Flatten()(L.AveragePooling1D(2, name="pool1")(y))]
    return keras.Model(inputs, {"x": L.Concatenate(name="xs")(x), "y": L.Concatenate(name="ys")(y)}, name="volumes")


def sequences() -> keras.Model:
    """Attention, recurrence, einsums, inner products, shared layers."""
    inputs = keras.Input((4, 3), name="series")
    shared = L.Dense(4, activation="relu", name="shared")
    x = shared(inputs)
    x = L.MultiHeadAttention(2, 3, name="attention")(x, x, use_causal_mask=True) + x
    x = L.EinsumDense("abc,cd->abd", (None, 3), bias_axes="d", name="einsum")(x)
    x = L.BatchNormalization(name="norm")(x)
    y = shared(x)
    a = L.GRU(3, return_sequences=True, name="gru")(y)
    b = L.SimpleRNN(3, name="rnn")(L.Permute((1, 2), name="permuted")(y))
    scores = L.Dot(axes=(2, 1), name="scores")([a, b])
    mixed = L.Multiply(name="product")([a, L.RepeatVector(4, name="again")(b)])
    mixed = L.Average(name="average")([mixed, L.Maximum(name="upper")([a, mixed])])
    mixed = L.Subtract(name="difference")([mixed, L.Minimum(name="lower")([a, mixed])])
    mixed = ops.matmul(ops.transpose(mixed, (0, 2, 1)), a) * 0.5
    return keras.Model(inputs, [scores, L.Reshape((9,), name="line")(mixed)], name="sequences")


def functions() -> keras.Model:
    """Nonlinear functions, as layers, as operations, and at the end of layers."""
    inputs = keras.Input((5,), name="features")
    found = [
        L.Dense(4, activation="sigmoid", name="sigmoid")(inputs),
        L.LeakyReLU(negative_slope=0.25, name="leaky")(inputs),
        L.ELU(name="elu")(L.Dense(4, name="before_elu")(inputs)),
        L.Activation("gelu", name="gelu")(inputs),
        L.Softmax(name="softmax")(inputs),
        L.Activation("linear", name="nothing")(L.Dense(2, activation="relu6", name="bounded")(inputs)),
        ops.tanh(inputs),
        keras.activations.relu(inputs, max_value=1.0),
        ops.maximum(inputs, 0.25),
    ]
    return keras.Model(inputs, L.Concatenate(name="all")(found), name="functions")


FAMILIES = (vision, volumes, sequences, functions)

"""Small finalised models of every kind that has a form in ONNX, converted and calibrated as users do it."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers as L
from keras import ops

import weft
from weft.config.numbers import FixedNumbers, HgqNumbers
from weft.quantize.convert import convert

FIXED = FixedNumbers(total_bits=5, io_bits=6)
HGQ = HgqNumbers(bits0=5)


def rows(shape: tuple[int, ...], n: int = 128, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1.2, (n, *shape)).astype("f")


def _mlp(x: Any) -> Any:
    x = L.Activation("relu")(L.BatchNormalization()(L.Dense(6)(x)))
    return L.Dense(3)(x)


def _conv1d(x: Any) -> Any:
    x = L.Conv1D(3, 3, padding="causal", activation="relu")(x)
    x = L.MaxPooling1D(2)(L.DepthwiseConv1D(2, padding="same")(x))
    return L.Dense(2)(L.Flatten()(x))


def _conv2d(x: Any) -> Any:
    x = L.Conv2D(3, 3, strides=2, padding="same", activation="relu")(x)
    x = L.Conv2D(4, 2, groups=1, dilation_rate=1)(L.ZeroPadding2D(1)(x))
    x = L.AveragePooling2D(2)(L.Activation("relu6")(x))
    return L.Dense(2)(L.GlobalMaxPooling2D()(x))


def _residual(x: Any) -> Any:
    y = L.Dense(6, activation="relu")(x)
    y = L.Add()([L.Dense(6)(y), x])
    y = L.Multiply()([y, L.Dense(6)(y)])
    return L.Dense(3)(L.LeakyReLU(0.25)(y))


def _moved(x: Any) -> Any:
    y = ops.flip(L.Dense(6)(x), axis=1)
    y = L.Permute((2, 1))(L.Reshape((2, 3))(y[:, ::-1]))
    y = L.EinsumDense("abc,cd->abd", (3, 4))(y)
    return L.Dense(2)(ops.sum(L.Maximum()([y, -y]), axis=1) + 0.25)


def _table(x: Any) -> Any:
    return L.Dense(2)(L.Activation("tanh")(L.Dense(4)(x)))


SHAPES: dict[str, tuple[int, ...]] = {
    "mlp": (6,), "conv1d": (8, 2), "conv2d": (6, 6, 2), "residual": (6,), "moved": (6,), "table": (6,),
}  # fmt: skip
_HOW = {"mlp": _mlp, "conv1d": _conv1d, "conv2d": _conv2d, "residual": _residual, "moved": _moved, "table": _table}


def finalised(name: str, numbers: Any = FIXED) -> tuple[Any, list[np.ndarray]]:
    """Return a finalised model, and rows that its ranges were found on."""
    keras.utils.set_random_seed(3)
    if name == "two inputs":
        inputs = [keras.Input((4,), name="a"), keras.Input((3,), name="b")]
        joined = L.Concatenate()([L.Dense(3)(inputs[0]), L.Dense(3, activation="relu")(inputs[1])])
        model = keras.Model(inputs, [L.Dense(2)(joined), L.Dense(1)(joined)], name="two")
        data = [rows((4,)), rows((3,), seed=1)]
    else:
        inputs = keras.Input(SHAPES[name])
        model = keras.Model(inputs, _HOW[name](inputs), name=name)
        data = [rows(SHAPES[name])]
    for variable in model.weights:  # biases and statistics that are not 0 and 1
        if variable.path.endswith(("bias", "mean", "variance", "beta")):
            variable.assign(np.random.default_rng(5).uniform(0.1, 0.7, variable.shape))
    made = convert(model, numbers)
    if numbers is HGQ or isinstance(numbers, HgqNumbers):
        _vary(made)
    return weft.finalize(made, data if len(data) > 1 else data[0]), data


def _vary(model: Any) -> None:
    """Give learned widths the differences that training gives them."""
    random = np.random.default_rng(11)
    for variable in model.variables:
        if variable.path.endswith(("/f", "/b")):
            variable.assign(np.clip(variable.numpy() + random.integers(-4, 2, variable.shape), 0, 7))

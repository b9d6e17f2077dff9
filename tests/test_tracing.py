"""Every layer and operation that conversion takes is traced exactly, wherever values were moved to before it."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers as L
from keras import ops

import weft
from weft.adder_graph import AdderGraph
from weft.config.numbers import FixedNumbers
from weft.quantize.calibrate import calibrate
from weft.quantize.check import check, insert_quantizers
from weft.quantize.convert import convert

NUMBERS = FixedNumbers(total_bits=5, io_bits=6)
X = np.random.default_rng(0).normal(size=(200, 6)).astype("f")


def dense(x, n=6, **more):
    return L.Dense(n, **more)(x)


def folded(x):
    return L.Reshape((2, 3))(x)


def inner():
    return keras.Sequential([keras.Input((6,)), L.Dense(3, "tanh", name="tabled"), L.Dense(2, name="last")])


MOVED = {
    "reshape": lambda x: L.Permute((2, 1))(folded(dense(x))),
    "reshaped and joined": lambda x: L.Concatenate(axis=1)([folded(x), folded(dense(x))]),
    "flat and joined": lambda x: L.Concatenate()([L.Flatten()(folded(x)), dense(x, 3)]),
    "channels first": lambda x: dense(L.Flatten(data_format="channels_first")(folded(x)), 2),
    "identity": lambda x: L.ActivityRegularization(0.1)(L.Identity()(dense(x))),
    "input at the output": lambda x: L.Concatenate()([x, dense(x, 3)]),
    "squeeze": lambda x: ops.squeeze(ops.expand_dims(dense(x), 1), 1),
    "swap": lambda x: ops.swapaxes(folded(dense(x)), 1, 2),
    "stack": lambda x: ops.stack([dense(x), dense(x)], axis=1),
    "split": lambda x: L.Add()(ops.split(x, 2, axis=1)),
    "flip": lambda x: ops.roll(ops.flip(dense(x), axis=1), 1, axis=1),
    "tile": lambda x: ops.hstack([ops.tile(dense(x, 2), (1, 2)), x]),
    "sum": lambda x: ops.sum(folded(dense(x)), axis=1),
}
COMPUTED = {
    "negative": lambda x: -dense(x) * 0.5,
    "slice": lambda x: dense(x[:, 1:4], 2) + 0.25,
    "bound": lambda x: ops.clip(ops.maximum(dense(x), -0.25), -1, 1),
    "slope and convolution": lambda x: L.LeakyReLU(0.25)(L.Conv1D(2, 1)(folded(x))),
    "slope and join": lambda x: L.Concatenate()([L.LeakyReLU(0.25)(dense(x, 3)), dense(x, 3)]),
    "bounded slope": lambda x: L.ReLU(1.0, 0.5, 0.25)(L.Conv1D(2, 1)(folded(x))),
    "recurrence": lambda x: dense(L.RepeatVector(2)(L.SimpleRNN(2)(folded(x))), 2),
    "recurrence at the end": lambda x: L.SimpleRNN(2, return_sequences=True)(folded(x)),
    "tables at the end": lambda x: L.Concatenate()([dense(x, 2, activation="tanh"), dense(x, 2, activation="sigmoid")]),
    "nested": lambda x: inner()(x),
    "nested twice": lambda x: (lambda shared: L.Concatenate()([shared(x), shared(dense(x))]))(inner()),
}


def is_traced(model: keras.Model) -> bool:
    expected = ops.convert_to_numpy(model(X)).reshape(len(X), -1)
    assert len(np.unique(expected)) > 3
    return np.array_equal(AdderGraph.from_model(model).predict(X), expected)


def made(how) -> keras.Model:
    keras.utils.set_random_seed(1)
    inputs = keras.Input((6,))
    return keras.Model(inputs, how(inputs))


@pytest.mark.parametrize("name", [*MOVED, *COMPUTED])
def test_what_is_converted_is_traced_exactly(name):
    model = convert(made({**MOVED, **COMPUTED}[name]), NUMBERS)
    calibrate(model, X)
    assert check(model) == []
    assert is_traced(model)


@pytest.mark.parametrize("name", ["slice", "recurrence at the end", "nested twice", "stack"])
def test_what_is_finalised_is_traced_exactly_and_saved(name, tmp_path):
    final = weft.finalize(convert(made({**MOVED, **COMPUTED}[name]), NUMBERS), X)
    assert is_traced(final)
    final.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras", compile=False)
    np.testing.assert_array_equal(ops.convert_to_numpy(again(X)), ops.convert_to_numpy(final(X)))


def test_a_layer_by_hand_whose_function_is_a_table_is_traced_exactly():
    layers = [keras.Input((6,)), weft.layers.QDense(3, activation="tanh"), weft.layers.QDense(2)]
    assert is_traced(weft.finalize(keras.Sequential(layers), X))


FUNCTIONS = (ops.celu, ops.log_sigmoid, ops.softplus, ops.softsign, ops.tanh, ops.gelu, ops.silu)
BENDS = (ops.relu, ops.relu6, ops.hard_tanh, ops.square, ops.negative, ops.absolute)


def test_operations_between_layers_by_hand_are_exact_once_quantisers_are_inserted():
    def how(x):
        with weft.layers.defaults(numbers=NUMBERS):
            x = weft.layers.QDense(4)(x)
            found = [function(x) for function in (*FUNCTIONS, *BENDS)]
            found += [ops.leaky_relu(x, 0.25), x * 0.5, x * found[0], ops.maximum(x, found[1]), 1.0 - x]
            return L.Identity()(L.Concatenate()(found))

    model = made(how)
    assert check(model)
    model = insert_quantizers(model, NUMBERS)
    assert check(model) == []
    calibrate(model, X)
    assert is_traced(model)

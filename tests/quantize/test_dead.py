"""Following zeros: outputs stay equal to the last bit, and what no output depends on is gone."""

from __future__ import annotations

from functools import cache

import hgq.layers as hgq
import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers as L
from keras import ops

from tests.quantize.networks import outputs, randomized, rows, sequences, vision, volumes
from weft.config.numbers import FixedNumbers, HgqNumbers
from weft.quantize.calibrate import calibrate
from weft.quantize.convert import convert
from weft.quantize.dead import remove_dead

pytestmark = pytest.mark.backends


def layer(model: keras.Model, name: str):
    return next(one for one in model._flatten_layers() if one.name == name)


def array(tensor) -> np.ndarray:
    return np.array(ops.convert_to_numpy(tensor))


def kill(model: keras.Model, name: str, outputs: list[int], inputs: tuple[int, ...] = (), bias: bool = True) -> None:
    """Set the weights of some outputs of a layer to 0, their biases too, and those of some inputs."""
    found = layer(model, name)
    kernel = array(found._kernel)
    kernel[..., outputs] = 0
    kernel[..., list(inputs), :] = 0
    found._kernel.assign(kernel)
    if bias and found.bias is not None:
        value = array(found.bias)
        value[..., outputs] = 0
        found.bias.assign(value)
        if hasattr(found, "moving_mean"):
            mean = array(found.moving_mean)
            mean[..., outputs] = 0
            found.moving_mean.assign(mean)


def zeros(model: keras.Model, name: str) -> np.ndarray:
    return array(layer(model, name)._kernel) == 0


def removed(model: keras.Model) -> int:
    """Remove what is dead, and check that outputs stay exactly equal and that nothing is left to remove."""
    x = rows(model, 20)
    before = outputs(model, x)
    n = remove_dead(model)
    for one, two in zip(before, outputs(model, x), strict=True):
        np.testing.assert_array_equal(one, two)
    assert remove_dead(model) == 0
    return n


def chain(*between: keras.Layer, units: int = 4) -> keras.Model:
    """Two dense layers with other layers between them, finalised."""
    x = inputs = keras.Input((3,), name="x")
    for one in (L.Dense(units, name="a"), *between, L.Dense(3, name="b")):
        x = one(x)
    model = convert(randomized(keras.Model(inputs, x)), FixedNumbers(total_bits=12))
    calibrate(model, rows(model, 50))
    return model


@pytest.mark.parametrize(
    ("between", "places"),
    [
        ([], [1]),
        ([L.ReLU()], [1]),
        ([L.Activation("tanh")], [1]),
        ([L.Dropout(0.1), L.Reshape((2, 2)), L.Permute((2, 1)), L.Flatten()], [2]),
        ([L.Reshape((2, 2)), L.ZeroPadding1D(1), L.Flatten()], [0, 1, 3, 6, 7]),
        ([L.Reshape((2, 2)), L.UpSampling1D(2), L.Flatten()], [1, 3]),
        ([L.Reshape((1, 4)), L.MaxPooling1D(1), L.Flatten()], [1]),
        ([L.BatchNormalization(), L.ReLU()], [1]),
    ],
)
def test_weights_that_read_a_neuron_without_weights_go(between, places):
    model = chain(*(type(one).from_config(one.get_config()) for one in between))
    kill(model, "a", [1])
    assert not zeros(model, "b").any()
    assert removed(model) == 3 * len(places)
    found = zeros(model, "b").all(axis=1)
    assert list(np.flatnonzero(found)) == places
    assert zeros(model, "b").sum() == 3 * len(places)


@pytest.mark.parametrize("function", ["sigmoid", "softplus"])
def test_functions_that_do_not_map_zero_to_zero_stop_it(function):
    model = chain(L.Activation(function))
    kill(model, "a", [1])
    assert removed(model) == 0


def test_a_neuron_with_a_bias_is_not_zero():
    model = chain(L.ReLU())
    layer(model, "a").bias.assign(np.full(4, 0.5, np.float32))
    kill(model, "a", [1], bias=False)
    assert removed(model) == 0


def test_a_neuron_that_nobody_reads_goes_with_its_bias():
    model = chain(L.ReLU(), L.Dropout(0.2))
    kill(model, "b", [], (2,), bias=False)
    assert removed(model) == 3 + 1
    assert zeros(model, "a").all(axis=0).tolist() == [False, False, True, False]
    assert array(layer(model, "a").bias)[2] == 0


def test_it_goes_on_through_several_layers():
    x = inputs = keras.Input((3,), name="x")
    for i in range(3):
        x = L.Dense(4, activation="relu", name=f"hidden{i}")(x)
    model = convert(randomized(keras.Model(inputs, L.Dense(2, name="last")(x))), FixedNumbers(total_bits=12))
    calibrate(model, rows(model, 50))
    for variable in (layer(model, f"hidden{i}").bias for i in range(3)):
        variable.assign(np.zeros(4, np.float32))
    kernel = array(layer(model, "hidden1")._kernel)
    kernel[:, 0], kernel[:3, 1] = 0, 0  # hidden1's neuron 0 is 0; its neuron 1 reads only the last one, which is 0
    layer(model, "hidden1")._kernel.assign(kernel)
    kill(model, "hidden0", [3])
    kill(model, "last", [], (2,), bias=False)
    removed(model)
    assert zeros(model, "hidden1").all(axis=0).tolist() == [True, True, False, False]
    assert zeros(model, "hidden2").all(axis=1).tolist() == [True, True, False, False]
    assert zeros(model, "hidden2")[:, 2].all()


def test_a_bias_is_a_reason_to_keep_what_follows():
    model = chain(L.ReLU())
    kernel = np.zeros((3, 4), np.float32)
    layer(model, "a")._kernel.assign(kernel)
    layer(model, "a").bias.assign(np.full(4, 1.0, np.float32))
    assert removed(model) == 0


@pytest.mark.parametrize(
    ("join", "alive"), [(L.Add, True), (L.Subtract, True), (L.Maximum, True), (L.Minimum, True), (L.Multiply, False)]
)
def test_a_sum_is_zero_if_all_of_it_is_and_a_product_if_a_part_is(join, alive):
    inputs = keras.Input((3,))
    branches = [L.Dense(4, name=name)(inputs) for name in "ab"]
    model = keras.Model(inputs, L.Dense(2, name="last")(join()(branches)))
    model = convert(randomized(model), FixedNumbers(total_bits=12))
    calibrate(model, rows(model, 50))
    kill(model, "a", [1])
    n = removed(model)
    assert zeros(model, "last")[1].all() == (not alive)
    assert n == (0 if alive else 2 + 3 + 1)  # the other factor is read by nobody then
    kill(model, "b", [1])
    assert removed(model) == (2 if alive else 0)


def test_an_input_without_bits_is_not_read():
    model = convert(
        randomized(keras.Sequential([keras.Input((3,)), L.Dense(4, name="a"), L.Dense(2, name="b")])), HgqNumbers()
    )
    calibrate(model, rows(model, 50))
    quantizer = layer(model, "b").iq.quantizer
    fractions = array(quantizer._f)
    fractions[..., 1] = -24
    quantizer._f.assign(fractions)
    assert removed(model) == 2 + 3 + 1
    assert zeros(model, "a")[:, 1].all()


def test_channels_are_followed_through_convolutions_groups_and_pooling():
    inputs = keras.Input((6, 6, 2))
    x = L.Conv2D(4, 3, activation="relu", name="a")(inputs)
    x = L.MaxPooling2D(2)(x)
    x = L.DepthwiseConv2D(2, padding="same", use_bias=False, name="b")(x)
    x = L.BatchNormalization(center=False, name="norm")(x)
    x = L.Conv2D(3, 1, name="c")(x)
    model = randomized(keras.Model(inputs, L.Dense(2, name="d")(L.Flatten()(x))))
    model = convert(model, FixedNumbers(total_bits=12), fuse_batch_norm=False)
    layer(model, "norm").moving_mean.assign(np.zeros(4, np.float32))
    calibrate(model, rows(model, 20))
    kill(model, "a", [1])
    kill(model, "c", [], (3,), bias=False)
    removed(model)
    assert [one.all() for one in np.moveaxis(zeros(model, "b"), -1, 0)] == [False, True, False, True]
    assert [one.all() for one in np.moveaxis(zeros(model, "a"), -1, 0)] == [False, True, False, True]
    assert [one.all() for one in np.moveaxis(zeros(model, "c"), -2, 0)] == [False, True, False, True]


@settings(max_examples=2)
@given(st.sampled_from([vision, sequences]), st.integers(0, 2**16))
def test_outputs_stay_exactly_equal_whatever_is_zero(family, seed):
    stay_exactly_equal(family, seed)


@pytest.mark.slow
@settings(max_examples=30)
@given(st.sampled_from([vision, volumes, sequences]), st.integers(0, 2**16))
def test_outputs_stay_exactly_equal_in_many_more_cases(family, seed):
    stay_exactly_equal(family, seed)


def stay_exactly_equal(family, seed: int) -> None:
    model = finalised(family)
    rng = np.random.default_rng(seed)
    for one in model._flatten_layers():
        if isinstance(one, hgq.QDense | hgq.QEinsumDense | hgq.QConv1D | hgq.QConv2D | hgq.QConv3D):
            kernel = rng.normal(0, 0.5, one._kernel.shape)
            kernel *= rng.random(kernel.shape[-1]) < 0.6
            kernel *= rng.random((kernel.shape[-2], 1)) < 0.6
            one._kernel.assign(kernel)
            if one.bias is not None:
                one.bias.assign(rng.normal(0, 0.5, one.bias.shape) * (rng.random(one.bias.shape) < 0.3))
    x = rows(model, 8, seed)
    before = outputs(model, x)
    remove_dead(model)
    for a, b in zip(before, outputs(model, x), strict=True):
        np.testing.assert_array_equal(a, b)


@cache
def finalised(family) -> keras.Model:
    model = convert(randomized(family()), FixedNumbers(total_bits=10))
    calibrate(model, rows(model, 20))
    return model

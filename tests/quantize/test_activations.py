"""Activations: equal to the float function when they are wide, exact in the adder graph, refused with a reason."""

from __future__ import annotations

import hgq.layers
import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from tests.gradients import gradient
from weft.adder_graph import AdderGraph
from weft.config.numbers import FixedNumbers, FloatNumbers, HgqNumbers, LayerSettings, QuantizerSettings
from weft.errors import UnsupportedError
from weft.quantize import quantizers
from weft.quantize.activations import NONNEGATIVE, PowerOfTwoReLU, activation_layer, few_bits, few_digits, power_of_two
from weft.quantize.calibrate import calibrate

pytestmark = pytest.mark.backends

TABLES = [
    *("tanh", "sigmoid", "gelu", "silu", "elu", "selu", "softplus", "softsign", "exponential"),
    *("hard_sigmoid", "hard_silu", "mish", "celu"),
]
LINEAR = ["relu", "relu6", "hard_tanh"]
WIDE = FixedNumbers(total_bits=22, io_bits=22)
HARD = LayerSettings(hard=True)
X = np.random.default_rng(0).normal(0, 2, (1000, 3)).astype("f")


@keras.saving.register_keras_serializable(package="tests")
def bump(x):
    return ops.exp(-x * x)


def layers():
    """Return every kind of layer once: name and how it is asked for."""
    names = {word: (word, LayerSettings()) for word in [*TABLES, *LINEAR, "softmax", "leaky_relu"]}
    objects = {
        "layer_leaky": keras.layers.LeakyReLU(negative_slope=0.3),
        "layer_bounded": keras.layers.ReLU(max_value=1.5, negative_slope=0.25, threshold=0.5),
        "layer_softmax": keras.layers.Softmax(),
        "layer_elu": keras.layers.ELU(),
        "bump": bump,
    }
    hard = {"tanh_hard": ("tanh", HARD), "sigmoid_hard": ("sigmoid", HARD)}
    return names | hard | {name: (one, LayerSettings()) for name, one in objects.items()}


def all_in_one(numbers):
    """Return a model that applies every activation to one dense layer, and their names."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((3,))
    x = hgq.layers.QDense(
        3,
        kq_conf=quantizers.weight(numbers),
        bq_conf=quantizers.bias(numbers),
        iq_conf=quantizers.activation(numbers, QuantizerSettings(bits=6)),
    )(inputs)
    made = {name: activation_layer(one, numbers, its, name) for name, (one, its) in layers().items()}
    flat = keras.layers.Flatten()  # the adder graph's LeakyReLU has an axis too many, which cannot be concatenated
    outputs = keras.layers.Concatenate()([flat(layer(x)) for layer in made.values()])
    return keras.Model(inputs, outputs), list(made)


@pytest.mark.parametrize("numbers", [HgqNumbers(bits0=5), FixedNumbers(total_bits=6)], ids=["hgq", "fixed"])
def test_every_activation_is_exact_in_the_adder_graph_and_survives_saving(numbers, tmp_path):
    model, names = all_in_one(numbers)
    calibrate(model, X)
    x = np.concatenate([X[:500], 5 * X[500:998], [[0, 0, 0], [100, -100, 1e-6]]]).astype("f")
    expected = model.predict(x, batch_size=len(x), verbose=0)
    got = AdderGraph.from_model(model).predict(x)
    for n, name in enumerate(names):
        part = slice(3 * n, 3 * n + 3)
        assert np.count_nonzero(expected[:, part] != got[:, part]) == 0, name
        assert len(np.unique(expected[:, part])) > 3, name
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras", compile=False)
    np.testing.assert_array_equal(again.predict(x, batch_size=len(x), verbose=0), expected)


@pytest.mark.parametrize("name", [*TABLES, *LINEAR, "softmax", "layer_elu", "bump", "layer_softmax"])
def test_with_wide_quantisers_it_is_the_float_function(name):
    asked, its = layers()[name]
    layer = activation_layer(asked, WIDE, its, name)
    layer(X, training=True)
    function = keras.activations.get({"layer_elu": "elu", "layer_softmax": "softmax"}.get(name, asked))
    expected = ops.convert_to_numpy(function(ops.convert_to_tensor(X)))
    np.testing.assert_allclose(ops.convert_to_numpy(layer(X, training=True)), expected, rtol=1e-3, atol=4e-4)
    assert layer.name == name


def test_hard_functions_are_straight_lines_between_their_bounds():
    tanh, sigmoid = (activation_layer(word, WIDE, HARD, word) for word in ("tanh", "sigmoid"))
    np.testing.assert_array_equal(ops.convert_to_numpy(tanh(X)), np.clip(X, -1, 1))
    np.testing.assert_allclose(ops.convert_to_numpy(sigmoid(X)), np.clip(X / 4 + 0.5, 0, 1), rtol=0, atol=2.0**-21)


@pytest.mark.parametrize("word", TABLES)
def test_a_table_keeps_negative_values_where_its_function_has_some(word):
    layer = activation_layer(word, HgqNumbers())
    negative = bool((ops.convert_to_numpy(keras.activations.get(word)(ops.convert_to_tensor(X))) < 0).any())
    assert negative == (word not in NONNEGATIVE)
    assert bool(layer.oq.config["k0"]) == negative


def test_relu_is_left_to_the_quantiser_of_the_next_layer_and_linear_is_nothing():
    assert not activation_layer("relu", HgqNumbers()).weights
    assert not activation_layer(keras.layers.ReLU(), HgqNumbers()).weights
    assert activation_layer("linear", HgqNumbers()) is None
    assert activation_layer(keras.layers.Activation("linear"), FixedNumbers()) is None


def test_float_numbers_leave_every_function_as_it_is():
    rows = ops.convert_to_tensor(X)
    for name, (asked, its) in layers().items():
        if its == LayerSettings():
            new = activation_layer(asked, FloatNumbers(), its)(rows)
            old = asked(rows) if callable(asked) else keras.activations.get(asked)(rows)
            np.testing.assert_array_equal(ops.convert_to_numpy(new), ops.convert_to_numpy(old), err_msg=name)


def test_settings_reach_the_quantisers():
    its = LayerSettings(
        input=QuantizerSettings(bits=7, integer_bits=3), table=QuantizerSettings(bits=9, integer_bits=1)
    )
    for numbers in (FixedNumbers(), FloatNumbers()):
        layer = activation_layer("tanh", numbers, its)
        layer.build((None, 3))
        kif = [[float(ops.convert_to_numpy(v).item()) for v in q.quantizer.kif] for q in (layer.iq, layer.oq)]
        assert kif == [[1, 2, 4], [1, 0, 8]]


def test_softmax_saturates_where_wrapping_would_turn_the_least_likely_class_into_the_likeliest():
    layer = activation_layer("softmax", FixedNumbers(total_bits=8))
    layer(X, training=True)
    probabilities = ops.convert_to_numpy(layer(np.array([[0, 50.0, 100.0]], "f")))[0]
    assert probabilities[2] > 0.9 and probabilities[0] < 0.01 and probabilities[1] < 0.01


# The learned multiplier.


def test_the_multiplier_is_a_power_of_two_that_starts_at_one_and_has_the_gradient_of_its_exponent():
    layer = activation_layer("relu", HgqNumbers(), LayerSettings(multiplier=True), "act")
    np.testing.assert_array_equal(ops.convert_to_numpy(layer(X)), np.maximum(X, 0))
    layer.exponent.assign(-1.6)
    np.testing.assert_array_equal(ops.convert_to_numpy(layer(X)), np.maximum(X, 0) / 4)
    for m in (-1.6, 0.5, 2.3):
        found = gradient(lambda m: ops.sum(ops.relu(ops.convert_to_tensor(X)) * power_of_two(m)), np.float32(m))[0]
        np.testing.assert_allclose(found, np.log(2) * np.maximum(X, 0).sum() * 2.0 ** np.round(m), rtol=1e-4)


def test_the_multiplier_is_learned_saved_and_becomes_a_shift(tmp_path):
    keras.utils.set_random_seed(0)
    numbers = FixedNumbers(total_bits=6)
    dense = {"kq_conf": quantizers.weight(numbers), "bq_conf": quantizers.bias(numbers)}
    model = keras.Sequential(
        [
            keras.Input((3,)),
            hgq.layers.QDense(4, iq_conf=quantizers.activation(numbers, first=True), **dense),
            activation_layer("relu", numbers, LayerSettings(multiplier=True), "act"),
            hgq.layers.QDense(2, iq_conf=quantizers.activation(numbers), **dense),
        ]
    )
    model.compile(keras.optimizers.Adam(0.3), "mse")
    model.fit(X, 8 * np.abs(X[:, :2]), epochs=1, batch_size=500, verbose=0)
    learned = model.get_layer("act").exponent
    assert float(ops.convert_to_numpy(learned)) != 0
    learned.assign(-1.6)
    calibrate(model, X)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras", compile=False)
    expected = model.predict(X, batch_size=len(X), verbose=0)
    np.testing.assert_array_equal(again.predict(X, batch_size=len(X), verbose=0), expected)
    plain = keras.models.clone_model(
        keras.Model(model.inputs, model.outputs),
        clone_function=lambda layer: layer.plain() if isinstance(layer, PowerOfTwoReLU) else layer,
    )
    assert not any(type(layer).__module__.startswith("weft.") for layer in plain.layers)
    np.testing.assert_array_equal(AdderGraph.from_model(plain).predict(X), expected)


# Constants.


@settings(max_examples=200)
@given(st.floats(-8, 8).filter(lambda x: abs(x) > 1e-3), st.integers(1, 5))
def test_a_slope_of_few_digits_is_near_and_short(value, digits):
    got = few_digits(value, digits)
    assert abs(got - value) <= 3.0**-digits * abs(value) * (1 + 1e-9)
    assert signed_digits(got) <= digits


def signed_digits(value):
    """Return the fewest signed powers of two that add up to `value`: those of its canonical form."""
    n, count = round(value * 2**60), 0
    while n:
        if n & 1:
            count += 1
            n -= 2 - (n & 3)
        n >>= 1
    return count


@pytest.mark.parametrize("slope", [0.125, 0.1875, 0.5, 0.0, -0.25, 1.0])
def test_a_slope_that_is_short_already_stays(slope):
    assert few_digits(slope) == slope


@settings(max_examples=100)
@given(st.floats(-100, 100).filter(lambda x: abs(x) > 1e-6), st.integers(1, 12))
def test_a_bound_of_few_bits_is_near_and_short(value, bits):
    got = few_bits(value, bits)
    assert abs(got - value) <= abs(value) * 2.0**-bits
    mantissa = abs(np.frexp(got)[0]) * 2**bits
    assert mantissa == int(mantissa)


# What is refused.


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("log_softmax", r"activation 'log_softmax' of layer 'a' \(log_softmax\) depends on several .* use softmax"),
        ("tanhh", r"activation 'tanhh' of layer 'a' is not known to Keras; did you mean 'tanh'\?"),
        (lambda x: x, r"activation of layer 'a' is the function <lambda>, .* put @keras.saving.register_keras"),
        (keras.layers.PReLU(name="p"), r"layer 'a' \(PReLU\) is no function with a fixed-point form; use Activation"),
        (keras.layers.ELU(alpha=0.5), r"layer 'a' \(ELU\) has alpha=0.5, and only alpha=1 has a table"),
    ],
)
def test_what_has_no_fixed_point_form_is_refused_with_its_remedy(asked, message):
    with pytest.raises(UnsupportedError, match=message):
        activation_layer(asked, HgqNumbers(), name="a")

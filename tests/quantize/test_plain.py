"""A model without anything of weft's: the same numbers in Keras and in the adder graph."""

from __future__ import annotations

import hgq.layers
import keras
import numpy as np
import pytest

from weft.adder_graph import AdderGraph
from weft.config.numbers import FixedNumbers, HgqNumbers, LayerSettings, QuantizerSettings
from weft.errors import UnsupportedError
from weft.quantize import quantizers
from weft.quantize.activations import activation_layer
from weft.quantize.calibrate import calibrate
from weft.quantize.plain import plain

pytestmark = pytest.mark.backends

X = np.random.default_rng(0).normal(0, 2, (1000, 3)).astype("f")


def network(numbers, its):
    keras.utils.set_random_seed(0)

    def dense(units, settings, name):
        return hgq.layers.QDense(
            units,
            kq_conf=quantizers.weight(numbers, its),
            bq_conf=quantizers.bias(numbers, its),
            iq_conf=quantizers.activation(numbers, settings),
            beta0=quantizers.beta(numbers),
            name=name,
        )

    multiplied = activation_layer("relu", numbers, LayerSettings(multiplier=True), "act")
    layers = [dense(6, quantizers.NONE, "one"), multiplied, dense(4, its, "two")]
    model = keras.Sequential([keras.Input((3,)), *layers, activation_layer("softmax", numbers, name="softmax")])
    multiplied.exponent.assign(-1.7)
    return model


@pytest.mark.parametrize(
    ("numbers", "its"),
    [
        (HgqNumbers(bits0=5), QuantizerSettings(round_mode="S_RND", overflow_mode="SAT")),
        (FixedNumbers(total_bits=6), QuantizerSettings(integer_bits=1, overflow_mode="WRAP")),
    ],
    ids=["hgq", "fixed"],
)
def test_the_plain_model_is_free_of_weft_and_computes_the_same(numbers, its):
    model = network(numbers, its)
    calibrate(model, X)
    free = plain(model)
    assert "weft" in model.to_json() and "weft" not in free.to_json()
    x = 2 * X
    expected = model.predict(x, batch_size=len(x), verbose=0)
    np.testing.assert_array_equal(free.predict(x, batch_size=len(x), verbose=0), expected)
    np.testing.assert_array_equal(AdderGraph.from_model(free).predict(x), expected)


def test_the_layer_that_cannot_be_plain_is_named():
    model = network(FixedNumbers(), QuantizerSettings(overflow_mode="WRAP_SM", integer_bits=2))
    with pytest.raises(UnsupportedError, match="weight quantiser with overflow_mode WRAP_SM") as caught:
        plain(model)
    assert caught.value.__notes__[0] == "in layer 'one'"


def test_pure_operations_between_layers_stay():
    dense = lambda units: hgq.layers.QDense(units, iq_conf=quantizers.activation(FixedNumbers(), quantizers.NONE))  # noqa: E731
    inputs = keras.Input((3,))
    model = keras.Model(inputs, dense(2)(dense(4)(inputs)[:, 1:3]))
    calibrate(model, X)
    np.testing.assert_array_equal(plain(model).predict(X, verbose=0), model.predict(X, verbose=0))

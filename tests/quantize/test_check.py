"""What is not quantised is found, and quantisers are put where they are missing."""

from __future__ import annotations

import hgq.layers as hgq
import keras
import numpy as np
import pytest
from hgq.quantizer import Quantizer, QuantizerConfig
from keras import layers as L
from keras import ops

from tests.quantize.networks import FAMILIES, assert_equal_outputs, outputs, randomized, rows
from weft.config.numbers import FixedNumbers, FloatNumbers, HgqNumbers, LayerSettings, QuantizerSettings
from weft.quantize.calibrate import calibrate
from weft.quantize.check import Finding, check, insert_quantizers
from weft.quantize.convert import convert

pytestmark = pytest.mark.backends


def found(model: keras.Model) -> list[tuple[str, str]]:
    return [(finding.place, finding.kind) for finding in check(model)]


def model_of(make) -> keras.Model:
    inputs = keras.Input((4,), name="x")
    return randomized(keras.Model(inputs, make(inputs), name="checked"))


def test_a_float_model_is_found_layer_by_layer():
    model = model_of(lambda x: L.Softmax(name="s")(L.BatchNormalization(name="b")(L.Dense(3, name="d")(x))))
    assert check(model)[:2] == [
        Finding("d", "layer", "Dense computes with float weights; use weft's convert"),
        Finding("b", "layer", "BatchNormalization computes with float weights; use weft's convert"),
    ]
    assert found(model) == [("d", "layer"), ("b", "layer"), ("s", "layer"), ("s", "output")]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__)
def test_a_converted_model_has_nothing_left(family):
    assert check(convert(family(), HgqNumbers())) == []


def test_quantisers_that_change_nothing_do_not_count():
    assert found(convert(model_of(L.Dense(3, name="d")), FloatNumbers())) == [("d", "layer"), ("d", "output")]


def test_sums_need_a_format_and_products_a_short_one():
    def make(x):
        one, two = hgq.QDense(3, name="one")(x), hgq.QDense(3, name="two")(x)
        total = one + two  # exact
        product = ops.multiply(one, two)  # of two wide sums
        return [total, product, ops.maximum(x, 0.5), L.Add(name="raw")([x, x])]

    model = model_of(make)
    names = [call for call, kind in found(model)]
    assert names[-1] == "raw" or "raw" in names
    kinds = {place.split("_")[0]: kind for place, kind in found(model)}
    assert kinds == {"multiply": "input", "maximum": "input", "raw": "input"}
    messages = " ".join(finding.message for finding in check(model))
    assert "Multiply reads its operand 0 not quantised" in messages
    assert "Maximum reads its operand 0 in float" in messages


def test_a_table_needs_a_quantiser_before_it_and_behind_it():
    def make(x):
        wide = L.Activation("tanh", name="wide")(hgq.QDense(3, name="dense")(x))
        short = L.Activation("tanh", name="short")(Quantizer(QuantizerConfig(), name="q")(x))
        return [wide, hgq.QDense(2, name="reader")(L.Flatten(name="moved")(short))]

    assert found(model_of(make)) == [("wide", "input"), ("wide", "output")]


def test_nested_models_are_looked_into():
    inner = keras.Sequential([keras.Input((4,)), L.ReLU(name="relu"), L.Dense(3, name="dense")], name="inner")
    assert found(model_of(inner)) == [("inner/relu", "input"), ("inner/dense", "layer"), ("inner", "output")]


@pytest.mark.parametrize("numbers", [FixedNumbers(total_bits=20, io_bits=20), HgqNumbers()])
def test_missing_quantisers_are_inserted_and_outputs_stay(numbers):
    shared = L.Activation("tanh", name="shared")

    def make(x):
        one, two = hgq.QDense(3, name="one")(x), hgq.QDense(3, name="two")(L.ReLU(name="relu")(x))
        nested = keras.Sequential([keras.Input((3,)), L.Activation("sigmoid", name="gate")], name="nested")
        return [shared(one) * shared(two), L.Identity(name="end")(nested(one))]

    model = model_of(make)
    fixed = insert_quantizers(model, numbers)
    assert check(fixed) == []
    x = rows(model)
    calibrate(model, x)
    kept = [v for v in fixed.variables if "_input" not in v.path and "output" not in v.path]
    for mine, theirs in zip(model.variables, kept, strict=True):
        theirs.assign(ops.convert_to_numpy(mine))
    calibrate(fixed, x)
    if numbers.mode == "fixed":
        assert_equal_outputs(model, fixed, x, 1e-3)
    kinds = {
        one.config.q_type for one in fixed._flatten_layers() if isinstance(one, Quantizer) and "_input" in one.name
    }
    assert kinds == {"kif" if numbers.mode == "hgq" else "kbi"}
    trained = [v for v in fixed.trainable_variables if "relu_input" in v.path]
    assert bool(trained) == (numbers.mode == "hgq")


def test_settings_choose_the_width_of_what_is_inserted():
    model = model_of(L.ReLU(name="relu"))
    fixed = insert_quantizers(model, FixedNumbers(), {"relu": LayerSettings(input=QuantizerSettings(bits=5))})
    assert next(one for one in fixed.layers if one.name == "relu_input").config["b0"] == 4
    assert np.shape(outputs(fixed, rows(model))[0]) == (5, 4)

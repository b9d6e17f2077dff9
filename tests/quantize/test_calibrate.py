"""Calibration: every range and sign from all rows, as HGQ2 traces them, on every backend."""

from __future__ import annotations

import itertools

import hgq.layers
import keras
import numpy as np
import pytest
from hgq.utils import trace_minmax
from keras import ops

from weft.config.numbers import FixedNumbers, HgqNumbers, QuantizerSettings
from weft.errors import ConfigError, DataError, ShapeError
from weft.quantize import calibrate as module
from weft.quantize import quantizers
from weft.quantize.calibrate import calibrate
from weft.quantize.ptq import quantize_after_training

pytestmark = pytest.mark.backends

SATURATES = QuantizerSettings(overflow_mode="SAT")
ROWS = np.random.default_rng(0).normal(0.5, 2, (700, 4)).astype("f")


def dense(units, numbers, name, settings=quantizers.NONE, **kwargs):
    return hgq.layers.QDense(
        units,
        kq_conf=quantizers.weight(numbers),
        bq_conf=quantizers.bias(numbers),
        iq_conf=quantizers.activation(numbers, settings),
        beta0=quantizers.beta(numbers),
        name=name,
        **kwargs,
    )


def network(numbers, settings=quantizers.NONE):
    keras.utils.set_random_seed(1)
    layers = [dense(6, numbers, "one", settings, activation="relu"), dense(3, numbers, "two", settings)]
    return keras.Sequential([keras.Input((4,)), *layers])


def values(model):
    return {v.path: ops.convert_to_numpy(v).copy() for v in model.variables}


@pytest.mark.parametrize("numbers", [HgqNumbers(bits0=5), FixedNumbers()], ids=["hgq", "fixed"])
def test_one_batch_gives_what_hgq2_traces(numbers):
    ours, theirs = network(numbers), network(numbers)
    calibrate(ours, ROWS)
    trace_minmax(theirs, ROWS, batch_size=len(ROWS))
    for one, two in zip(values(ours).values(), values(theirs).values(), strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("numbers", [HgqNumbers(bits0=5), FixedNumbers()], ids=["hgq", "fixed"])
@pytest.mark.parametrize("settings", [quantizers.NONE, SATURATES], ids=["wrap", "sat"])
def test_no_calibrated_row_overflows_in_any_batch(numbers, settings, monkeypatch):
    monkeypatch.setattr(module, "_ROWS", 64)
    rows = ROWS * np.linspace(0.1, 20, len(ROWS))[:, None].astype("f")
    model = network(numbers, settings)
    calibrate(model, rows)
    x = rows
    for layer in model.layers:
        read = ops.convert_to_numpy(layer.iq(x))
        step = 2.0 ** -np.broadcast_to(ops.convert_to_numpy(layer.iq.quantizer.f), (1, x.shape[1]))
        assert (np.abs(read - x) <= step / 2).all(), layer.name
        x = ops.convert_to_numpy(layer(x))


def test_the_sign_goes_only_where_no_negative_value_was_seen():
    rows = np.abs(ROWS)
    rows[3, 1] = -0.5
    model = network(HgqNumbers(bits0=6))
    calibrate(model, rows)
    assert ops.convert_to_numpy(model.layers[0].iq.quantizer.k).ravel().tolist() == [0, 1, 0, 0]
    assert ops.convert_to_numpy(model.layers[1].iq.quantizer.k).ravel().tolist() == [0] * 6


def test_old_ranges_are_forgotten_and_weights_and_widths_stay():
    model = network(HgqNumbers(bits0=5), SATURATES)
    calibrate(model, 1000 * ROWS)
    before = values(model)
    calibrate(model, ROWS)
    after = values(model)
    kept = [path for path in before if path.rsplit("/", 1)[-1] in ("kernel", "f", "b", "beta", "i_decay_speed")]
    assert len(kept) > 8
    for path in kept:
        np.testing.assert_array_equal(before[path], after[path], err_msg=path)
    assert float(ops.max(model.layers[0].iq.quantizer.i)) < 5


def test_given_ranges_are_left_alone():
    model = network(FixedNumbers(integer_bits=3))
    before = [ops.convert_to_numpy(layer.iq.quantizer.i) for layer in model.layers]
    calibrate(model, 1000 * ROWS)
    for layer, i in zip(model.layers, before, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(layer.iq.quantizer.i), i)


def two_inputs():
    numbers = HgqNumbers(bits0=5)
    inputs = {"a": keras.Input((4,), name="a"), "b": keras.Input((2,), name="b")}
    x = keras.layers.Concatenate()([dense(3, numbers, "one")(inputs["a"]), inputs["b"]])
    return keras.Model(inputs, dense(2, numbers, "two")(x))


def test_a_model_with_several_inputs_takes_one_array_each():
    model = two_inputs()
    calibrate(model, {"a": ROWS, "b": 100 * ROWS[:, :2]})
    assert ops.convert_to_numpy(model.get_layer("two").iq.quantizer.i).ravel()[3:].min() > 6


def test_bad_rows_are_refused():
    with pytest.raises(DataError, match="calibration needs at least one row, and got none"):
        calibrate(network(FixedNumbers()), ROWS[:0])
    with pytest.raises(DataError, match=r"calibration: the rows are no array of numbers \(.*\); give a NumPy array"):
        calibrate(network(FixedNumbers()), [[1.0, 2.0], [3.0]])
    with pytest.raises(ShapeError, match="as many rows of every input; got 3, 700"):
        calibrate(two_inputs(), {"a": ROWS, "b": ROWS[:3, :2]})


# Quantisation after training.


def float_model():
    keras.utils.set_random_seed(1)
    layers = [keras.layers.Dense(6, activation="relu"), keras.layers.BatchNormalization(), keras.layers.Dense(3)]
    model = keras.Sequential([keras.Input((4,)), *layers])
    model(ROWS, training=True)
    model.layers[0].bias.assign([3.0, -0.001, 0.2, 0, -2, 0.7])
    return model


def test_quantisation_after_training_comes_nearer_with_every_bit_and_leaves_the_model_alone():
    model = float_model()
    expected, before = ops.convert_to_numpy(model(ROWS)), values(model)
    errors = []
    for bits in (4, 8, 12, 16):
        quantized = quantize_after_training(model, ROWS, FixedNumbers(total_bits=bits))
        errors.append(float(np.abs(ops.convert_to_numpy(quantized(ROWS)) - expected).max() / np.abs(expected).max()))
    assert all(fine < coarse / 5 for coarse, fine in itertools.pairwise(errors))
    assert errors[-1] < 1e-3
    for path, value in values(model).items():
        np.testing.assert_array_equal(value, before[path])


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_no_bit_is_wasted_on_the_magnitude_of_the_data(scale):
    model = float_model()
    rows = ROWS * np.float32(scale)
    model.layers[0].kernel.assign(ops.convert_to_numpy(model.layers[0].kernel) / scale)
    quantized = quantize_after_training(model, rows, FixedNumbers(total_bits=10, io_bits=10))
    expected = ops.convert_to_numpy(model(rows))
    np.testing.assert_allclose(
        ops.convert_to_numpy(quantized(rows)), expected, rtol=0, atol=0.02 * np.abs(expected).max()
    )


def test_widths_that_are_learned_need_training():
    with pytest.raises(
        ConfigError, match=r"cannot quantise after training with numbers of mode 'hgq', .* FixedNumbers"
    ):
        quantize_after_training(float_model(), ROWS, HgqNumbers())


def normalised(numbers, settings):
    keras.utils.set_random_seed(1)
    inputs = keras.Input((4,))
    x = keras.layers.BatchNormalization(name="norm")(dense(6, numbers, "one", settings)(inputs))
    x = keras.layers.Dropout(0.5)(keras.layers.ReLU()(x))
    return keras.Model(inputs, dense(3, numbers, "two", settings, activation="tanh")(x))


@pytest.mark.parametrize("numbers", [HgqNumbers(bits0=5), FixedNumbers()], ids=["hgq", "fixed"])
@pytest.mark.parametrize("settings", [quantizers.NONE, SATURATES], ids=["wrap", "sat"])
def test_interpreted_it_finds_what_it_finds_compiled_for_other_weights_too(numbers, settings):
    ours, theirs = normalised(numbers, settings), normalised(numbers, settings)
    trace, rng = module.interpreted(ours), np.random.default_rng(3)
    for rows in (ROWS, ROWS * 4, ROWS[:300]):
        for one, two in zip(ours.trainable_variables, theirs.trainable_variables, strict=True):
            if one.path.endswith(("kernel", "bias")):
                one.assign(rng.normal(0, 1, one.shape))
                two.assign(one)
        calibrate(ours, rows, trace)
        calibrate(theirs, rows)
        for (path, one), two in zip(values(ours).items(), values(theirs).values(), strict=True):
            np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-5, err_msg=path)


def test_a_network_that_numpy_has_no_form_of_is_traced_by_keras():
    def convolution():
        keras.utils.set_random_seed(1)
        numbers = HgqNumbers(bits0=5)
        layer = hgq.layers.QConv1D(
            3,
            2,
            kq_conf=quantizers.weight(numbers),
            bq_conf=quantizers.bias(numbers),
            iq_conf=quantizers.activation(numbers),
        )
        return keras.Sequential([keras.Input((4, 1)), layer])

    ours, theirs = convolution(), convolution()
    calibrate(ours, ROWS[..., None], module.interpreted(ours))
    calibrate(theirs, ROWS[..., None])
    for one, two in zip(values(ours).values(), values(theirs).values(), strict=True):
        np.testing.assert_array_equal(one, two)

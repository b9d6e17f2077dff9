"""Convolutions with the batch normalisation behind them in one layer: before training, in it, and as hardware."""

from __future__ import annotations

import hgq.layers as hgq
import keras
import numpy as np
import pytest
from keras import layers as L
from keras import ops

from tests.quantize.networks import assert_equal_outputs, outputs, randomized, rows
from weft.adder_graph import AdderGraph
from weft.compression.finalize import assign, variables_of
from weft.config.numbers import FixedNumbers, FloatNumbers, HgqNumbers
from weft.prune import method_of
from weft.quantize.calibrate import calibrate
from weft.quantize.convert import convert
from weft.quantize.kernels import kernels
from weft.quantize.normalized import QConv1DBatchnorm, QConv2DBatchnorm, QConv3DBatchnorm
from weft.quantize.observe import observe

pytestmark = pytest.mark.backends

FLOAT = FloatNumbers()
LAYERS = {
    "conv": ((5, 5, 2), lambda: L.Conv2D(4, 3, strides=2, name="layer")),
    "groups": ((4, 4, 2), lambda: L.Conv2D(4, 3, groups=2, use_bias=False, name="layer")),
    "depthwise": ((4, 4, 2), lambda: L.DepthwiseConv2D(2, depth_multiplier=2, name="layer")),
    "separable": ((4, 4, 2), lambda: L.SeparableConv2D(4, 2, name="layer")),
    "causal": ((4, 2), lambda: L.Conv1D(3, 2, padding="causal", name="layer")),
    "volume": ((3, 3, 3, 2), lambda: L.Conv3D(3, 2, padding="same", name="layer")),
}
KINDS = {2: QConv1DBatchnorm, 3: QConv2DBatchnorm, 4: QConv3DBatchnorm}


def network(case: str, **norm) -> keras.Model:
    shape, layer = LAYERS[case]
    inputs = keras.Input(shape)
    x = L.ReLU(name="rectified")(L.BatchNormalization(name="norm", **norm)(layer()(inputs)))
    return randomized(keras.Model(inputs, L.Dense(2, name="last")(L.Flatten(name="flat")(x))))


NORMS = [{}, {"scale": False}, {"center": False, "epsilon": 0.1}]


@pytest.mark.parametrize(("case", "norm"), [(case, NORMS[n % 3]) for n, case in enumerate(LAYERS)])
def test_a_normalisation_becomes_part_of_a_convolution_of_any_kind(case, norm):
    model = network(case, **norm)
    converted = convert(model, FLOAT)
    fused = converted.get_layer("layer")
    assert type(fused) is KINDS[len(LAYERS[case][0])]
    assert "norm" not in {layer.name for layer in converted.layers}
    assert_equal_outputs(model, converted, rows(model), 1e-6)


def test_channels_may_come_first():
    inputs = keras.Input((2, 5, 5))
    x = L.Conv2D(3, 2, data_format="channels_first", name="layer")(inputs)
    model = randomized(keras.Model(inputs, L.BatchNormalization(axis=1, name="norm")(x)))
    assert_equal_outputs(model, convert(model, FLOAT), rows(model), 1e-6)


@pytest.mark.parametrize("case", ["groups", "causal"])
def test_training_moves_weights_and_statistics_as_keras_does(case):
    model = network(case)
    converted = convert(model, FLOAT)
    x = rows(model, 32)
    for one in (model, converted):
        one.compile(keras.optimizers.SGD(0.05), "mse")
        one.fit(x, np.ones((32, 2), "f"), batch_size=16, shuffle=False, epochs=2, verbose=0)
    assert_equal_outputs(model, converted, x, 2e-5)
    norm, fused = model.get_layer("norm"), converted.get_layer("layer")
    np.testing.assert_allclose(*(ops.convert_to_numpy(one.moving_variance) for one in (norm, fused)), rtol=1e-4)


def test_an_offset_or_scale_that_the_normalisation_does_not_have_is_not_learned():
    fused = convert(network("conv", center=False, scale=False), HgqNumbers()).get_layer("layer")
    names = {variable.name for variable in fused.trainable_variables}
    assert not names & {"bias", "gamma"}


def test_what_is_quantised_is_what_hardware_multiplies_with():
    model = network("conv")
    converted = convert(model, FixedNumbers(total_bits=6))
    calibrate(converted, rows(model, 50))
    conv, norm = model.get_layer("layer"), model.get_layer("norm")
    gamma, variance = (ops.convert_to_numpy(one) for one in (norm.gamma, norm.moving_variance))
    kernel = ops.convert_to_numpy(conv.kernel) * (gamma / np.sqrt(variance + norm.epsilon))
    step = 2.0 ** (np.ceil(np.log2(np.abs(kernel).max())) - 5)
    found = ops.convert_to_numpy(converted.get_layer("layer").qkernel)
    np.testing.assert_allclose(found, np.floor(kernel / step + 0.5) * step, rtol=1e-6)


def hgq2s(layer: keras.Layer) -> keras.Layer:
    return layer.plain() if hasattr(layer, "plain") else type(layer).from_config(layer.get_config())


@pytest.mark.parametrize("case", ["groups", "causal"])
def test_hgq2s_convolution_with_its_numbers_is_the_same_and_becomes_an_adder_graph(case):
    model = network(case)
    converted = convert(model, FixedNumbers(total_bits=5, io_bits=6))
    x = rows(model, 100)
    calibrate(converted, x)
    free = keras.models.clone_model(converted, clone_function=hgq2s)
    assign(free, variables_of(converted))
    for mine, other in zip(kernels(free), kernels(converted), strict=True):
        mine.variable.assign(other.quantized())
        if mine.layer.bias is not None:
            mine.layer.bias.assign(ops.convert_to_numpy(other.layer.qbias))
    assert not any(type(layer).__module__.startswith("weft") for layer in free.layers)
    expected = outputs(converted, 2 * x)[0]
    np.testing.assert_array_equal(outputs(free, 2 * x)[0], expected)
    np.testing.assert_array_equal(AdderGraph.from_model(free).predict(2 * x), expected)


def test_it_is_saved_with_its_method_and_read_with_the_same_outputs(tmp_path):
    model = network("conv", gamma_regularizer="l2", gamma_constraint="non_neg")
    converted = convert(model, HgqNumbers(), method=method_of("mdmm")(metric="structured"))
    observe(converted)
    x = rows(model)
    converted.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(*(outputs(one, x)[0] for one in (converted, again)))
    config = again.get_layer("layer").get_config()
    found = [config[f"gamma_{name}"]["class_name"] for name in ("regularizer", "constraint")]
    assert found == ["L2", "NonNeg"]


@pytest.mark.parametrize(
    "call",
    [
        lambda x: L.BatchNormalization(axis=1, name="norm")(x),
        lambda x: L.BatchNormalization(name="norm")(x, training=False),
        lambda x: L.BatchNormalization(name="norm")(L.ReLU()(x)),
    ],
    ids=["other axis", "one mode for good", "behind a function"],
)
def test_a_normalisation_that_is_not_the_layers_own_stays_a_layer(call):
    inputs = keras.Input((4, 4, 2))
    model = randomized(keras.Model(inputs, call(L.Conv2D(4, 1, name="layer")(inputs))))
    converted = convert(model, FLOAT)
    assert type(converted.get_layer("norm")) is hgq.QBatchNormalization
    assert_equal_outputs(model, converted, rows(model))

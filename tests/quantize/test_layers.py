"""Layers written by hand: the arguments of Keras' layers, with Keras' defaults, and quantisers."""

from __future__ import annotations

import inspect

import hgq.layers as hgq
import keras
import numpy as np
import pytest
from keras import layers as L
from keras import ops

from tests.quantize.networks import assert_equal_outputs, outputs, randomized, rows
from weft import layers
from weft.config.numbers import FixedNumbers, FloatNumbers, QuantizerSettings
from weft.errors import ConfigError
from weft.prune import method_of
from weft.quantize.calibrate import calibrate
from weft.quantize.check import check
from weft.quantize.pruned import PrunedConfig

pytestmark = pytest.mark.backends

MADE = [name for name in layers.__all__ if name != "defaults"]


@pytest.mark.parametrize("name", MADE)
def test_each_takes_the_arguments_of_its_counterpart_with_its_defaults(name):
    mine = inspect.signature(getattr(layers, name)).parameters
    for parameter in list(inspect.signature(getattr(L, name[1:]).__init__).parameters.values())[1:]:
        assert mine[parameter.name].default == parameter.default
    assert {"weight", "bias", "input", "output", "table", "numbers", "prune"} <= set(mine)
    assert getattr(layers, name).__doc__.startswith(f"Return a quantised `keras.layers.{name[1:]}`")


def by_hand(kind) -> keras.Model:
    """A model of layers that `kind` makes from the name of a Keras layer."""
    image, series = keras.Input((6, 6, 2), name="image"), keras.Input((4, 3), name="series")
    x = kind("Conv2D", 4, 3, activation="relu", name="conv")(image)
    x = kind("DepthwiseConv2D", 2, depth_multiplier=2, name="depthwise")(x)
    x = kind("BatchNormalization", name="norm")(x)
    x = kind("SeparableConv2D", 3, 2, activation="sigmoid", name="separable")(x)
    x = kind("GlobalAveragePooling2D", name="pool")(x)
    y = kind("MultiHeadAttention", 2, 3, name="attention")(series, series)
    y = kind("EinsumDense", "abc,cd->abd", (4, 3), bias_axes="d", name="einsum")(y)
    y = kind("GRU", 3, name="gru")(kind("Conv1D", 3, 2, padding="causal", name="causal")(y))
    x = kind("Dense", 4, use_bias=False, activation="tanh", name="dense")(kind("Add", name="add")([x, y]))
    return keras.Model([image, series], kind("Softmax", name="softmax")(x), name="hand")


def quantized(kind: str, *args, **kwargs):
    return getattr(layers, f"Q{kind}")(*args, **kwargs)


def plain(kind: str, *args, **kwargs):
    return getattr(L, kind)(*args, **kwargs)


@pytest.mark.slow
def test_a_model_written_by_hand_computes_what_the_keras_model_does(tmp_path):
    reference = randomized(by_hand(plain))
    x = rows(reference)
    for numbers, tolerance in ((FloatNumbers(), 1e-5), (FixedNumbers(total_bits=22), 1e-3)):
        with layers.defaults(numbers=numbers):
            model = by_hand(quantized)
        take_weights(reference, model)
        calibrate(model, x)
        assert_equal_outputs(reference, model, x, tolerance)
    assert [finding.kind for finding in check(model)] == []
    model.save(tmp_path / "hand.keras")
    again = keras.models.load_model(tmp_path / "hand.keras")
    np.testing.assert_array_equal(outputs(model, x)[0], outputs(again, x)[0])


def take_weights(one: keras.Model, other: keras.Model) -> None:
    """Give a model the weights of another by the order of those that both have."""
    mine = {v.path.replace("gru_cell", "qgru_cell"): v for v in one.weights if not v.path.endswith("key/bias")}
    theirs = {v.path: v for v in other.weights}
    renamed = {"norm/gamma": "norm/bn_gamma", "norm/beta": "norm/bn_beta"}
    renamed |= {"separable/depthwise_kernel": "separable/separable_depthwise/kernel"}
    renamed |= {f"separable/{new}": f"separable/separable/{old}" for new, old in
                (("pointwise_kernel", "kernel"), ("bias", "bias"))}  # fmt: skip
    renamed |= {
        f"{name}/{part}": f"{name}/{name}/{part}" for name in ("causal", "dense") for part in ("kernel", "bias")
    }
    for path, variable in mine.items():
        target = theirs[renamed.get(path, path)]
        target.assign(np.reshape(ops.convert_to_numpy(variable), target.shape))


def test_the_bias_is_there_by_default_as_in_keras():
    for made in (layers.QDense(3), layers.QConv2D(3, 2), layers.QDepthwiseConv2D(2)):
        assert made.use_bias
    assert not layers.QDense(3, use_bias=False).use_bias


def test_quantisers_are_given_as_settings_or_mappings():
    made = layers.QDense(
        3,
        weight={"bits": 5},
        bias=QuantizerSettings(bits=7),
        input={"bits": 4, "signed": False},
        output={"bits": 9},
        numbers={"mode": "fixed"},
    )
    assert isinstance(made, hgq.QDense)
    found = {"kq": made.kq, "bq": made.bq, "iq": made.iq, "oq": made.oq}
    assert {name: one.config["b0"] for name, one in found.items()} == {"kq": 4, "bq": 6, "iq": 4, "oq": 8}
    assert not made.iq.config["k0"]


def test_a_method_is_given_by_name_mapping_or_object():
    dst = method_of("dst")
    for given in ("dst", {"method": "dst", "alpha": 5e-6}, dst()):
        found = layers.QConv2D(3, 2, prune=given).kq.config
        assert isinstance(found, PrunedConfig) and found.method == dst() and found.n_taps == 2
    with layers.defaults(prune="dst"):
        assert isinstance(layers.QDense(3).kq.config, PrunedConfig)
        assert not isinstance(layers.QDense(3, prune=False).kq.config, PrunedConfig)
        assert not isinstance(layers.QBatchNormalization().kq.config, PrunedConfig)
    assert not isinstance(layers.QDense(3).kq.config, PrunedConfig)


def test_defaults_hold_inside_their_context_only():
    with layers.defaults(numbers=FixedNumbers(total_bits=5)):
        with layers.defaults(numbers={"mode": "fixed", "total_bits": 3}):
            inner = layers.QDense(2)
        outer = layers.QDense(2)
    assert (inner.kq.config["b0"], outer.kq.config["b0"], layers.QDense(2).kq.config["b0"]) == (2, 4, 8)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: layers.QMaxPooling2D(2, weight={"bits": 3}), "QMaxPooling2D has no weight to quantise or prune"),
        (lambda: layers.QAdd(prune="dst"), "QAdd has no prune to quantise or prune; it has input, output"),
        (lambda: layers.QDense(3, weight={"bit": 3}), "QDense cannot be quantised so: weight.bit unknown key; did"),
        (lambda: layers.QDense(3, prune="dts"), "prune='dts' is not valid: there is no pruning method 'dts'"),
        (lambda: layers.QDense(3, prune={"alpha": 1.0}), "names no method; give it as method"),
        (lambda: layers.QDense(3, prune={"method": "dst", "alfa": 1.0}), "is not valid: alfa unknown key; did you"),
        (lambda: layers.QDense(3, lora_rank=2), "QDense has no lora_rank: its kernel would be a sum of two"),
        (lambda: layers.QDense(3, numbers={"mode": "fixt"}), "numbers={'mode': 'fixt'} are not valid: Input tag"),
    ],
)
def test_what_is_wrong_is_named(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_an_argument_that_keras_does_not_know_is_refused_by_keras():
    with pytest.raises(ValueError, match="wieght"):
        layers.QDense(3, wieght={"bits": 3})


@pytest.mark.parametrize(("kind", "shape"), [("DepthwiseConv1D", (5, 3)), ("DepthwiseConv2D", (5, 4, 3))])
@pytest.mark.parametrize("first", [False, True])
def test_a_depthwise_layer_counts_bits_as_a_convolution_in_groups_does(kind, shape, first, tmp_path):
    if first and keras.backend.backend() == "tensorflow":
        pytest.skip("TensorFlow has no convolution with channels first on a processor")
    data_format = "channels_first" if first else "channels_last"
    made = getattr(layers, f"Q{kind}")(
        2, depth_multiplier=2, data_format=data_format, numbers=FixedNumbers(total_bits=6), name="depthwise"
    )
    inputs = keras.Input(shape[::-1] if first else shape)
    model = randomized(keras.Model(inputs, made(inputs)))
    calibrate(model, rows(model))
    assert made.kernel.shape[-2:] == (1, 6)
    model.save(tmp_path / "depthwise.keras")
    again = keras.models.load_model(tmp_path / "depthwise.keras")
    np.testing.assert_array_equal(outputs(model, rows(model))[0], outputs(again, rows(model))[0])
    simple = made.plain()
    assert type(simple) in (hgq.QConv1D, hgq.QConv2D) and simple.groups == 3
    twin = keras.Model(inputs, simple(inputs))
    for mine, theirs in zip(made.variables, simple.variables, strict=True):
        assert mine.path.split("/")[-1] == theirs.path.split("/")[-1]
        theirs.assign(ops.convert_to_numpy(mine))
    np.testing.assert_array_equal(outputs(model, rows(model))[0], outputs(twin, rows(model))[0])
    shape = (1, *inputs.shape[1:])
    assert float(ops.convert_to_numpy(made._compute_ebops(shape))) == float(
        ops.convert_to_numpy(simple._compute_ebops(shape))
    )
    bits, kernel = (
        np.array(ops.convert_to_numpy(one)) for one in (made.iq.bits_(shape), made.kq.bits_(made.kernel.shape))
    )
    positions = int(np.prod(simple.compute_output_shape(inputs.shape)[1:])) // 6
    products = positions * kernel.sum() * bits.ravel()[0]
    biases = 5 * np.prod(shape[1:]) // shape[-1] * 6
    if not first:
        assert float(ops.convert_to_numpy(made._compute_ebops(shape))) == products + biases


@pytest.mark.parametrize("prune", [True, 3, ["dst"], {"method": 3}])
def test_a_pruning_method_that_is_none_is_refused(prune):
    with pytest.raises(ConfigError, match=r"prune must be a method, its name, or a mapping|no pruning method '3'"):
        keras.Sequential([keras.Input((3,)), layers.QDense(2, prune=prune)])

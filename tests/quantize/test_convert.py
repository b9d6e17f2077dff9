"""Conversion: the same graph, the same names and the same outputs, and an error for what cannot be replaced."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import hgq.layers as hgq
import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers as L
from keras import ops

from tests.quantize.networks import (
    FAMILIES,
    assert_equal_outputs,
    functions,
    outputs,
    randomized,
    rows,
    sequences,
    vision,
    volumes,
)
from weft.config.numbers import FixedNumbers, FloatNumbers, HgqNumbers, LayerSettings, QuantizerSettings
from weft.errors import ConfigError, NoEffectWarning, ShapeError, UnsupportedError
from weft.prune import method_of
from weft.quantize.calibrate import calibrate
from weft.quantize.check import check
from weft.quantize.convert import convert
from weft.quantize.graph import calls, walk
from weft.quantize.operations import is_quantized
from weft.quantize.pruned import MaskedConfig, PrunedConfig

pytestmark = pytest.mark.backends

FLOAT, WIDE = FloatNumbers(), FixedNumbers(total_bits=22, io_bits=22)
DST = method_of("dst")()


def dear(*some):
    """Return all families; these are slow tests, since each of their layers is compiled anew."""
    return [pytest.param(family, marks=pytest.mark.slow) if family in some else family for family in FAMILIES]


def layer(model: keras.Model, name: str):
    return next(one for one in model._flatten_layers() if one.name == name)


def dense_network(**kwargs) -> keras.Model:
    inputs = keras.Input((4,), name="x")
    x = L.Dense(5, name="first", **kwargs)(inputs)
    return randomized(keras.Model(inputs, L.Dense(2, name="last")(x), name="small"))


steps = st.lists(
    st.tuples(
        st.sampled_from(
            ["dense", "tanh", "norm", "dense_norm", "add", "plus", "times", "join", "shared", "nested", "stack", "drop"]
        ),
        st.integers(0, 99),
        st.integers(0, 99),
    ),
    min_size=2,
    max_size=7,
)


def random_graph(program: list[tuple[str, int, int]], n_inputs: int, n_outputs: int) -> keras.Model:
    """Build the graph that a list of steps describes; all tensors hold four values a row."""
    inputs = [keras.Input((4,), name=f"input{i}") for i in range(n_inputs)]
    known, shared = list(inputs), L.Dense(4, activation="relu", name="shared")
    inside = keras.Input((4,), name="inside")
    nested = keras.Model(inside, shared(L.Dense(4, activation="tanh", name="deep")(inside)) + inside, name="nested")
    stack = keras.Sequential(
        [keras.Input((4,)), L.Dense(4, name="low"), L.BatchNormalization(), L.ReLU()], name="stack"
    )
    for i, (word, one, two) in enumerate(program):
        a, b, name = known[one % len(known)], known[two % len(known)], f"{word}{i}"
        match word:
            case "dense":
                made = L.Dense(4, activation="sigmoid", use_bias=False, name=name)(a)
            case "tanh":
                made = L.Activation("tanh", name=name)(a)
            case "norm":
                made = L.BatchNormalization(name=name)(a)
            case "dense_norm":
                made = L.BatchNormalization(scale=one % 2 == 0, name=name)(L.Dense(4, name=f"{name}_dense")(a))
            case "add":
                made = L.Add(name=name)([a, b])
            case "plus":
                made = a + b
            case "times":
                made = L.Multiply(name=name)([a, L.Activation("sigmoid", name=f"{name}_gate")(b)])
            case "join":
                made = L.Dense(4, name=f"{name}_dense")(L.Concatenate(name=name)([a, b]))
            case "shared":
                made = shared(a)
            case "nested":
                made = nested(a)
            case "stack":
                made = stack(a)
            case "drop":
                made = L.Dropout(0.3, name=name)(a)
        known.append(made)
    ends = [L.Identity(name=f"output{i}")(x) for i, x in enumerate(known[n_inputs:][-n_outputs:])]
    return randomized(keras.Model(inputs[0] if n_inputs == 1 else inputs, ends, name="random"))


def image_steps() -> dict[str, Callable[[str, Any, Any], Any]]:
    """Return what can be done to images of (4, 4, 2) so that they stay such: a name and two images to another."""
    shared = L.Conv2D(2, 3, padding="same", activation="relu", name="shared")
    inside = keras.Input((4, 4, 2), name="inside")
    deep = L.BatchNormalization(name="deep_norm")(L.Conv2D(2, 1, name="deep")(inside))
    nested = keras.Model(inside, L.Add(name="deep_sum")([L.LeakyReLU(0.25)(deep), shared(inside)]), name="nested")

    def same(kind: Any, *args: Any, **kwargs: Any) -> Callable[[str, Any, Any], Any]:
        return lambda name, a, b: kind(*args, **kwargs, padding="same", name=name)(a)

    return {
        "conv": same(L.Conv2D, 2, 3, activation="tanh"),
        "depthwise": same(L.DepthwiseConv2D, 2, use_bias=False),
        "separable": same(L.SeparableConv2D, 2, 2, depth_multiplier=2),
        "dilated": same(L.Conv2D, 2, 2, dilation_rate=2, activation="relu"),
        "normed": lambda name, a, b: L.BatchNormalization(name=name)(L.Conv2D(2, 1, name=f"{name}_conv")(a)),
        "norm": lambda name, a, b: L.BatchNormalization(name=name)(a),
        "largest": same(L.MaxPooling2D, 2, strides=1),
        "mean": lambda name, a, b: L.UpSampling2D(name=f"{name}_up")(L.AveragePooling2D(2, name=name)(a)),
        "strided": lambda name, a, b: L.UpSampling2D(name=f"{name}_up")(L.Conv2D(2, 2, strides=2, name=name)(a)),
        "padded": lambda name, a, b: L.Cropping2D(1, name=f"{name}_cut")(L.ZeroPadding2D(1, name=name)(a)),
        "dense": lambda name, a, b: L.Dense(2, activation="sigmoid", name=name)(a),
        "relu": lambda name, a, b: L.ReLU(name=name)(a),
        "add": lambda name, a, b: L.Add(name=name)([a, b]),
        "less": lambda name, a, b: a - b,
        "upper": lambda name, a, b: L.Maximum(name=name)([a, b]),
        "join": lambda name, a, b: L.Conv2D(2, 1, name=f"{name}_conv")(L.Concatenate(name=name)([a, b])),
        "scaled": lambda name, a, b: L.Multiply(name=name)([a, L.Softmax(name=f"{name}_share")(b)]),
        "shared": lambda name, a, b: shared(a),
        "nested": lambda name, a, b: nested(a),
    }


image_programs = st.lists(
    st.tuples(st.sampled_from(sorted(image_steps())), st.integers(0, 99), st.integers(0, 99)), min_size=3, max_size=9
)


def random_images(program: list[tuple[str, int, int]], n_inputs: int, n_outputs: int) -> keras.Model:
    """Build the graph of images that a list of steps describes; its last output is pooled to one row."""
    inputs = [keras.Input((4, 4, 2), name=f"input{i}") for i in range(n_inputs)]
    known, kinds = list(inputs), image_steps()
    for i, (word, one, two) in enumerate(program):
        known.append(kinds[word](f"{word}{i}", known[one % len(known)], known[two % len(known)]))
    *ends, last = known[n_inputs:][-n_outputs:]
    ends.append(L.Dense(3, name="classes")(L.GlobalAveragePooling2D(name="means")(last)))
    return randomized(keras.Model(inputs[0] if n_inputs == 1 else inputs, ends, name="images"))


@settings(max_examples=12)
@given(steps, st.integers(1, 2), st.integers(1, 3))
def test_any_graph_computes_the_same_before_and_after_and_keeps_its_names(program, n_inputs, n_outputs):
    assert_converted_to_the_same(random_graph(program, n_inputs, n_outputs))


@settings(max_examples=3)
@given(image_programs, st.integers(1, 2), st.integers(1, 3))
def test_any_graph_of_images_does(program, n_inputs, n_outputs):
    assert_converted_to_the_same(random_images(program, n_inputs, n_outputs))


@pytest.mark.slow
@pytest.mark.timeout(3600)
@settings(max_examples=150)
@given(steps | image_programs, st.integers(1, 3), st.integers(1, 3))
def test_many_graphs_do(program, n_inputs, n_outputs):
    words = {word for word, _, _ in program}
    build = random_images if words <= set(image_steps()) else random_graph
    assert_converted_to_the_same(build(program, n_inputs, n_outputs))


def assert_converted_to_the_same(model: keras.Model) -> None:
    converted = convert(model, FLOAT)
    assert_equal_outputs(model, converted, rows(model))
    fused = {name for name in names(model) - names(converted)}
    assert all(isinstance(layer(model, name), L.BatchNormalization) for name in fused)
    added = ("_act", "_input0", "_input1", "_depthwise")
    assert all(name.endswith(added) for name in names(converted) - names(model))
    assert [t.name for t in converted.inputs] == [t.name for t in model.inputs]
    assert [t.shape for t in converted.outputs] == [t.shape for t in model.outputs]
    weighted = {call.operation.name for call in calls(model) if getattr(call.operation, "weights", ())} - fused
    assert wiring(converted, weighted) == wiring(model, weighted)


def wiring(model: keras.Model, marks: set[str]) -> list[tuple[str, list[str]]]:
    """Return the calls of these layers, each with those that the values which it reads come from."""
    sources: dict[int, set[str]] = {}
    found = []
    for call in calls(model):
        read = set().union(*(sources.get(id(tensor), set()) for tensor in call.inputs))
        if call.operation.name in marks:
            found.append((call.operation.name, sorted(read)))
            read = {call.operation.name}
        sources |= {id(tensor): read for tensor in call.outputs}
    return sorted(found)


def names(model: keras.Model) -> set[str]:
    return {call.operation.name for call in walk(model)}


@pytest.mark.parametrize("family", dear(volumes), ids=lambda family: family.__name__)
def test_every_layer_there_is_a_counterpart_of_computes_the_same(family):
    model = randomized(family())
    x = rows(model)
    assert_equal_outputs(model, convert(model, FLOAT), x)
    wide = convert(model, WIDE)
    calibrate(wide, x)
    assert_equal_outputs(model, wide, x, 2e-3)
    assert check(wide) == []


@pytest.mark.parametrize("family", dear(vision, sequences, functions), ids=lambda family: family.__name__)
def test_a_converted_model_is_saved_and_read_with_the_same_outputs(family, tmp_path):
    model = randomized(family())
    converted = convert(model, HgqNumbers(), method=DST)
    x = rows(model)
    calibrate(converted, x)
    converted.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    for one, two in zip(outputs(converted, x), outputs(again, x), strict=True):
        np.testing.assert_array_equal(one, two)


def test_a_fused_normalisation_quantises_the_fused_scale_and_keeps_its_statistics():
    inputs = keras.Input((4,))
    x = L.BatchNormalization(epsilon=0.1, name="norm")(L.Dense(3, name="dense")(inputs))
    model = randomized(keras.Model(inputs, x))
    layer(model, "norm").gamma.assign([3.0, 3.0, 3.0])
    layer(model, "norm").moving_mean.assign([2.0, 2.0, 2.0])
    converted = convert(model, FixedNumbers(total_bits=6))
    calibrate(converted, rows(model))
    found = layer(converted, "dense")
    assert isinstance(found, hgq.QEinsumDenseBatchnorm)
    dense, norm = (layer(model, name) for name in ("dense", "norm"))
    scale = 3.0 / np.sqrt(ops.convert_to_numpy(norm.moving_variance) + 0.1)
    kernel = ops.convert_to_numpy(dense.kernel) * scale
    step = 2.0 ** (np.ceil(np.log2(np.abs(kernel).max())) - 5)
    np.testing.assert_allclose(ops.convert_to_numpy(found.qkernel), np.floor(kernel / step + 0.5) * step, rtol=1e-6)
    apart = convert(model, FLOAT, fuse_batch_norm=False)
    assert isinstance(layer(apart, "norm"), hgq.QBatchNormalization)
    assert_equal_outputs(model, apart, rows(model))


@pytest.mark.parametrize("arguments", [{"center": False}, {"scale": False}, {"axis": 1}, {"momentum": 0.5}])
def test_normalisations_of_every_kind_keep_what_they_do(arguments):
    inputs = keras.Input((3, 4))
    x = L.BatchNormalization(name="alone", **arguments)(inputs)
    x = L.BatchNormalization(name="norm", **arguments)(L.Dense(4, name="dense")(x))
    model = randomized(keras.Model(inputs, x))
    assert_equal_outputs(model, convert(model, FLOAT), rows(model))


def test_arguments_may_be_given_by_name():
    inputs = keras.Input((3, 4))
    x = L.Dense(4, name="dense")(inputs=inputs)
    x = L.MultiHeadAttention(2, 2, name="attention")(query=x, value=inputs, key=inputs)
    model = randomized(keras.Model(inputs, x))
    converted = convert(model, WIDE)
    calibrate(converted, rows(model))
    assert_equal_outputs(model, converted, rows(model), 2e-3)


def test_a_dense_layer_that_more_than_the_normalisation_reads_is_not_fused():
    inputs = keras.Input((4,))
    x = L.Dense(3, name="dense")(inputs)
    model = randomized(keras.Model(inputs, [L.BatchNormalization(name="norm")(x), x]))
    converted = convert(model, FLOAT)
    assert "norm" in names(converted)
    assert_equal_outputs(model, converted, rows(model))


def test_the_first_layer_of_a_sequential_is_converted_and_its_last_activation_stays():
    model = keras.Sequential([keras.Input((4,)), L.Dense(3, name="a"), L.Dense(2, activation="softmax", name="b")])
    converted = convert(model, HgqNumbers())
    assert isinstance(converted, keras.Sequential)
    assert [type(one) for one in converted.layers] == [hgq.QDense, hgq.QDense, hgq.QSoftmax]
    assert [one.name for one in converted.layers] == ["a", "b", "b_act"]


def test_a_sequential_that_was_built_on_rows_takes_any_number_of_rows():
    model = keras.Sequential([L.Dense(3), L.Dense(2)])
    model(np.zeros((7, 4), np.float32))
    assert outputs(convert(model, FLOAT), np.zeros((5, 4), np.float32))[0].shape == (5, 2)


def test_training_the_converted_model_does_not_touch_the_original():
    model = dense_network()
    before = [ops.convert_to_numpy(v).copy() for v in model.variables]
    converted = convert(model, HgqNumbers())
    converted.compile("sgd", "mse")
    converted.fit(np.ones((8, 4)), np.ones((8, 2)), verbose=0)
    for variable, value in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(variable), value)
    assert (ops.convert_to_numpy(layer(converted, "first")._kernel) != before[0]).any()


def signs(model: keras.Model, *found: str) -> list[bool]:
    return [bool(layer(model, name).iq.config["k0"]) for name in found]


def test_only_what_reads_values_that_cannot_be_negative_is_unsigned():
    inputs = keras.Input((4,))
    x = L.Dense(4, activation="relu", name="a")(inputs)
    y = L.Dense(4, activation="tanh", name="b")(L.Dropout(0.1)(x))
    z = L.Dense(4, activation="sigmoid", name="c")(y)
    z = L.Concatenate()([L.Reshape((4, 1))(x), L.Reshape((4, 1))(z)])
    w = L.Dense(2, name="e")(L.GaussianNoise(0.1)(L.Dense(3, activation="relu", name="d")(z)))
    converted = convert(keras.Model(inputs, [w, x - z[:, :, 0]]), FixedNumbers())
    assert signs(converted, "a", "b", "c", "d", "e") == [True, False, True, False, True]


def test_every_reader_of_the_network_input_gets_its_width_also_inside_nested_models():
    inputs = keras.Input((4,))
    inner = keras.Sequential([keras.Input((4,)), L.Reshape((2, 2)), L.Flatten(), L.Dense(3, name="inner")], name="nest")
    x = L.Concatenate()([inner(inputs), L.Dense(3, name="outer")(inputs)])
    converted = convert(keras.Model(inputs, L.Dense(2, name="last")(x)), FixedNumbers(total_bits=6, io_bits=12))
    widths = [layer(converted, name).iq.config["b0"] for name in ("inner", "outer", "last")]
    assert widths == [11, 11, 5]


def test_an_operation_on_the_network_input_gets_a_quantiser():
    inputs = keras.Input((4,), name="x")
    model = keras.Model(inputs, ops.maximum(inputs, 0.0))
    converted = convert(model, FixedNumbers())
    assert [type(one).__name__ for one in converted.layers][1:] == ["Quantizer"]
    assert check(converted) == []


def test_all_that_cannot_be_replaced_is_named_at_once_with_place_and_remedy():
    inputs = keras.Input((4, 3), name="x")
    inner = keras.Sequential([keras.Input((4, 3)), L.LSTM(3, name="memory")], name="encoder")
    y = L.UnitNormalization(name="norm")(inputs)
    y = L.Average(name="three")([y, inputs, inputs])
    y = L.Dense(2, activation="log_softmax", name="logs")(L.Flatten()(y))
    model = keras.Model(inputs, [inner(inputs), y], name="whole")
    with pytest.raises(UnsupportedError) as error:
        convert(model, HgqNumbers())
    text = str(error.value)
    assert text.startswith("cannot convert model 'whole' to quantised layers:\n- ")
    for part in (
        "'encoder/memory' (LSTM): it has no quantised counterpart in HGQ2; use GRU or SimpleRNN",
        "'norm' (UnitNormalization): it has no quantised counterpart in HGQ2; normalise the data",
        "'three' (Average): it averages 3 tensors, and dividing by 3 is no shift; use Add",
        "'logs' (Dense): the activation of layer 'logs' (log_softmax) depends on several values at once",
        "list in keep_float the layers that are to stay in float, which firmware cannot have",
    ):
        assert part in text


class Custom(keras.layers.Dense):
    """A layer of somebody else."""


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda x: Custom(2, name="mine")(x), "'mine' .Custom.: it is no layer of Keras or HGQ2"),
        (lambda x: L.Lambda(lambda y: y * 2, name="any")(x), "'any' .Lambda.: .* write its function with keras.ops"),
        (lambda x: L.Dense(2, name="half", dtype="bfloat16")(x), "'half' .Dense.: it computes in bfloat16"),
        (lambda x: x / x, "'(true_)?divide.*' .*: it has no fixed-point form that weft knows"),
        (lambda x: ops.gelu(x), "'gelu.*' .Gelu.: it approximates GELU by a tanh"),
        (lambda x: ops.square(x), "'square.*' .Square.: .* write x \\* x"),
        (lambda x: ops.sin(x), "'sin.*' .Sin.: .* use keras.layers.Activation: that becomes a table"),
        (lambda x: L.PReLU(name="slopes")(x), "'slopes' .PReLU.: .* use LeakyReLU, whose slope is fixed"),
        (lambda x: L.Dot(1, normalize=True, name="cos")([x, x]), "'cos' .Dot.: it divides by the length"),
    ],
)  # fmt: skip
def test_what_has_no_exact_form_is_refused(make, message):
    inputs = keras.Input((4,))
    with pytest.raises(UnsupportedError, match=message):
        convert(keras.Model(inputs, make(inputs)), HgqNumbers())


def test_a_frozen_normalisation_is_refused_where_it_cannot_be_fused():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, L.BatchNormalization(trainable=False, name="norm")(inputs))
    with pytest.raises(UnsupportedError, match=r"'norm' .*: it is frozen"):
        convert(model, HgqNumbers())


def test_a_model_whose_graph_is_not_known_is_refused():
    class Own(keras.Model):
        def call(self, x):
            return x

    with pytest.raises(UnsupportedError, match="'own' is a Own, whose graph is hidden in its call function"):
        convert(Own(name="own"), HgqNumbers())
    with pytest.raises(UnsupportedError, match="the graph of 'late' is not known yet: build the model"):
        convert(keras.Sequential([L.Dense(2)], name="late"), HgqNumbers())
    inputs = keras.Input((None, 3), name="long")
    with pytest.raises(UnsupportedError, match=r"input 'long' has shape \(None, None, 3\), and hardware needs a fixed"):
        convert(keras.Model(inputs, L.Dense(2)(inputs)), HgqNumbers())


def test_kept_layers_stay_in_float_with_their_weights():
    model = dense_network()
    converted = convert(model, HgqNumbers(), keep_float=["first"])
    assert type(layer(converted, "first")) is L.Dense
    assert isinstance(layer(converted, "last"), hgq.QDense)
    assert [finding.place for finding in check(converted)] == ["first"]
    np.testing.assert_array_equal(*(ops.convert_to_numpy(layer(m, "first").kernel) for m in (model, converted)))


def test_a_pattern_that_means_nothing_is_a_warning_that_names_it():
    model = dense_network()
    prune = method_of("dst")(only=["first", "secnd"], skip=["conv*"])
    with pytest.warns(NoEffectWarning) as found:
        convert(model, HgqNumbers(), {"frist": LayerSettings()}, prune, keep_float=["lst"])
    texts = [str(one.message) for one in found if one.category is NoEffectWarning]
    assert [text.split(" matches")[0] for text in texts] == [
        "'frist' in layers", "'lst' in keep_float", "'secnd' in prune.only", "'conv*' in prune.skip"
    ]  # fmt: skip
    assert "did you mean 'first'?" in texts[0]
    with warnings.catch_warnings():
        warnings.simplefilter("error", NoEffectWarning)
        convert(model, HgqNumbers(), {"f*": LayerSettings(), "last": LayerSettings()}, DST, keep_float=[])


def test_a_name_goes_before_a_pattern_and_both_before_the_numbers():
    settings = {
        "last": LayerSettings(weight=QuantizerSettings(bits=3)),
        "*": LayerSettings(weight=QuantizerSettings(bits=7), bias=QuantizerSettings(bits=9)),
    }
    converted = convert(dense_network(), FixedNumbers(total_bits=5), settings)
    found = {n: (layer(converted, n).kq.config["b0"], layer(converted, n).bq.config["b0"]) for n in ("first", "last")}
    assert found == {"first": (6, 8), "last": (2, 8)}
    assert layer(converted, "first").iq.config["b0"] == 15


def test_settings_of_the_output_quantise_what_comes_last():
    settings = {"*": LayerSettings(output=QuantizerSettings(bits=5))}
    model = dense_network(activation="relu")
    converted = convert(model, FixedNumbers(), settings)
    assert layer(converted, "first").enable_oq and layer(converted, "last").enable_oq
    inputs = keras.Input((4,))
    curved = keras.Model(inputs, L.Dense(3, activation="tanh", name="curved")(inputs))
    converted = convert(curved, FixedNumbers(), settings)
    assert [one.name for one in converted.layers][1:] == ["curved", "curved_act", "curved_act_output"]
    assert not layer(converted, "curved").enable_oq


EXPECTED = {
    "conv": (4, 3, (3, 3)), "depthwise": (4, 1, (3, 3)), "separable_depthwise": (8, 1, (3, 3)),
    "separable": (4, 8, (1, 1)), "groups": (4, 2, (1, 1)), "classes": (3, 36, ()),
    "shared": (4, 3, ()), "query": (6, 4, ()), "key": (6, 4, ()), "value": (6, 4, ()), "attention_output": (4, 6, ()),
    "einsum": (3, 4, ()), "qgru_cell": (9, 4, ()), "simple_rnn_cell": (3, 4, ()),
}  # fmt: skip
"""Outputs, inputs of each and window of every kernel."""


@pytest.mark.parametrize("family", [vision, pytest.param(sequences, marks=pytest.mark.slow)])
def test_a_pruning_method_sees_every_kernel_as_outputs_times_inputs(family):
    model = randomized(family())
    converted = convert(model, HgqNumbers(), method=DST)
    for one in converted._flatten_layers():
        for quantizer in (getattr(one, name, None) for name in ("kq", "rkq")):
            if isinstance(getattr(quantizer, "config", None), PrunedConfig):
                found = quantizer.quantizer.geometry
                n_out, n_in, taps = EXPECTED[one.name]
                if quantizer is getattr(one, "rkq", None):
                    n_in = 3
                assert (found.n_out, found.n_in, found.taps) == (n_out, n_in, taps), one.name
                assert found.shape[0] * found.shape[1] == int(np.prod(quantizer.quantizer.kernel_shape))
    if family is vision:
        assert not isinstance(layer(converted, "scaled").kq.config, PrunedConfig)
    calm = convert(model, FLOAT, method=DST)
    assert_equal_outputs(model, calm, rows(model))


def test_layers_choose_whether_and_how_they_are_pruned():
    settings = {
        "last": LayerSettings(prune={"alpha": 0.25}),
        "first": LayerSettings(prune=False),
    }
    converted = convert(dense_network(), HgqNumbers(), settings, DST, prune_first=False)
    assert not isinstance(layer(converted, "first").kq.config, PrunedConfig)
    found = layer(converted, "last").kq.config
    assert (found.method.alpha, found.prune_first) == (0.25, False)
    only = convert(dense_network(), HgqNumbers(), method=method_of("dst")(only=["*"], skip=["f*"]))
    assert [isinstance(layer(only, n).kq.config, PrunedConfig) for n in ("first", "last")] == [False, True]
    with pytest.raises(
        ConfigError, match=r"layer 'last' cannot be pruned so: prune.alfa: unknown key; did you mean 'alpha'"
    ):
        convert(dense_network(), HgqNumbers(), {"last": LayerSettings(prune={"alfa": 1.0})}, DST)
    with pytest.raises(
        ConfigError, match=r"layer 'last' changes how it is pruned .alpha., but the network has no pruning"
    ):
        convert(dense_network(), HgqNumbers(), {"last": LayerSettings(prune={"alpha": 1.0})})


def test_a_method_that_removes_outputs_lets_their_biases_go():
    structured = method_of("ap")()
    assert structured.structured
    converted = convert(dense_network(), HgqNumbers(), method=structured)
    assert isinstance(layer(converted, "first").bq.config, MaskedConfig)


def test_kernels_that_a_method_cannot_prune_are_named_before_anything_is_built():
    prune = method_of("wanda")(n=2, m=3)
    with pytest.raises(ShapeError) as error:
        convert(dense_network(), HgqNumbers(), method=prune)
    text = str(error.value)
    assert "cannot prune model 'small':" in text
    assert "'first' (Dense), kernel of shape (4, 5): method 'wanda'" in text
    assert "'last' (Dense), kernel of shape (5, 2): method 'wanda'" in text
    assert "prune.skip" in text


def test_quantised_layers_stay_as_they_are_and_can_be_given_a_method():
    inputs = keras.Input((4, 3))
    x = hgq.QDense(4, activation="relu", name="mine")(inputs)
    x = hgq.QMultiHeadAttention(2, 3, name="attention")(x, x)
    x = hgq.QEinsumDenseBatchnorm("abc,cd->abd", (4, 2), bias_axes="d", name="norm")(x)
    model = randomized(keras.Model(inputs, L.Dense(2, name="last")(x)))
    x = rows(model)
    converted = convert(model, FLOAT)
    assert is_quantized(layer(converted, "last"))
    assert_equal_outputs(model, converted, x, 0)
    pruned = convert(model, FLOAT, method=DST)
    assert_equal_outputs(model, pruned, x, 0)
    for name in ("mine", "query", "attention_output", "norm", "last"):
        assert isinstance(layer(pruned, name).kq.config, PrunedConfig)
    assert layer(pruned, "attention_output").kq.quantizer.geometry.n_out == 4


def test_a_frozen_layer_stays_frozen_and_can_be_calibrated():
    model = dense_network()
    layer(model, "first").trainable = False
    converted = convert(model, WIDE)
    frozen = layer(converted, "first")
    assert not any(v.path.startswith("first/") for v in converted.trainable_variables)
    x = 30 * rows(model)
    calibrate(converted, x)
    assert not frozen.trainable
    assert_equal_outputs(model, converted, x, 1e-4)


def test_variables_keep_their_names_so_that_weights_can_be_told_apart():
    converted = convert(dense_network(), HgqNumbers())
    found = {v.path for v in converted.trainable_variables if "quantizer" not in v.path}
    assert found == {"first/kernel", "first/bias", "last/kernel", "last/bias"}


def test_the_state_of_a_simple_recurrent_layer_stays_quantised_when_it_is_read_back(tmp_path):
    inputs = keras.Input((3, 4))
    model = randomized(keras.Model(inputs, L.SimpleRNN(4, name="rnn")(inputs)))
    converted = convert(model, HgqNumbers())
    state = next(v for v in converted.variables if "/sq/" in v.path and v.path.endswith("/b"))
    state.assign(np.full(state.shape, 1.0, np.float32))  # as training may leave it: coarser than what it reads
    converted.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert len(again.variables) == len(converted.variables)
    x = rows(model)
    np.testing.assert_array_equal(outputs(again, x)[0], outputs(converted, x)[0])
    assert (outputs(convert(model, HgqNumbers()), x)[0] != outputs(converted, x)[0]).any()

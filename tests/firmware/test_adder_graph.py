"""Adder graphs: exact for any weights in any formats, honest about their cost, and clear about what they refuse."""

from __future__ import annotations

import gzip
import json
import math
import subprocess
import sys
from fractions import Fraction
from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.firmware.models import PART, mlp, of_few_bits, randomised, samples, set_layer
from weft.adder_graph import AdderGraph, from_codes, objection, to_codes
from weft.errors import ConfigError, DataError, RunError, ShapeError, UnsupportedError
from weft.firmware import verify

reals = st.floats(allow_nan=False, allow_infinity=False)
formats = st.tuples(st.integers(0, 1), st.integers(-8, 12), st.integers(-8, 12)).filter(lambda kif: sum(kif) >= 0)


def exact_code(value: float, k: int, i: int, f: int) -> int:
    """Drop what lies below 2^-f, keep k + i + f bits: in exact arithmetic."""
    width = k + i + f
    code = math.floor(Fraction(value) * Fraction(2) ** f) % 2**width
    return code - 2**width if k and width and code >= 2 ** (width - 1) else code


@given(reals, formats)
@settings(deadline=None)
def test_port_codes_are_those_of_exact_arithmetic_for_every_finite_number(value, kif):
    codes = to_codes(np.array([[value]]), np.array(kif)[:, None])
    assert codes.item() == exact_code(value, *kif)


@given(formats, st.data())
@settings(deadline=None)
def test_values_on_the_grid_come_back_from_their_codes(kif, data):
    k, i, f = kif
    low = -(2 ** (k + i + f - 1)) if k and k + i + f else 0
    code = data.draw(st.integers(low, low + 2 ** (k + i + f) - 1))
    column = np.array(kif)[:, None]
    assert to_codes(from_codes(np.array([[code]]), column), column).item() == code


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_without_a_code_are_refused(graph, value):
    x = np.zeros((3, 6))
    x[1, 4] = value
    with pytest.raises(DataError, match=rf"input 1 holds {value} at feature 4; .*clean the data"):
        graph.predict(x)


def test_a_graph_takes_only_inputs_of_its_models_shape(graph):
    with pytest.raises(ShapeError, match=r"takes inputs of shape \(n, 6\); got \(3, 5\)"):
        graph.predict(np.zeros((3, 5)))
    assert graph.predict(np.zeros((0, 6))).shape == (0, 3)


def test_a_saved_graph_is_the_same_graph(graph, tmp_path):
    graph.save(tmp_path / "graph.json.gz")
    graph.save(tmp_path / "again.json.gz")
    loaded = AdderGraph.load(tmp_path / "graph.json.gz")
    x = samples(100, 6)
    assert np.array_equal(loaded.predict(x), graph.predict(x))
    assert loaded.input_shape == (6,) and loaded.layers == {"d0": 8, "d1": 5, "d2": 3}
    assert all(np.array_equal(loaded.layer_outputs(x)[name], y) for name, y in graph.layer_outputs(x).items())
    assert loaded.cost(5.0) == graph.cost(5.0)
    assert (tmp_path / "graph.json.gz").read_bytes() == (tmp_path / "again.json.gz").read_bytes()


def test_a_saved_graph_is_an_alkaid_file(graph, tmp_path):
    from alkaid.types import CombLogic

    graph.save(tmp_path / "graph.json.gz")
    assert CombLogic.load(tmp_path / "graph.json.gz").cost == graph.lut


def test_loading_a_graph_and_writing_its_verilog_imports_no_framework(graph, tmp_path):
    graph.save(tmp_path / "graph.json.gz")
    code = (
        "import sys; from weft.adder_graph import AdderGraph; from weft.firmware import emit; "
        "g = AdderGraph.load('graph.json.gz'); g.cost(5.0); emit(g, 'project', 'xc7z020', 5.0); "
        "print([m for m in ('keras', 'jax', 'hgq', 'torch', 'tensorflow') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("damage", ["missing", "truncated", "flipped", "other"])
def test_a_damaged_file_is_named(graph, tmp_path, damage):
    path = tmp_path / "graph.json.gz"
    graph.save(path)
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(path.read_bytes()[:500])
    elif damage == "flipped":
        data = bytearray(path.read_bytes())
        data[200] ^= 255
        path.write_bytes(data)
    else:
        path.write_bytes(gzip.compress(json.dumps({"weft": {}}).encode()))
    with pytest.raises(RunError, match=r"cannot read the adder graph .*graph.json.gz .*build the design again"):
        AdderGraph.load(path)


def test_registers_and_stages_are_those_of_the_project_that_is_written(graph, tmp_path):
    for clock in (1.0, 2.0, 5.0, 100.0):
        pipeline = graph.write(tmp_path / "project", PART, clock)
        metadata = json.loads((tmp_path / "project" / "metadata.json").read_text())
        assert (pipeline.ff, pipeline.latency_cycles) == (metadata["reg_bits"], metadata["latency"])
        assert pipeline == graph.pipelined(clock) and pipeline.stages == pipeline.latency_cycles and pipeline.ii == 1
        assert pipeline.stages == math.ceil(graph.delay_units / clock)
    rank = int(graph.input_kif.sum() + graph.output_kif.sum())
    assert graph.pipelined(100.0).ff == rank


def test_every_cost_says_where_it_comes_from(graph):
    cost = graph.cost(2.5)
    assert {q.stage for q in cost.values()} == {"solver"} and cost["lut"].value == graph.lut
    assert all(q.source.startswith("alkaid 0.8") for q in cost.values())
    assert cost["latency_ns"].source.endswith("times the 2.5 ns clock asked for")
    assert cost["latency_ns"].value == 2.5 * cost["latency_cycles"].value
    assert cost["ff"].value == graph.pipelined(2.5).ff and cost["ii_cycles"].value == 1


@pytest.mark.parametrize("clock", [0.0, -1.0, math.inf, math.nan])
def test_a_clock_must_be_positive(graph, clock):
    with pytest.raises(ConfigError, match=rf"clock_period_ns must be positive; got {clock}"):
        graph.pipelined(clock)


def test_a_network_pruned_to_nothing_costs_nothing_and_has_no_verilog(pruned, tmp_path):
    model = pruned("everything")
    graph = AdderGraph.from_model(model)
    assert graph.is_constant and graph.cost(5.0)["lut"].value == 0
    assert verify(model, graph, None, samples(64, 4)).status == "exact"
    with pytest.raises(UnsupportedError, match=r"no output depends on any input, .*compress less"):
        graph.write(tmp_path / "project", PART, 5.0)


@pytest.mark.parametrize("what", ["one output", "one input"])
def test_pruned_inputs_and_outputs_take_no_bits(pruned, what):
    model = pruned(what)
    graph = AdderGraph.from_model(model)
    assert not graph.is_constant
    assert (graph.input_kif.sum(axis=0) == 0).tolist() == [False, what == "one input", False, False]
    assert verify(model, graph, None, samples(64, 4)).status == "exact"


def test_float_weights_are_refused_by_name():
    import keras

    inputs = keras.Input((3,))
    float_model = keras.Model(inputs, keras.layers.Dense(2, name="head")(inputs))
    with pytest.raises(UnsupportedError, match=r"layer 'head' \(Dense\) has float weights; compress the model"):
        AdderGraph.from_model(float_model)


def test_a_table_of_too_many_entries_is_refused_before_it_fills_the_memory():
    import hgq
    import keras

    inputs = keras.Input((2,))
    fine = hgq.config.QuantizerConfig("kif", "datalane", k0=True, i0=4, f0=16)
    x = hgq.layers.QDense(2, iq_conf=fine, name="sums")(inputs)
    model = keras.Model(inputs, hgq.layers.QUnaryFunctionLUT("tanh", enable_iq=False, name="bend")(x), name="wide")
    message = r"a function would be a table over numbers of \d\d bits, and 18 is the most; give that layer an input"
    with pytest.raises(UnsupportedError, match=message) as caught:
        AdderGraph.from_model(model)
    assert caught.value.__notes__ == ["in layer 'bend' (QUnaryFunctionLUT) of model 'wide'"]


def test_two_inputs_and_open_shapes_are_refused():
    import keras
    from hgq.layers import QDense

    inputs = keras.Input((3,)), keras.Input((3,))
    two = keras.Model(inputs, QDense(1)(keras.layers.Concatenate()(inputs)), name="two")
    with pytest.raises(UnsupportedError, match=r"model 'two' .* has 2 inputs and 1 outputs; concatenate"):
        AdderGraph.from_model(two)
    rows = keras.Input((None, 3))
    with pytest.raises(UnsupportedError, match=r"inputs of shape \(None, 3\), and hardware needs a fixed one"):
        AdderGraph.from_model(keras.Model(rows, keras.layers.Flatten()(rows)))


def test_what_the_tracer_refuses_is_refused_with_the_layers_named():
    import keras
    from hgq.layers import QDense
    from hgq.quantizer import QuantizerConfig

    inputs = keras.Input((3,))
    saturating = QuantizerConfig("kif", "datalane", overflow_mode="SAT")
    model = keras.Model(inputs, QDense(2, iq_conf=saturating, name="first")(inputs))
    with pytest.raises(UnsupportedError, match=r"AssertionError.*first \(QDense\).*input quantiser wraps"):
        AdderGraph.from_model(model)
    model = keras.Model(inputs, keras.layers.Softmax(name="soft")(QDense(2)(inputs)))
    with pytest.raises(UnsupportedError, match=r"soft \(Softmax\)"):
        AdderGraph.from_model(model)


def test_designs_beyond_exact_arithmetic_are_refused():
    import keras
    from hgq.layers import QDense
    from hgq.quantizer import QuantizerConfig

    inputs = keras.Input((1,))
    wide = QuantizerConfig("kif", "datalane", i0=20, f0=24), QuantizerConfig("kbi", "weight", b0=23, i0=0)
    layer = QDense(1, iq_conf=wide[0], kq_conf=wide[1], kernel_initializer=keras.initializers.Constant(0.70000001))
    model = keras.Model(inputs, layer(inputs))
    with pytest.raises(UnsupportedError, match=r"needs values of \d+ bits and ports of \d+ bits; .*use fewer bits"):
        AdderGraph.from_model(model)


def test_no_other_files_are_overwritten(graph, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(RunError, match=r"will not write an RTL project over .*holds other files"):
        graph.write(tmp_path, PART, 5.0)
    assert (tmp_path / "thesis.tex").exists()


def test_a_project_is_replaced_whole(graph, tmp_path):
    graph.write(tmp_path / "project", PART, 1.0)
    many = len(list((tmp_path / "project" / "src").glob("logic*.v")))
    graph.write(tmp_path / "project", PART, 100.0)
    assert many > 1 and len(list((tmp_path / "project" / "src").glob("logic*.v"))) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["project"]


def test_a_model_calibrated_by_hgq2_is_exact():
    from hgq.utils import trace_minmax

    x = samples(256, 2)
    model = randomised(mlp(2, (2, 2)))
    trace_minmax(model, x, batch_size=256)
    assert verify(model, AdderGraph.from_model(model), None, x).status == "exact"


SMALLEST = {
    "a doubled number keeps its lowest bit": ([[2.0]], [0.0], (0, 1, 1), (0, 1, 0)),
    "a shifted number keeps its lowest bit": ([[3.0]], [-1.0], (0, 1, 1), (0, 1, 0)),
    "a constant wraps at the end of an unsigned format": ([[0.0]], [2.5], (0, 1, 1), (0, 1, 1)),
    "a constant is rounded before it wraps": ([[0.0]], [1.75], (0, 1, 1), (0, 1, 0)),
}


@pytest.mark.parametrize("case", SMALLEST)
def test_what_alkaid_gets_wrong_is_right_here(case):
    kernel, bias, first, second = SMALLEST[case]
    model = model_of((1, (1, 1)))
    set_layer(model.layers[1], kernel, bias, [first])
    set_layer(model.layers[2], [[1.0]], [0.0], [second])
    graph = AdderGraph.from_model(model)
    _, i, f = second
    x = np.arange(-4, 4, 0.25, dtype=np.float32)[:, None]
    rounded = np.floor(2.0 ** first[2] * x + 0.5) / 2.0 ** first[2] % 2.0 ** first[1]
    relu = np.maximum(rounded * kernel + bias, 0)
    assert np.array_equal(graph.predict(x), np.floor(2.0**f * relu + 0.5) / 2.0**f % 2.0**i)
    assert verify(model, graph, None, x).status == "exact"


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize("kind", ["QMaximum", "QMinimum"])
def test_the_extreme_of_two_numbers_whose_order_is_known_is_right(kind, order):
    """alkaid 0.8.2 takes the top bit of x + 1 - x for a sign."""
    import hgq.layers
    import keras

    inputs = keras.Input((1,))
    plain = mlp(1, (2,))
    set_layer(plain.layers[1], [[1.0, 1.0]], [0.0, 1.0], [(0, 2, 1)])
    both = plain.layers[1](inputs)
    x = getattr(hgq.layers, kind)(name="extreme", iq_confs=wide(2))(
        [both[:, order[0] : order[0] + 1], both[:, order[1] : order[1] + 1]]
    )
    model = keras.Model(inputs, x)
    result = verify(model, AdderGraph.from_model(model), None, np.arange(0, 4, 0.5, dtype=np.float32)[:, None])
    assert result.status == "exact", result.sentence


def wide(n):
    from hgq.quantizer import QuantizerConfig

    return [QuantizerConfig("kif", "datalane", k0=0, i0=5, f0=4) for _ in range(n)]


def test_a_layer_of_constants_is_refused():
    model = mlp(1, (2, 1))
    set_layer(model.layers[1], [[1.0, -1.0]], [0.0, 0.0], [(0, 1, 1)])  # ReLU leaves nothing of the second neuron
    set_layer(model.layers[2], [[0.0], [1.0]], [0.0], [(0, 1, 1)] * 2)
    with pytest.raises(UnsupportedError, match=r"all outputs of a layer are constant, .*compress less"):
        AdderGraph.from_model(model)


@pytest.mark.parametrize(
    ("layer", "factor"),
    [
        (lambda keras: keras.layers.Rescaling(0.3), "0.3"),
        (lambda keras: keras.layers.AveragePooling1D(3), "0.333333"),
        (lambda keras: keras.layers.GlobalAveragePooling1D(), "0.166667"),
    ],
)
def test_a_scale_of_many_bits_is_refused_before_the_solver_looks_for_it(layer, factor):
    """alkaid 0.8.2 seeks the fewest additions for one constant: of 24 bits it is not done after a minute."""
    import keras

    inputs = keras.Input((6, 2))
    model = keras.Model(inputs, layer(keras)(inputs))
    with pytest.raises(
        UnsupportedError, match=rf"multiplies by {factor}, a number of more than 16 bits, .*power of two"
    ):
        AdderGraph.from_model(model)


def test_scales_of_few_bits_are_no_objection():
    import keras

    for layer in (keras.layers.Rescaling(-0.75), keras.layers.AveragePooling1D(2), keras.layers.Rescaling([0, 1, 640])):
        assert objection(keras.Sequential([keras.Input((4, 3)), layer])) is None


@pytest.mark.parametrize("seed", range(20))
def test_networks_of_one_bit_and_two_bit_numbers_are_exact(seed):
    model = of_few_bits(model_of((8, (8, 3))), seed)
    result = verify(model, AdderGraph.from_model(model), None, samples(500, 8, seed))
    assert result.status == "exact", result.sentence


@lru_cache
def model_of(shape):
    """Return one model for each shape: tests that share it set all of its weights and formats."""
    return mlp(*shape)


def draw_layer(layer, data):
    """Give a layer arbitrary weights and arbitrary formats, of no and of negative width too."""
    kernel, inputs = tuple(layer._kernel.shape), tuple(layer.iq.quantizer._f.shape)

    def integers(shape, low, high):
        return data.draw(arrays(np.int64, shape, elements=st.integers(low, high))).astype(np.float32)

    for variable, low, high in (
        (layer.kq.quantizer._b, 0, 6),
        (layer.kq.quantizer._i, -3, 3),
        (layer.bq.quantizer._b, 0, 6),
        (layer.bq.quantizer._i, -2, 3),
        (layer.iq.quantizer._i, -3, 4),
        (layer.iq.quantizer._f, -2, 4),
        (layer.iq.quantizer._k, 0, 1),
    ):
        variable.assign(integers(tuple(variable.shape), low, high))
    layer._kernel.assign(integers(kernel, -64, 64) / 16)
    layer.bias.assign(integers(kernel[1:], -64, 64) / 16)
    return inputs


@given(st.sampled_from([(1, (1,)), (3, (4, 2))]), st.data())
@settings(max_examples=80, deadline=None)
def test_any_weights_in_any_formats_are_exact(shape, data):
    model = model_of(shape)
    for layer in model.layers[1:]:
        draw_layer(layer, data)
    try:
        graph = AdderGraph.from_model(model)
    except UnsupportedError as error:
        assert "all outputs of a layer are constant" in str(error)
        reject()
    result = verify(model, graph, None, samples(128, shape[0]) * 3)
    assert result.status == "exact", result.sentence


def test_every_arithmetic_the_graph_agrees_with_is_recorded(model, graph):
    result = verify(model, graph, None, samples(10, 6))
    assert (result.arithmetic, result.float32_mismatches, result.levels) == ("float32", 0, ("keras", "adder_graph"))

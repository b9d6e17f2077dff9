"""The other cost models, and how cost models are found."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest

from tests.firmware.models import PART, mlp, randomised
from weft.adder_graph import AdderGraph
from weft.cost import CostInput, costs_of, dense_bops, effective_bops, find, names, providing
from weft.errors import ConfigError, UnsupportedError
from weft.objectives import COSTS


@dataclass
class Target:
    part: str = PART
    clock_period_ns: float = 4.0


@pytest.fixture(scope="module")
def model():
    return randomised(mlp(3, (4, 2)))


@pytest.fixture(scope="module")
def float_model():
    import keras

    inputs = keras.Input((3,))
    return keras.Model(inputs, keras.layers.Dense(2, name="head")(inputs))


def test_bops_are_products_and_accumulations():
    assert dense_bops(8, 4, 6, 5) == 8 * 4 * (6 * 5 + 6 + 5 + 3)
    assert dense_bops(8, 4, 6, 5, sparsity=0.75) == 8 * 4 * (0.25 * 6 * 5 + 6 + 5 + 3)
    assert effective_bops(4096.0, 16, 0.5) == 512


def test_a_models_bops_take_its_widths_and_its_sparsity(model):
    total = 0.0
    for layer in model.layers[1:]:
        kernel = np.array(layer.qkernel)
        n_in, n_out = kernel.shape
        zeros = float((kernel == 0).mean())
        weight, data = 4 + 1, 3 + 2 + 1  # mlp() declares 4 bits and 5 bits; both have a sign
        total += n_in * n_out * ((1 - zeros) * weight * data + weight + data + math.log2(n_in))
    assert find("bops").estimate([CostInput(model)], Target())[0]["bops"].value == pytest.approx(total)


def test_parameters_are_weights_and_biases(model):
    assert find("parameters").estimate([CostInput(model)], Target())[0]["parameters"].value == 3 * 4 + 4 + 4 * 2 + 2


def test_the_adder_graph_model_gives_what_the_graph_gives(model):
    graph = AdderGraph.from_model(model)
    traced, given = find("adder_graph").estimate([CostInput(model), CostInput(graph=graph)], Target())
    assert traced == given and given.notes == ()
    assert {name: one.value for name, one in given.quantities.items()} == {
        name: one.value for name, one in graph.cost(4.0).items()
    }
    assert set(given.quantities) == set(find("adder_graph").provides)


def test_a_network_without_logic_is_noted(model):
    kernels = [np.array(layer._kernel.value) for layer in model.layers[1:]]
    try:
        for layer in model.layers[1:]:
            layer._kernel.assign(np.zeros(layer._kernel.shape))
        estimate = find("adder_graph").estimate([CostInput(model)], Target())[0]
        assert find("bops").supports(CostInput(model)) is None
        assert find("ebops").estimate([CostInput(model)], Target())[0]["ebops"].value == 0
    finally:
        for layer, kernel in zip(model.layers[1:], kernels, strict=True):
            layer._kernel.assign(kernel)
    assert estimate["lut"].value == 0 and estimate.notes == ("no output depends on any input",)


def test_every_cost_objective_is_given_by_a_model(model):
    assert names() == (
        *("adder_graph", "bops", "ebops", "fabric", "fractions", "hls4ml", "horowitz", "learned", "parameters"),
        "rule4ml",
    )
    assert all(name in providing(name).provides for name in COSTS)
    costs = costs_of(model, (*COSTS, "accuracy"), PART, 4.0)
    none = {"dsp", "bram_18k", "dsp_fraction", "bram_fraction"}  # wired weights need neither
    assert tuple(costs) == COSTS and {name for name, q in costs.items() if not q.value} == none
    assert {costs[name].value for name in none} == {0} and all(costs[name].reason for name in none)


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(ConfigError, match=r"no cost model is called 'ebop'; did you mean 'ebops'\?"):
        find("ebop")
    with pytest.raises(ConfigError, match=r"no cost model is called 'vivado'; there are adder_graph, bops, ebops"):
        find("vivado")
    with pytest.raises(
        ConfigError, match=r"no cost model gives 'watts'; they give avg_resource, bops, bram_18k, bram_fraction, dsp,"
    ):
        providing("watts")


@pytest.mark.parametrize("name", ["bops", "ebops", "parameters"])
def test_layers_that_cannot_be_counted_are_refused_by_name(name, float_model):
    with pytest.raises(UnsupportedError, match=rf"cost model '{name}' cannot .*layer 'head' is a Dense; products are"):
        find(name).estimate([CostInput(float_model)], Target())
    with pytest.raises(UnsupportedError, match=r"needs the Keras model, and only an adder graph was given"):
        find(name).estimate([CostInput()], Target())


def test_the_adder_graph_needs_something_to_trace(float_model):
    with pytest.raises(UnsupportedError, match=r"needs the Keras model or its adder graph, and neither was given"):
        find("adder_graph").estimate([CostInput()], Target())
    assert "layer 'head' (Dense) has float weights" in find("adder_graph").supports(CostInput(float_model))


def test_cost_models_are_listed_without_a_framework():
    code = "import sys, weft.cost; print([m for m in ('keras', 'jax', 'alkaid', 'hgq') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_the_interval_of_a_count_holds_it_and_is_that_of_synthesised_designs(model):
    found = find("adder_graph").estimate([CostInput(model)], Target())[0]
    for name in ("lut", "ff"):
        assert 0.6 * found[name].value < found[name].low <= found[name].value <= found[name].high
        assert found[name].high < 1.4 * found[name].value
        assert re.match(r"90 % interval, from the synthesis of \d+ designs .yosys 0", found[name].reason)


def test_the_interval_of_tables_is_wider():
    import keras
    from hgq.layers import QUnaryFunctionLUT
    from hgq.quantizer import QuantizerConfig

    iq, oq = QuantizerConfig("kif", "datalane", i0=2, f0=3), QuantizerConfig("kbi", "table", b0=5, i0=0)
    inputs = keras.Input((2,))
    table = keras.Model(inputs, QUnaryFunctionLUT("tanh", iq_conf=iq, oq_conf=oq)(inputs))
    lut = find("adder_graph").estimate([CostInput(table)], Target())[0]["lut"]
    assert lut.low < 0.5 * lut.value <= lut.high and "tables and products of variables" in lut.reason

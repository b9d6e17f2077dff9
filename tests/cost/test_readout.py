"""The readout: what is counted of a graph, by hand, and weights that are found again."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from hgq.layers import QDense
from hgq.quantizer import QuantizerConfig
from hypothesis import given, settings
from hypothesis import strategies as st

from weft.adder_graph import AdderGraph
from weft.cost.readout import FEATURES, difficulty, features, fit, vector


def graph_of(kernel: list[list[float]], bits: int = 4, **kwargs) -> AdderGraph:
    """Return one dense layer on unsigned integers of some bits."""
    held = {"trainable": False, "overflow_mode": "WRAP", "round_mode": "TRN"}
    weights = np.array(kernel)
    inputs = keras.Input((weights.shape[0],))
    dense = QDense(
        weights.shape[1],
        kq_conf=QuantizerConfig("kif", "weight", i0=4, f0=0, **held),
        iq_conf=QuantizerConfig("kif", "datalane", k0=False, i0=bits, f0=0, **held),
        enable_oq=False,
        use_bias=False,
        **kwargs,
    )
    model = keras.Model(inputs, dense(inputs))
    dense._kernel.assign(weights)
    return AdderGraph.from_model(model)


def counted(graph: AdderGraph) -> dict[str, float]:
    return {name: count for name, count in features(graph, 100.0).items() if count}


def test_an_addition_takes_the_bits_that_both_operands_reach():
    found = counted(graph_of([[1.0], [1.0]]))
    assert (found["middle"], found["input"], found["output"]) == (5, 8, 5)  # u4 + u4 is u5
    found = counted(graph_of([[1.0], [4.0]]))
    assert found["middle"] == 5 and "below" not in found  # of u4 + 4 u4, which is u7, the two lowest bits are wires


def test_additions_are_narrow_or_wide_by_the_bits_that_both_operands_reach():
    assert counted(graph_of([[1.0], [1.0]], bits=2))["narrow"] == 3
    assert counted(graph_of([[1.0], [1.0]], bits=8))["wide"] == 9


def test_a_design_is_difficult_by_its_share_of_narrow_additions():
    assert difficulty({"narrow": 0.0, "solver": 100.0}) == 0.05
    assert difficulty({"narrow": 30.0, "solver": 100.0}) == pytest.approx(0.35)
    assert difficulty({"narrow": 0.0, "solver": 0.0}) == 0.05


def test_what_lies_below_in_a_subtrahend_has_to_borrow():
    found = counted(graph_of([[4.0], [-1.0]]))
    assert (found["middle"], found["below"]) == (5, 2)  # 4 u4 - u4 is s7: sign and bits 2 to 5, and two below


def test_relu_registers_and_the_compilers_count_are_there():
    graph = graph_of([[1.0], [-1.0]], activation="relu")
    found = counted(graph)
    assert found["relu"] >= 4
    assert found["solver"] == graph.lut and found["registers"] == graph.pipelined(100.0).ff


def test_a_graph_of_constants_counts_nothing():
    assert counted(graph_of([[0.0], [0.0]])) == {}


@settings(max_examples=30)
@given(st.lists(st.floats(0.1, 2), min_size=len(FEATURES), max_size=len(FEATURES)), st.integers(0, 99))
def test_the_weights_of_additive_sizes_are_found_again_and_none_is_negative(weights, seed):
    counts = np.random.default_rng(seed).uniform(1, 1000, (2000, len(FEATURES)))
    sizes = counts @ np.array(weights)
    found = fit(counts, sizes, "lut")
    assert (found >= 0).all()
    np.testing.assert_allclose(counts @ found, sizes, rtol=0.02)


def test_what_no_design_has_keeps_the_weight_that_the_compiler_gives_it():
    counts = np.random.default_rng(0).uniform(1, 1000, (200, len(FEATURES)))
    narrow, table = FEATURES.index("narrow"), FEATURES.index("table")
    counts[:, narrow], counts[:, table] = 0.0, 1e-3
    sizes = counts @ np.full(len(FEATURES), 0.5)
    assert fit(counts, sizes, "lut")[[narrow, table]] == pytest.approx(1.0, abs=1e-3)
    assert fit(counts, sizes, "ff")[narrow] == 0.0


def test_a_vector_has_the_order_of_the_features():
    assert list(vector({name: float(i) for i, name in enumerate(FEATURES)})) == list(range(len(FEATURES)))
    with pytest.raises(KeyError):
        vector({})

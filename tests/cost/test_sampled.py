"""Costs of networks that have no weights yet."""

from __future__ import annotations

import numpy as np
import pytest

from weft.blocks.mlp import MlpGenes
from weft.cost import FixedTarget, sampled_costs, sampled_model, sampled_side_by_side
from weft.errors import ConfigError
from weft.quantize.kernels import kernels
from weft.space.architecture import Architecture, of_widths, parse


@pytest.fixture(scope="module")
def architecture():
    return Architecture(input_shape=(4,), n_outputs=2, blocks=(MlpGenes(units=(4,)),))


def test_a_sampled_network_has_the_bits_and_the_zeros_that_were_asked_for(architecture):
    one, same, other = (sampled_model(architecture, 5, 0.5, seed) for seed in (1, 1, 2))
    found = [[k.quantized() for k in kernels(model)] for model in (one, same, other)]
    for a, b, c in zip(*found, strict=True):
        np.testing.assert_array_equal(a, b)
        assert not np.array_equal(a, c)
        assert (a == 0).mean() >= 0.5
        for weights in a.T:
            codes = np.unique(np.abs(weights[weights != 0]))
            assert codes.size == 0 or codes.max() / codes.min() < 2**5


def test_a_sampled_cost_says_so(architecture):
    sizes = {"bits": 4, "sparsity": 0.25, "seed": 3, "draws": 2}
    one, two = (sampled_costs(architecture, ("lut", "ebops"), "xcvu13p", 5.0, **sizes) for _ in range(2))
    assert one == two
    for quantity in one.values():
        assert quantity.stage == "predicted" and quantity.low <= quantity.value <= quantity.high
        assert "on kernels sampled at 4 bits with 25% zeros (2 draws, seed 3)" in quantity.source
        assert "on kernels sampled at 4 bits" in quantity.reason
    assert one["lut"].source.startswith("alkaid")


def test_cost_models_side_by_side_say_of_drawn_kernels_what_they_say_alone(architecture):
    how = {"bits": 4, "sparsity": 0.25, "seed": 3, "draws": 2}
    found = sampled_side_by_side(architecture, ("adder_graph", "ebops", "hls4ml"), FixedTarget("xcvu13p", 5.0), **how)
    alone = sampled_costs(architecture, ("lut", "ebops"), "xcvu13p", 5.0, **how)
    assert found.quantities["lut"]["adder_graph"] == alone["lut"]
    assert found.quantities["ebops"]["ebops"] == alone["ebops"]
    assert list(found.quantities["lut"]) == ["adder_graph", "hls4ml"]


def test_a_cost_model_that_refuses_a_sampled_network_says_why(architecture):
    found = sampled_side_by_side(architecture, ("rule4ml", "ebops"), FixedTarget("lfe5u-85f", 5.0), bits=4, draws=1)
    assert list(found.refused) == ["rule4ml"] and list(found.quantities) == ["ebops"]


def test_widths_are_a_network_of_dense_layers():
    assert of_widths("16-64-32-5").describe() == "16-64-32-5 relu, hgq"
    assert of_widths("16-5").blocks == ()


@pytest.mark.parametrize("text", ["16", "16-0-5", "16--5", "16-5-", "16-x-5", ""])
def test_what_is_no_list_of_widths_is_refused(text):
    with pytest.raises(ConfigError, match=r"are no widths of a network: give two or more, of at least 1"):
        of_widths(text)


@pytest.mark.parametrize("wrong", [{"bits": 0}, {"bits": 25}, {"bits": 4, "sparsity": 1.5}, {"bits": 4, "draws": 0}])
def test_impossible_samples_are_refused(architecture, wrong):
    with pytest.raises(ConfigError, match=r"(1 to 24 bits and a sparsity from 0 to 1|at least one network)"):
        sampled_costs(architecture, ("ebops",), "xcvu13p", 5.0, **wrong)


@pytest.mark.parametrize("shape", [(4,), (0,), (-3,)])
def test_an_architecture_that_cannot_be_built_is_named(shape):
    block = {"type": "conv1d", "filters": [4], "kernel": [3], "stride": [1], "pool": [1]}
    wrong = parse({"input_shape": shape, "n_outputs": 2, "blocks": [block]})
    with pytest.raises(
        ConfigError, match=r"the architecture '.*' cannot be built: .*; see that each block can read what"
    ):
        sampled_model(wrong, 4)

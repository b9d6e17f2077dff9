"""Costs of networks that have no weights yet."""

from __future__ import annotations

import numpy as np
import pytest

from weft.blocks.mlp import MlpGenes
from weft.cost import sampled_costs, sampled_model
from weft.errors import ConfigError
from weft.quantize.kernels import kernels
from weft.space.architecture import Architecture


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


@pytest.mark.parametrize("wrong", [{"bits": 0}, {"bits": 4, "sparsity": 1.5}, {"bits": 4, "draws": 0}])
def test_impossible_samples_are_refused(architecture, wrong):
    with pytest.raises(ConfigError, match=r"at least (1 bit and a sparsity from 0 to 1|one network)"):
        sampled_costs(architecture, ("ebops",), "xcvu13p", 5.0, **wrong)

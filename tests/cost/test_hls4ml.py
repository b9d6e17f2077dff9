"""The rules for hls4ml: counts by hand and against hls4ml's own code, illegal configurations, bounds."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tests.firmware.models import mlp, randomised, set_layer
from weft.config import HlsConfig
from weft.cost import CostInput, HlsTarget, csd_digits, find, legal_reuse_factors
from weft.cost.hls4ml import too_large
from weft.errors import UnsupportedError

PART = "xcvu13p-flga2577-2-e"


def estimate(model, clock_ns=5.0, **options):
    target = HlsTarget(PART, clock_ns, HlsConfig.model_validate(options))
    return find("hls4ml").estimate([CostInput(model=model)], target)[0]


@pytest.fixture(scope="module")
def known():
    """One layer of 2 inputs and 3 outputs: zeros, powers of two, one weight of three signed digits and one of two."""
    model = mlp(2, (3,))
    kernel = np.array([[0.0, 0.5, 1.375], [0.0, -2.0, 0.375]])  # 1.375 = 1.0101 - ..., 11/8; 0.375 = 1/2 - 1/8
    set_layer(model.layers[1], kernel, np.zeros(3), [(1, 2, 3), (0, 3, 1)])
    return model


def test_signed_digits_are_counted_as_by_hand_and_as_by_subtraction():
    def by_hand(n: int) -> int:
        count = 0
        while n:
            if n % 2:
                count, n = count + 1, n - (2 - n % 4)
            n //= 2
        return count

    numbers = np.arange(-600, 600)
    np.testing.assert_array_equal(csd_digits(numbers / 64), [by_hand(abs(int(n))) for n in numbers])


def test_legal_reuse_factors_are_those_that_hls4ml_accepts():
    from hls4ml.backends import get_backend

    vitis = get_backend("Vitis")
    for n_in, n_out in itertools.product((1, 2, 3, 6, 8, 15), (1, 4, 5, 6, 9)):
        assert list(legal_reuse_factors(n_in, n_out)) == vitis.get_valid_reuse_factors(n_in, n_out)


def test_products_of_more_than_two_digits_are_dsps_and_shared(known):
    found = estimate(known)
    assert found["dsp"].value == 1  # 1.375 alone; narrow as it is, it may be in look-up tables
    assert found["dsp"].low == 0
    # 0.5: 1 bit, 1.375: 4 (in the DSP), -2: 1, 0.375: 2 bits of weight; 5 and 4 bits of input without signs
    assert found["lut"].value == 1 * 5 + 1 * 4 + 2 * 4
    assert found["ii_cycles"].value == 1 and found["bram_18k"].value == 0
    assert {q.stage for q in found.quantities.values()} == {"predicted"}
    shared = estimate(known, reuse_factor=2)
    assert shared["ii_cycles"].value == 2 and shared["dsp"].value == 1


def test_resource_counts_zeros_too_and_keeps_weights_in_memory(known):
    assert estimate(known, strategy="resource")["dsp"].value == 6
    found = estimate(known, strategy="resource", reuse_factor=2)
    assert (found["dsp"].value, found["ii_cycles"].value) == (3, 2)
    assert found["bram_18k"].value == 1
    assert found["latency_cycles"].value == estimate(known, strategy="resource")["latency_cycles"].value + 1


def test_distributed_arithmetic_has_no_dsps_and_its_measured_interval(known):
    found = estimate(known, strategy="distributed_arithmetic")
    ebops = find("ebops").estimate([CostInput(model=known)], HlsTarget(PART, 5.0))[0]["ebops"].value
    assert (found["dsp"].value, found["lut"].value) == (0, ebops)
    assert (found["lut"].low, found["lut"].high) == pytest.approx((0.57 * ebops, 1.16 * ebops))


def test_nothing_costs_nothing():
    model = mlp(4, (3, 2))
    for layer in model.layers[1:]:
        layer._kernel.assign(np.zeros(layer._kernel.shape))
    for strategy in ("latency", "resource", "distributed_arithmetic"):
        found = estimate(model, strategy=strategy)
        assert [found[name].value for name in ("lut", "ff", "dsp", "bram_18k", "latency_cycles")] == [0] * 5


@pytest.mark.parametrize("strategy", ["latency", "distributed_arithmetic"])
def test_more_bits_and_more_weights_never_cost_less(strategy):
    model = randomised(mlp(6, (5, 3)))
    before, first = estimate(model, strategy=strategy), model.layers[1]
    kernel = np.array(first._kernel.value)
    first._kernel.assign(np.where(np.arange(kernel.size).reshape(kernel.shape) % 2, kernel, 0.0))
    sparser = estimate(model, strategy=strategy)
    first._kernel.assign(kernel)
    first.iq.quantizer._f.assign(first.iq.quantizer._f.value + 2.0)
    finer = estimate(model, strategy=strategy)
    for name in ("lut", "dsp", "ff", "latency_cycles"):
        assert sparser[name].value <= before[name].value <= finer[name].value
    assert sparser["lut"].value < before["lut"].value < finer["lut"].value


def test_a_design_does_not_depend_on_those_beside_it():
    one, other = (CostInput(model=randomised(mlp(4, (3, 2)), seed)) for seed in (1, 2))
    model, target = find("hls4ml"), HlsTarget(PART, 5.0)
    assert model.estimate([one, other], target) == [*model.estimate([one], target), *model.estimate([other], target)]
    assert model.estimate([other, one], target) == model.estimate([one, other], target)[::-1]


def test_intervals_hold_their_values():
    model = randomised(mlp(6, (5, 3)))
    for options in ({}, {"reuse_factor": 3}, {"strategy": "resource", "reuse_factor": {"d1": 5}}, {"io": "stream"}):
        for name, quantity in estimate(model, **options).quantities.items():
            assert quantity.low <= quantity.value <= quantity.high, (options, name)


def test_a_faster_clock_takes_more_cycles():
    model = randomised(mlp(24, (8, 3)))
    assert estimate(model, clock_ns=1.0)["latency_cycles"].value > estimate(model)["latency_cycles"].value


def test_illegal_configurations_are_named_before_a_tool_runs(known):
    with pytest.raises(UnsupportedError, match=r"cannot estimate .* reuse factor 5 .* 2 and 6 \(of 1, 2, 6\)"):
        estimate(known, strategy="resource", reuse_factor=5)
    layer = ("wide", 128, 64)
    assert too_large(*layer, HlsConfig()) == (
        "layer 'wide' unrolls 8192 products, and the HLS compiler stops at 4096; take a smaller layer, strategy "
        "distributed_arithmetic, or strategy resource with a larger reuse factor"
    )
    assert too_large(*layer, HlsConfig(strategy="resource", reuse_factor=2)) is None
    assert too_large(*layer, HlsConfig(strategy="distributed_arithmetic")) is None
    assert too_large(*layer, HlsConfig(backend="catapult")) is None
    assert find("hls4ml").supports(CostInput()) == "it needs the Keras model, and only an adder graph was given"

"""Calibration: ranges that hold for the share of designs they promise, and maps that stay sane on little data."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weft.cost.calibration import FEWEST_FOR_A_SLOPE, Calibration
from weft.errors import DataError


def pairs(n: int, seed: int, slope: float = 1.1, spread: float = 0.05) -> list[tuple[float, float]]:
    """Return estimates and measured values; small designs scatter more."""
    rng = np.random.default_rng(seed)
    x = np.exp(rng.uniform(np.log(50), np.log(10_000), n))
    noise = rng.normal(size=n) * (spread + 2 / np.sqrt(x))
    return list(zip(x, 0.8 * x**slope * np.exp(noise), strict=True))


def test_nine_of_ten_new_designs_are_inside_small_and_large_ones_alike():
    inside = {True: [], False: []}
    for seed in range(60):
        calibration = Calibration.of(pairs(100, seed))
        for estimate, measured in pairs(20, 1000 + seed):
            found = calibration.range(estimate)
            inside[estimate < 500].append(found.low <= measured <= found.high)
    for share in map(np.mean, inside.values()):
        assert 0.85 <= share <= 0.95


@settings(max_examples=30)
@given(st.lists(st.tuples(*[st.floats(1, 1e6)] * 2), min_size=1, max_size=30), st.floats(1, 1e6), st.floats(0.5, 0.95))
def test_a_larger_estimate_never_gives_a_smaller_value(given_pairs, estimate, coverage):
    calibration = Calibration.of(given_pairs)
    found, larger = calibration.range(estimate, coverage), calibration.range(2 * estimate, coverage)
    assert larger.value > found.value > 0
    if found.low is None:
        assert len(given_pairs) < coverage / (1 - coverage)
    else:
        assert found.low <= found.value <= found.high


def test_the_line_is_found_and_a_few_failures_do_not_move_it():
    clean = [(float(x), 3.0 * x**0.9) for x in range(50, 1000, 50)]
    broken = [*clean[:-2], (clean[-2][0], 1e6), (clean[-1][0], 1.0)]
    for given_pairs, error in ((clean, 1e-9), (broken, 0.02)):
        assert Calibration.of(given_pairs).range(2000.0).value == pytest.approx(3.0 * 2000**0.9, rel=error)


def test_few_pairs_give_their_ratio_and_no_range():
    calibration = Calibration.of([(100.0, 110.0), (1000.0, 1100.0)])
    found = calibration.range(500.0)
    assert found.value == pytest.approx(550.0) and found.low is None and found.high is None
    assert len(calibration.estimates) < FEWEST_FOR_A_SLOPE


def test_equal_estimates_give_the_middle_of_what_was_measured():
    found = Calibration.of([(100.0, 90.0 + i) for i in range(21)]).range(100.0)
    assert found.value == pytest.approx(100.0) and found.low == pytest.approx(100 / 1.1, rel=0.02)


@pytest.mark.parametrize(
    ("given_pairs", "found"),
    [
        ([], "none"),
        ([(1.0, 0.0)], "1 and 0"),
        ([(5.0, 6.0), (float("nan"), 2.0)], "nan and 2"),
        ([(-1.0, 2.0)], "-1 and 2"),
    ],
)
def test_what_is_no_pair_of_positive_numbers_is_refused(given_pairs, found):
    with pytest.raises(DataError, match=rf"an estimate and a measured value, both > 0; got {found}"):
        Calibration.of(given_pairs)

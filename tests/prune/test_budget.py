"""The budget of a global sparsity against counting: one threshold for all, exact totals, and nets that meet it."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from weft.errors import ConfigError
from weft.prune._budget import shares

shapes = st.sampled_from([(1, 1), (1, 5), (5, 1), (4, 3), (2, 2, 3)])
weight = st.one_of(st.floats(-4, 4, width=32), st.sampled_from([0.0, 0.5, -0.5, 1.0]))
nets = st.lists(shapes.flatmap(lambda s: arrays(np.float32, s, elements=weight)), min_size=1, max_size=4).map(
    lambda kernels: {f"layer{i}": kernel for i, kernel in enumerate(kernels)}
)


def removed(kernels, found) -> dict[str, int]:
    """Return the whole numbers of weights that the shares stand for."""
    counts = {name: found[name] * kernel.size for name, kernel in kernels.items()}
    assert all(abs(count - round(count)) < 1e-9 for count in counts.values())
    return {name: round(count) for name, count in counts.items()}


@given(nets, st.floats(0, 0.99))
def test_the_total_is_exact_and_each_layer_keeps_a_weight(kernels, sparsity):
    counts = removed(kernels, shares(kernels, sparsity))
    total = sum(kernel.size for kernel in kernels.values())
    assert sum(counts.values()) == min(round(sparsity * total), total - len(kernels))
    assert all(0 <= counts[name] < kernel.size for name, kernel in kernels.items())


@given(nets, st.floats(0, 0.99))
def test_no_layer_loses_a_larger_weight_while_another_keeps_a_smaller_one(kernels, sparsity):
    counts = removed(kernels, shares(kernels, sparsity))
    ordered = {name: sorted(map(abs, kernel.ravel().tolist())) for name, kernel in kernels.items()}
    gone = [size for name, sizes in ordered.items() for size in sizes[: counts[name]]]
    kept = [size for name, sizes in ordered.items() for size in sizes[counts[name] : -1]]  # the largest always stays
    assert not gone or not kept or max(gone) <= min(kept)


@given(st.lists(st.integers(2, 40), min_size=1, max_size=5), st.integers(0, 90))
def test_equal_weights_are_shared_out_in_proportion(sizes, percent):
    kernels = {str(i): np.full(size, 0.5, np.float32) for i, size in enumerate(sizes)}
    counts = removed(kernels, shares(kernels, percent / 100))
    candidates = sum(size - 1 for size in sizes)
    total = sum(counts.values())
    for name, kernel in kernels.items():
        assert abs(counts[name] - Fraction(total * (kernel.size - 1), candidates)) < 1


def test_without_ties_the_shares_are_those_below_the_quantile():
    rng = np.random.default_rng(0)
    kernels = {name: rng.normal(0, scale, (64, 32)) for name, scale in (("small", 0.1), ("large", 1.0))}
    found = shares(kernels, 0.6)
    border = np.quantile(np.abs(np.concatenate([k.ravel() for k in kernels.values()])), 0.6)
    for name, kernel in kernels.items():
        assert found[name] == pytest.approx((np.abs(kernel) < border).mean(), abs=1e-3)
    assert found["small"] > 0.95 > 0.3 > found["large"]


def test_what_is_not_pruned_is_not_in_the_budget():
    rng = np.random.default_rng(1)
    pruned = {"a": rng.normal(size=(16, 16)), "b": rng.normal(size=(16, 1))}
    found = shares(pruned, 0.8)
    assert sum(removed(pruned, found).values()) == round(0.8 * 272)


def test_nothing_goes_at_sparsity_0_and_nothing_breaks_without_layers():
    assert shares({"a": np.ones((3, 2))}, 0.0) == {"a": 0.0}
    assert shares({}, 0.5) == {}


@pytest.mark.parametrize("sparsity", [-0.1, 1.0, 1.5, float("nan")])
def test_a_sparsity_out_of_range_is_refused(sparsity):
    with pytest.raises(ConfigError, match=r"needs 0 <= sparsity < 1; got"):
        shares({"a": np.ones((3, 2))}, sparsity)

"""PDP against NumPy: threshold, soft mask and its gradient, the ramp, N:M, rows, hardening, and nets on budget."""

from __future__ import annotations

from itertools import pairwise

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydantic import ValidationError

from tests.gradients import gradient
from weft.prune import Clock, Geometry
from weft.prune._budget import shares
from weft.prune.pdp import Pdp

pytestmark = pytest.mark.backends
few = settings(max_examples=20)

values = st.one_of(st.floats(-2, 2, width=32, allow_subnormal=False), st.sampled_from([0.0, 0.5, -0.5, 1.0]))
matrices = st.sampled_from([(1, 4), (5, 8)]).flatmap(lambda shape: arrays(np.float32, shape, elements=values))
LAST = Clock(epoch=0.0, epochs=1.0, round=0.0)
"""A stage of one epoch: the whole sparsity is due."""


def tensor(array):
    return keras.ops.convert_to_tensor(np.asarray(array, np.float32))


def array(tensor) -> np.ndarray:
    return keras.ops.convert_to_numpy(tensor)


def state(share: float) -> dict[str, object]:
    return {"share": tensor(share)}


def soft_mask(w: np.ndarray, pruned: int, temperature: float) -> np.ndarray:
    """Return the mask of the paper for one group of magnitudes in float64: t midway, m = sigmoid((w^2 - t^2) / tau)."""
    if pruned == 0:
        return np.ones(w.shape)
    w = w.astype(np.float64)
    ordered = np.sort(np.abs(w).ravel())
    t = (ordered[pruned - 1] + ordered[pruned]) / 2
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-(w**2 - t**2) / temperature))


def to_prune(share: float, count: int) -> int:
    """Return how many go, in float32 as the share is a variable, and always leaving one."""
    return min(int(np.round(np.float32(share) * np.float32(count))), count - 1)


@few
@given(matrices, st.floats(0, 0.95), st.sampled_from([1e-5, 0.1]))
def test_weights_are_multiplied_by_the_soft_mask(w, share, temperature):
    method = Pdp(sparsity=0.5, temperature=temperature)
    used, alive = method.apply(tensor(w), state(share), LAST)
    mask = soft_mask(w, to_prune(share, w.size), temperature)
    clear = np.abs(mask - 0.5) > 0.05  # where float32 leaves no doubt
    np.testing.assert_allclose(
        array(used)[clear], (w * mask)[clear], rtol=1e-3, atol=5e-2 if temperature < 1e-3 else 1e-5
    )
    np.testing.assert_array_equal(array(alive)[clear], (mask >= 0.5)[clear])


@few
@given(matrices, st.floats(0.1, 0.9), st.integers(0, 2**32 - 1))
def test_the_gradient_flows_through_the_mask_but_not_through_the_threshold(w, share, seed):
    upstream = np.random.default_rng(seed).normal(size=w.shape).astype(np.float32)
    method = Pdp(sparsity=0.5, temperature=0.1)
    found = gradient(lambda w: keras.ops.sum(method.apply(w, state(share), LAST)[0] * tensor(upstream)), w)[0]
    m = soft_mask(w, pruned := to_prune(share, w.size), 0.1)
    slope = m + (w * m * (1 - m) * 2 * w / 0.1 if pruned else 0)
    np.testing.assert_allclose(found, upstream * slope, rtol=1e-3, atol=1e-4)


@few
@given(st.integers(1, 200), st.sampled_from([0.015, 0.1, 0.5, 1.0]), st.floats(0.05, 0.95))
def test_the_sparsity_ramps_up_and_is_reached_in_time(epochs, epsilon, share):
    w = np.arange(1, 101, dtype=np.float32).reshape(10, 10)
    method = Pdp(epsilon=epsilon, temperature=1e-3)
    for epoch in sorted({0, epochs // 3, epochs - 1}):
        clock = Clock(epoch=float(epoch), epochs=float(epochs), round=0.0)
        alive = array(method.apply(tensor(w), state(share), clock)[1])
        expected = share * min(1.0, max(epsilon, 1 / epochs) * (epoch + 1)) * 100
        assert abs((alive == 0).sum() - expected) <= 0.5 + 1e-3
        if epoch == epochs - 1:
            assert abs((alive == 0).sum() - 100 * share) <= 0.5 + 1e-3


@few
@given(matrices, st.floats(0, 0.95))
def test_hardening_rounds_the_soft_mask_and_keeps_the_exact_count(w, share):
    method = Pdp(temperature=0.01)
    used, _ = method.apply(tensor(w), state(share), LAST)
    kept, mask = (array(part) for part in method.harden(tensor(w), state(share), LAST))
    pruned = to_prune(share, w.size)
    np.testing.assert_array_equal(kept, w)
    assert (mask == 0).sum() == pruned
    soft = soft_mask(w, pruned, 0.01)
    np.testing.assert_allclose(np.abs(array(used) - w * mask), np.abs(w) * np.minimum(soft, 1 - soft), atol=1e-3)


@few
@given(matrices, st.integers(1, 3))
def test_n_of_m_keeps_exactly_n_of_each_group_along_the_inputs(w, n):
    method = Pdp(n=n, m=4, temperature=0.1)
    geometry = Geometry(*w.shape)
    slots = {name: tensor(slot.initial) for name, slot in method.slots(geometry).items()}
    used, _ = method.apply(tensor(w), slots, LAST)
    soft = np.stack([soft_mask(group, 4 - n, 0.1) for group in w.reshape(-1, 4)]).reshape(w.shape)
    np.testing.assert_allclose(array(used), w * soft, rtol=1e-3, atol=1e-5)
    mask = array(method.harden(tensor(w), slots, LAST)[1])
    assert (mask.reshape(-1, 4).sum(axis=1) == n).all()
    assert not method.wants_budget


@few
@given(matrices, st.floats(0, 0.95))
def test_rows_compete_by_their_norms_and_go_as_a_whole(w, share):
    method = Pdp(granularity="row", temperature=0.1)
    assert method.structured and method.wants_budget and not Pdp().structured
    norms = np.sqrt((w.astype(np.float64) ** 2).sum(axis=1))
    pruned = to_prune(share, len(norms))
    soft = soft_mask(norms, pruned, 0.1)[:, None]
    used, alive = method.apply(tensor(w), state(share), LAST)
    np.testing.assert_allclose(array(used), w * soft, rtol=1e-3, atol=1e-4)
    mask = array(method.harden(tensor(w), state(share), LAST)[1])
    assert (mask == mask[:, :1]).all() and (mask[:, 0] == 0).sum() == pruned
    assert array(alive).shape == w.shape


def test_rows_of_zeros_have_a_finite_gradient():
    w = np.zeros((5, 8), np.float32)
    w[0] = 1
    for method in (Pdp(granularity="row"), Pdp(), Pdp(n=2, m=4)):
        found = gradient(lambda w, method=method: keras.ops.sum(method.apply(w, state(0.5), LAST)[0] ** 2), w)[0]
        assert np.isfinite(found).all()


@few
@given(matrices)
def test_nothing_is_pruned_at_share_0(w):
    used, alive = Pdp().apply(tensor(w), state(0.0), LAST)
    np.testing.assert_array_equal(array(used), w)
    assert (array(alive) == 1).all()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("sparsity", [0.5, 0.8, 0.94])
def test_random_nets_meet_the_budget_within_a_percent(seed, sparsity):
    rng = np.random.default_rng(seed)
    widths = [16, 48, 24, 5]
    method = Pdp(sparsity=sparsity)
    nets = {
        str(i): rng.normal(0, rng.uniform(0.05, 0.5), (n_out, n_in)).astype(np.float32)
        for i, (n_in, n_out) in enumerate(pairwise(widths))
    }
    grid = {name: np.round(w * 8) / 8 for name, w in nets.items()}  # many equal weights
    for kernels in (nets, grid):
        found = shares(kernels, sparsity)
        masks = {name: array(method.harden(tensor(w), state(found[name]), LAST)[1]) for name, w in kernels.items()}
        gone = sum((mask == 0).sum() for mask in masks.values()) / sum(mask.size for mask in masks.values())
        assert abs(gone - sparsity) < 0.01


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="compiled as JAX compiles it")
def test_compiled_once_it_serves_every_share_and_epoch():
    import jax

    method = Pdp(temperature=0.1)
    w = np.random.default_rng(0).normal(size=(5, 8)).astype(np.float32)
    compiled = jax.jit(lambda w, share, epoch: method.apply(w, {"share": share}, Clock(epoch, 10.0, 0.0))[0])
    for share, epoch in ((0.0, 0.0), (0.5, 4.0), (0.9, 9.0)):
        expected = method.apply(tensor(w), state(share), Clock(epoch, 10.0, 0.0))[0]
        np.testing.assert_allclose(compiled(w, share, epoch), array(expected), rtol=1e-4, atol=1e-5)


def test_the_share_begins_as_the_sparsity():
    assert Pdp(sparsity=0.7).slots(Geometry(3, 4))["share"].initial == 0.7
    assert Pdp(n=1, m=4).slots(Geometry(3, 4))["share"].initial == 0.75


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"granularity": "row", "n": 2, "m": 4},
            "granularity: row removes whole outputs, n and m do not; got n=2, m=4",
        ),
        ({"granularity": "channel"}, "Input should be 'weight' or 'row'"),
        ({"epsilon": 0.0}, "greater than 0"),
        ({"epsilon": 1.5}, "less than or equal to 1"),
        ({"temperature": 0.0}, "greater than 0"),
        ({"tau": 1.0}, "Extra inputs are not permitted"),
    ],
)
def test_nonsense_is_refused(fields, message):
    with pytest.raises(ValidationError, match=message):
        Pdp(**fields)

"""AutoSparse against NumPy: the shrunken kernel, its two gradients, the schedule of alpha, and baking the shrink in."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.gradients import gradient
from weft.prune import Clock, Geometry
from weft.prune.autosparse import AutoSparse

pytestmark = pytest.mark.backends
few = settings(max_examples=25)

values = st.floats(-3, 3, width=32, allow_subnormal=False)
GEOMETRY = Geometry(n_out=3, n_in=4)
SHAPES = {"tensor": (1, 1), "row": (3, 1), "weight": (3, 4)}
shapes = st.shared(st.sampled_from([(3, 4), (1, 1), (2, 7)]), key="shape")  # the same for all draws of an example
kernels = shapes.flatmap(lambda shape: arrays(np.float32, shape, elements=st.one_of(values, st.just(0.0))))
upstreams = shapes.flatmap(lambda shape: arrays(np.float32, shape, elements=values))


def clock(epoch: float, epochs: float) -> Clock:
    return Clock(*(keras.ops.convert_to_tensor(np.float32(value)) for value in (epoch, epochs, 0)))


def thresholds(granularity: str) -> st.SearchStrategy[np.ndarray]:
    elements = st.floats(-6, 4, width=32)
    return shapes.flatmap(lambda shape: arrays(np.float32, shape_of(granularity, shape), elements=elements))


def shape_of(granularity: str, shape: tuple[int, int]) -> tuple[int, int]:
    return {"tensor": (1, 1), "row": (shape[0], 1), "weight": shape}[granularity]


cases = st.sampled_from(list(SHAPES)).flatmap(lambda g: st.tuples(st.just(g), kernels, thresholds(g)))


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-np.asarray(x, np.float64)))


def alpha(alpha_0: float, e: int, epochs: int, reset: int | None) -> float:
    if reset is not None and e >= reset:
        return 0.0
    return alpha_0 * max((1 + math.cos(math.pi * e / epochs)) / 2, 1 - float(sigmoid(np.array(-6 + 12 * e / epochs))))


@few
@given(cases)
def test_the_kernel_shrinks_towards_zero_by_the_threshold(case):
    granularity, w, t = case
    method = AutoSparse(granularity=granularity)
    used, alive = method.apply(
        keras.ops.convert_to_tensor(w), {"threshold": keras.ops.convert_to_tensor(t)}, clock(1, 9)
    )
    excess = np.abs(w) - sigmoid(t)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(used), np.sign(w) * np.maximum(excess, 0), atol=1e-6)
    clear = np.abs(excess) > 1e-6
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(alive)[clear], (excess > 0)[clear])


@few
@given(cases, upstreams, st.integers(0, 10), st.sampled_from([None, 0, 4]))
def test_both_gradients_are_scaled_by_alpha_below_the_threshold(case, upstream, epoch, reset):
    granularity, w, t = case
    method = AutoSparse(granularity=granularity, alpha=0.75, alpha_reset_epoch=reset)

    def loss(w, t):
        return keras.ops.sum(
            method.apply(w, {"threshold": t}, clock(epoch, 10))[0] * keras.ops.convert_to_tensor(upstream)
        )

    by_w, by_t = gradient(loss, w, t)
    excess = np.abs(w) - sigmoid(t)
    slope = np.where(excess > 0, 1.0, alpha(0.75, epoch, 10, reset))
    clear = np.abs(excess) > 1e-6
    np.testing.assert_allclose(by_w[clear], (upstream * slope)[clear], rtol=1e-4, atol=1e-5)
    if clear.all():
        each = -upstream * np.sign(w) * slope * sigmoid(t) * (1 - sigmoid(t))
        axes = tuple(i for i in range(2) if t.shape[i] == 1)
        np.testing.assert_allclose(by_t, each.sum(axis=axes, keepdims=True), rtol=1e-4, atol=1e-5)


def test_a_weight_at_zero_can_grow():
    method = AutoSparse(alpha=0.5)
    state = {"threshold": np.full((1, 1), -5.0, np.float32)}

    def loss(w):
        return keras.ops.sum(method.apply(w, state, clock(0, 10))[0])

    np.testing.assert_allclose(gradient(loss, np.zeros((1, 2), np.float32))[0], 0.5)


@pytest.mark.parametrize("epochs", [1, 10, 100])
@pytest.mark.parametrize("reset", [None, 3])
def test_alpha_follows_the_larger_of_cosine_and_sigmoid(epochs, reset):
    method = AutoSparse(alpha=0.5, alpha_reset_epoch=reset)
    for epoch in range(epochs):
        found = float(method._alpha(clock(epoch, epochs)))
        assert found == pytest.approx(alpha(0.5, epoch, epochs, reset), abs=1e-6)


def test_a_clock_that_was_not_set_gives_finite_gradients():
    method = AutoSparse()
    state = {"threshold": np.full((3, 1), -5.0, np.float32)}

    def loss(w):
        return keras.ops.sum(method.apply(w, state, clock(0, 0))[0])

    assert np.isfinite(gradient(loss, np.full((3, 4), 0.001, np.float32))[0]).all()


@few
@given(cases, st.integers(0, 9))
def test_hardening_bakes_the_shrink_in_and_changes_no_bit(case, epoch):
    granularity, w, t = case
    method, state = AutoSparse(granularity=granularity), {"threshold": keras.ops.convert_to_tensor(t)}
    w = keras.ops.convert_to_tensor(w)
    used, alive = method.apply(w, state, clock(epoch, 10))
    kernel, mask = method.harden(w, state, clock(epoch, 10))
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(kernel * mask), keras.ops.convert_to_numpy(used))
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(mask), keras.ops.convert_to_numpy(alive))


@few
@given(arrays(np.float32, (3, 1), elements=values))
def test_thresholds_decay_towards_zero(t):
    method = AutoSparse(threshold_decay=0.25)

    def loss(t):
        return method.penalty(None, {"threshold": t}, clock(0, 1))

    np.testing.assert_allclose(gradient(loss, t)[0], 0.25 * t, rtol=1e-6, atol=1e-30)


@pytest.mark.parametrize("granularity", list(SHAPES))
def test_thresholds_start_where_they_cut_next_to_nothing(granularity):
    (slot,) = AutoSparse(granularity=granularity).slots(GEOMETRY).values()
    assert slot.shape == SHAPES[granularity] and slot.trainable
    assert sigmoid(np.array(slot.initial)) == pytest.approx(0.0067, abs=1e-4)

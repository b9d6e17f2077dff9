"""Continuous sparsification against NumPy: the soft mask, its temperature, its reset between rounds and its factor."""

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
from weft.prune.cs import Cs

pytestmark = pytest.mark.backends
few = settings(max_examples=25)

values = st.floats(-2, 2, width=32, allow_subnormal=False)
shapes = st.shared(st.sampled_from([(3, 4), (1, 1), (2, 7)]), key="shape")  # the same for all draws of an example
matrices = shapes.flatmap(lambda shape: arrays(np.float32, shape, elements=values))
starts = st.sampled_from([-0.5, 0.0, 0.25])


def clock(epoch: float, epochs: float) -> Clock:
    return Clock(*(keras.ops.convert_to_tensor(np.float32(value)) for value in (epoch, epochs, 0)))


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 0.5 * (1.0 + np.tanh(np.asarray(x, np.float64) / 2.0))


def beta(epoch: int, epochs: int, final: float) -> float:
    """Multiply by the same factor after each epoch, so that the last epoch has the final temperature."""
    value = 1.0
    for _ in range(epoch):
        value *= final ** (1.0 / (epochs - 1))
    return value if epochs > 1 else final


def apply(method: Cs, w: np.ndarray, s: np.ndarray, epoch: int, epochs: int) -> list[np.ndarray]:
    state = {"s": keras.ops.convert_to_tensor(s)}
    return [
        keras.ops.convert_to_numpy(x) for x in method.apply(keras.ops.convert_to_tensor(w), state, clock(epoch, epochs))
    ]


@few
@given(matrices, matrices, starts, st.integers(1, 6).flatmap(lambda n: st.tuples(st.integers(0, n - 1), st.just(n))))
def test_the_mask_is_a_sigmoid_that_hardens(w, s, s0, when):
    used, alive = apply(Cs(mask_init=s0), w, s, *when)
    expected = w * sigmoid(beta(*when, 200.0) * s.astype(np.float64)) / sigmoid(np.array(s0))
    np.testing.assert_allclose(used, expected, rtol=1e-3, atol=1e-5)
    np.testing.assert_array_equal(alive, s > 0)


@few
@given(matrices, starts)
def test_the_first_step_leaves_the_kernel_as_it_is(w, s0):
    used, _ = apply(Cs(mask_init=s0), w, np.full_like(w, s0), 0, 10)
    np.testing.assert_allclose(used, w, rtol=1e-6)


@few
@given(matrices, matrices, st.integers(0, 3))
def test_gradients_flow_to_the_kernel_and_through_the_mask(w, s, epoch):
    method = Cs(final_temperature=8.0, mask_init=0.25, l1=0.5)

    def loss(w, s):
        state = {"s": s}
        return keras.ops.sum(method.apply(w, state, clock(epoch, 4))[0]) + method.penalty(w, state, clock(epoch, 4))

    by_w, by_s = gradient(loss, w, s)
    b, open_ = beta(epoch, 4, 8.0), sigmoid(np.array(0.25))
    m = sigmoid(b * s.astype(np.float64))
    np.testing.assert_allclose(by_w, m / open_, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(by_s, (w / open_ + 0.5) * b * m * (1 - m), rtol=1e-3, atol=1e-4)


@few
@given(matrices, starts)
def test_between_rounds_survivors_start_anew_and_the_others_stay_out(s, s0):
    method = Cs(final_temperature=50.0, mask_init=s0)
    new = method.between_rounds(keras.ops.ones(s.shape), {"s": keras.ops.convert_to_tensor(s)})
    assert set(new) == {"s"}
    np.testing.assert_allclose(keras.ops.convert_to_numpy(new["s"]), np.minimum(50.0 * s, s0), rtol=1e-6)


@few
@given(matrices, matrices, starts)
def test_the_hard_mask_keeps_its_factor(w, s, s0):
    method, state = Cs(mask_init=s0), {"s": keras.ops.convert_to_tensor(s)}
    kernel, mask = method.harden(keras.ops.convert_to_tensor(w), state, clock(9, 10))
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(kernel), w)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(mask), (s > 0) / sigmoid(np.array(s0)), rtol=1e-6)


@few
@given(matrices, matrices, starts)
def test_hardening_only_rounds_the_mask(w, s, s0):
    method = Cs(mask_init=s0)
    used, _ = apply(method, w, s, 9, 10)
    kernel, mask = method.harden(keras.ops.convert_to_tensor(w), {"s": keras.ops.convert_to_tensor(s)}, clock(9, 10))
    rounding = np.abs(w) / sigmoid(np.array(s0)) * np.abs(sigmoid(200.0 * s.astype(np.float64)) - (s > 0))
    hard = keras.ops.convert_to_numpy(kernel * mask)
    assert (np.abs(hard - used) <= rounding * (1 + 1e-3) + 1e-5).all()
    settled = np.abs(s) > 0.2
    np.testing.assert_allclose(hard[settled], used[settled], rtol=1e-5, atol=1e-6)


@few
@given(matrices)
def test_the_penalty_sums_the_sigmoids(s):
    method = Cs(l1=0.125)
    found = float(method.penalty(None, {"s": keras.ops.convert_to_tensor(s)}, clock(0, 3)))
    assert found == pytest.approx(0.125 * sigmoid(s).sum(), rel=1e-5)


def test_a_clock_that_was_not_set_gives_finite_gradients():
    method = Cs()

    def loss(w, s):
        return keras.ops.sum(method.apply(w, {"s": s}, clock(0, 0))[0])

    for found in gradient(loss, np.ones((3, 4), np.float32), np.full((3, 4), -0.5, np.float32)):
        assert np.isfinite(found).all()


def test_the_mask_starts_from_its_option():
    (slot,) = Cs(mask_init=-0.5).slots(Geometry(n_out=3, n_in=4)).values()
    assert slot.shape == (3, 4) and slot.initial == -0.5 and slot.trainable
    assert Cs(mask_init=-0.5)._factor == pytest.approx(1 + math.exp(0.5))

"""Dynamic sparse training against NumPy: the step and its gradient, thresholds >= 0, the penalty and the reset."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.gradients import gradient
from weft.prune import Clock, Geometry
from weft.prune.dst import Dst, step_function

pytestmark = pytest.mark.backends
few = settings(max_examples=25)

CLOCK = Clock(epoch=0.0, epochs=1.0, round=0.0)
values = st.floats(-2, 2, width=32, allow_subnormal=False)
shapes = st.shared(st.sampled_from([(3, 4), (1, 1), (2, 7)]), key="shape")  # the same for all draws of an example
matrices = shapes.flatmap(
    lambda shape: arrays(np.float32, shape, elements=st.one_of(values, st.sampled_from([0.0, 0.5, -0.5])))
)
upstreams = shapes.flatmap(lambda shape: arrays(np.float32, shape, elements=values))
SHAPES = {"tensor": (1, 1), "row": (3, 1), "weight": (3, 4)}


def thresholds(granularity: str) -> st.SearchStrategy[np.ndarray]:
    elements = st.one_of(values, st.just(0.5))
    return shapes.flatmap(lambda shape: arrays(np.float32, shape_of(granularity, shape), elements=elements))


def shape_of(granularity: str, shape: tuple[int, int]) -> tuple[int, int]:
    return {"tensor": (1, 1), "row": (shape[0], 1), "weight": shape}[granularity]


cases = st.sampled_from(list(SHAPES)).flatmap(lambda g: st.tuples(st.just(g), matrices, thresholds(g)))


def slope(x: np.ndarray) -> np.ndarray:
    """Return the derivative that the paper gives the step (its equation 6)."""
    size = np.abs(x)
    return np.where(size <= 0.4, 2 - 4 * size, np.where(size <= 1, 0.4, 0.0))


def state_of(threshold: np.ndarray, origin: np.ndarray | float = 0.0) -> dict[str, object]:
    origin = np.broadcast_to(np.asarray(origin, np.float32), threshold.shape)
    return {"threshold": keras.ops.convert_to_tensor(threshold), "origin": keras.ops.convert_to_tensor(origin.copy())}


def mask(w: np.ndarray, threshold: np.ndarray, most: float = 0.99) -> np.ndarray:
    """Compare with thresholds >= 0; a layer that loses too much starts again from 0."""
    alive = np.abs(w) > np.maximum(threshold, 0)
    return alive if (~alive).sum() <= most * w.size else np.abs(w) > 0


@few
@given(arrays(np.float32, 7, elements=st.one_of(values, st.sampled_from([0.0, 1.0, -1.0]))))
def test_the_step_has_the_derivative_of_the_paper(x):
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(step_function(keras.ops.convert_to_tensor(x))), x > 0)
    found = gradient(lambda x: keras.ops.sum(step_function(x)), x)[0]
    clear = np.abs(np.abs(x) - 0.4) > 1e-6
    np.testing.assert_allclose(found[clear], slope(x.astype(np.float64))[clear], atol=1e-6)


@few
@given(cases)
def test_a_weight_lives_while_its_magnitude_exceeds_its_threshold(case):
    granularity, w, t = case
    used, alive = Dst(granularity=granularity).apply(keras.ops.convert_to_tensor(w), state_of(t), CLOCK)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(alive), mask(w, t))
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(used), w * mask(w, t))


@few
@given(cases, upstreams)
def test_kernel_and_threshold_are_trained_through_the_step(case, upstream):
    granularity, w, t = case
    t = np.abs(t) / 4  # thresholds that prune part of the layer
    method = Dst(granularity=granularity, max_pruned=1.0)

    def loss(w, t):
        return keras.ops.sum(
            method.apply(w, {"threshold": t, "origin": keras.ops.zeros_like(t)}, CLOCK)[0]
            * keras.ops.convert_to_tensor(upstream)
        )

    x = np.abs(w).astype(np.float64) - t
    if (np.abs(np.abs(x) - 0.4) < 1e-6).any() or (np.abs(np.abs(x) - 1.0) < 1e-6).any():
        return
    by_w, by_t = gradient(loss, w, t)
    np.testing.assert_allclose(by_w, upstream * ((x > 0) + np.abs(w) * slope(x)), rtol=1e-4, atol=1e-5)
    each = -upstream * w * slope(x)
    axes = tuple(i for i in range(2) if t.shape[i] == 1)
    np.testing.assert_allclose(by_t, each.sum(axis=axes, keepdims=True), rtol=1e-4, atol=1e-5)


@few
@given(arrays(np.float32, (3, 1), elements=values), arrays(np.float32, (3, 1), elements=values))
def test_the_penalty_rewards_large_thresholds(t, origin):
    method = Dst(alpha=0.25, max_pruned=1.0)
    w = keras.ops.ones((3, 4))
    effective = np.maximum((t - origin).astype(np.float64), 0)
    assert float(method.penalty(w, state_of(t, origin), CLOCK)) == pytest.approx(
        0.25 * np.exp(-effective).sum(), rel=1e-5
    )

    def loss(t):
        return method.penalty(w, {"threshold": t, "origin": keras.ops.convert_to_tensor(origin)}, CLOCK)

    np.testing.assert_allclose(gradient(loss, t)[0], -0.25 * np.exp(-effective), rtol=1e-5)


@few
@given(cases, upstreams, st.integers(1, 8))
def test_thresholds_take_projected_steps_and_never_idle_below_zero(case, gradients, n_steps):
    granularity, w, t = case
    method = Dst(granularity=granularity, max_pruned=1.0)
    step = gradients[:1, :1] if granularity == "tensor" else gradients[:, :1] if granularity == "row" else gradients
    trained, origin, expected = np.maximum(t, 0), np.zeros_like(t), np.maximum(t, 0).astype(np.float64)
    for i in range(n_steps):
        move = step * np.float32((-1) ** i if i > 2 else 1)  # far below 0 first, then back and forth
        trained, expected = trained + move, np.maximum(expected + move, 0)
        new = method.step(keras.ops.convert_to_tensor(w), state_of(trained, origin), CLOCK)
        origin = keras.ops.convert_to_numpy(new["origin"])
        np.testing.assert_allclose(np.maximum(trained - origin, 0), expected, atol=1e-4)
        assert ((trained - origin) >= 0).all()


@pytest.mark.parametrize("granularity", list(SHAPES))
def test_a_layer_that_loses_too_much_starts_again(granularity):
    rng = np.random.default_rng(0)
    w = rng.uniform(0.1, 1.0, (3, 4)).astype(np.float32)
    method = Dst(granularity=granularity, max_pruned=0.5)
    few = np.full(SHAPES[granularity], np.sort(w, axis=None)[5], np.float32)  # 6 of 12 are gone: exactly the limit
    many = np.full(SHAPES[granularity], np.sort(w, axis=None)[6], np.float32)  # 7 of 12
    for t, n_alive, origin in ((few, 6, 0.0), (many, 12, many)):
        used, alive = method.apply(keras.ops.convert_to_tensor(w), state_of(t), CLOCK)
        assert keras.ops.convert_to_numpy(alive).sum() == n_alive
        new = method.step(keras.ops.convert_to_tensor(w), state_of(t), CLOCK)
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(new["origin"]), np.broadcast_to(origin, t.shape))
        hard = method.harden(keras.ops.convert_to_tensor(w), state_of(t), CLOCK)
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(hard[0] * hard[1]), keras.ops.convert_to_numpy(used))


def test_ninety_nine_percent_exactly_is_not_too_much():
    w = np.ones((10, 10), np.float32)
    w[0, 0] = 2.0
    _, alive = Dst(granularity="tensor").apply(
        keras.ops.convert_to_tensor(w), state_of(np.ones((1, 1), np.float32)), CLOCK
    )
    assert keras.ops.convert_to_numpy(alive).sum() == 1


@few
@given(cases)
def test_hardening_changes_no_bit(case):
    granularity, w, t = case
    method = Dst(granularity=granularity)
    used, _ = method.apply(keras.ops.convert_to_tensor(w), state_of(t), CLOCK)
    kernel, hard = method.harden(keras.ops.convert_to_tensor(w), state_of(t), CLOCK)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(kernel * hard), keras.ops.convert_to_numpy(used))


@pytest.mark.parametrize("granularity", list(SHAPES))
def test_thresholds_start_at_zero(granularity):
    slots = Dst(granularity=granularity).slots(Geometry(n_out=3, n_in=4))
    assert slots["threshold"].trainable and not slots["origin"].trainable
    assert {slot.shape for slot in slots.values()} == {SHAPES[granularity]}
    assert {slot.initial for slot in slots.values()} == {0.0}

"""Magnitude pruning against sorting by hand: counts, ties, and what happens between rounds."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydantic import ValidationError

from weft.prune import Clock, Geometry
from weft.prune.magnitude import Magnitude, magnitude_mask

pytestmark = pytest.mark.backends
few = settings(max_examples=25)

shapes = st.sampled_from([(1, 1), (1, 7), (4, 1), (3, 5)])  # few, since each is compiled
CLOCK = Clock(epoch=0.0, epochs=1.0, round=0.0)


@st.composite
def rounds(draw):
    """Draw a kernel with many ties, what is alive of it, and a fraction."""
    shape = draw(shapes)
    weight = draw(arrays(np.float32, shape, elements=st.integers(-3, 3).map(float)))
    alive = draw(arrays(np.float32, shape, elements=st.sampled_from([0.0, 1.0])))
    return weight, alive, draw(st.one_of(st.floats(0.01, 0.99), st.sampled_from([0.1, 0.15, 0.25, 0.35, 0.5])))


def reference(weight: np.ndarray, alive: np.ndarray, fraction: float) -> np.ndarray:
    """Sort the living by magnitude, of equal ones the later first, and remove the first `round(fraction * n)`."""
    living = sorted((abs(float(weight.flat[i])), -i) for i in range(weight.size) if alive.flat[i])
    gone = {-i for _, i in living[: round(fraction * len(living))]}
    return np.array([alive.flat[i] if i not in gone else 0.0 for i in range(weight.size)]).reshape(weight.shape)


def tensors(*values: np.ndarray) -> list[keras.KerasTensor]:
    return [keras.ops.convert_to_tensor(value) for value in values]


@few
@given(rounds())
def test_each_round_removes_its_share_of_the_smallest_that_are_alive(case):
    weight, alive, fraction = case
    mask = keras.ops.convert_to_numpy(magnitude_mask(*tensors(weight, alive), fraction))
    np.testing.assert_array_equal(mask, reference(weight, alive, fraction))
    assert mask.dtype == alive.dtype


@few
@given(rounds(), st.integers(1, 4))
def test_the_count_is_exact_after_any_number_of_rounds(case, n_rounds):
    weight, _, fraction = case
    method = Magnitude(fraction=fraction)
    (w,) = tensors(weight)
    state = {"mask": keras.ops.ones(weight.shape)}
    left = weight.size
    for _ in range(n_rounds):
        before = keras.ops.convert_to_numpy(state["mask"])
        state = method.between_rounds(w, state)
        left -= round(fraction * left)
        after = keras.ops.convert_to_numpy(state["mask"])
        assert after.sum() == left
        assert (after <= before).all()


def test_twenty_percent_ten_times_leaves_about_a_tenth():
    weight = np.random.default_rng(0).normal(size=(40, 50)).astype(np.float32)
    mask = np.ones_like(weight)
    for _ in range(10):
        mask = keras.ops.convert_to_numpy(magnitude_mask(*tensors(weight, mask), 0.2))
    assert mask.sum() / mask.size == pytest.approx(0.8**10, abs=1e-3)


@few
@given(rounds())
def test_a_round_is_trained_and_hardened_under_its_mask(case):
    weight, alive, _ = case
    w, mask = tensors(weight, alive)
    method, state = Magnitude(), {"mask": mask}
    used, so_far = method.apply(w, state, CLOCK)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(used), weight * alive)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(so_far), alive)
    kernel, hard = method.harden(w, state, CLOCK)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(kernel * hard), weight * alive)
    assert method.penalty(w, state, CLOCK) is None and method.step(w, state, CLOCK) == {}


def test_nothing_is_pruned_in_the_first_round():
    (slot,) = Magnitude().slots(Geometry(n_out=3, n_in=4)).values()
    assert slot.shape == (3, 4) and slot.initial == 1.0 and not slot.trainable


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1])
def test_a_fraction_that_removes_nothing_or_all_is_refused(fraction):
    with pytest.raises(ValidationError, match=r"fraction\n.*(greater|less) than [01]"):
        Magnitude(fraction=fraction)

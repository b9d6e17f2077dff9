"""Activation pruning against a plain loop over batches: when it decides, who dies, and that the dead stay dead."""

from __future__ import annotations

from itertools import pairwise

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weft.prune import Clock, Geometry, Seen
from weft.prune.activation import ActivationPruning

pytestmark = pytest.mark.backends
few = settings(max_examples=25)

CLOCK = Clock(epoch=0.0, epochs=1.0, round=0.0)
shares = st.integers(0, 8).map(lambda n: n / 8)  # exact in float32, and so are their sums


def reference(activity: list[list[float]], threshold: float, t_start: int, t_delta: int) -> list[bool]:
    """Return which neurons are alive after the batches, whose shares of positive outputs are the rows."""
    alive = [True] * len(activity[0])
    for start in range(t_start, len(activity) - t_delta + 1, t_delta):
        window = activity[start : start + t_delta]
        for c in range(len(alive)):
            if sum(row[c] for row in window) / t_delta < threshold:
                alive[c] = False
    return alive


def run(method: ActivationPruning, activity: list[list[float]]) -> list[np.ndarray]:
    """Return the mask (n_out, n) after each batch."""
    n_out = len(activity[0])
    w = keras.ops.ones((n_out, 3))
    slots = method.slots(Geometry(n_out=n_out, n_in=3))
    state = {name: keras.ops.full(slot.shape, slot.initial) for name, slot in slots.items()}
    masks = []
    for row in activity:
        seen = Seen(square=keras.ops.ones((3,)), rows=keras.ops.ones(()), active=keras.ops.convert_to_tensor(row))
        new = method.observe(w, state, seen)
        assert set(new) == set(state)
        for name, value in new.items():
            assert tuple(value.shape) == slots[name].shape
        state = new
        masks.append(keras.ops.convert_to_numpy(method.apply(w, state, CLOCK)[1]))
    return masks


@few
@given(
    st.integers(2, 4).flatmap(lambda n: st.lists(st.lists(shares, min_size=n, max_size=n), min_size=1, max_size=14)),
    shares,
    st.integers(0, 4),
    st.sampled_from([1, 2, 4]),
)
def test_a_neuron_dies_when_its_mean_activity_in_a_window_is_below_the_threshold(activity, threshold, t_start, t_delta):
    method = ActivationPruning(threshold=threshold, t_start=t_start, t_delta=t_delta)
    masks = run(method, activity)
    for n_seen, mask in enumerate(masks, start=1):
        expected = reference(activity[:n_seen], threshold, t_start, t_delta)
        np.testing.assert_array_equal(mask, np.repeat(np.array(expected, np.float32)[:, None], 3, axis=1))


@few
@given(st.lists(st.lists(shares, min_size=3, max_size=3), min_size=2, max_size=12))
def test_the_dead_never_return(activity):
    masks = run(ActivationPruning(threshold=0.5, t_start=0, t_delta=1), activity)
    for before, after in pairwise(masks):
        assert (after <= before).all()


def test_time_is_counted_in_batches():
    masks = run(ActivationPruning(threshold=0.5, t_start=3, t_delta=2), [[0.0, 1.0]] * 5)
    assert [mask[0, 0] for mask in masks] == [1, 1, 1, 1, 0]
    assert all(mask[1].all() for mask in masks)


def test_waiting_does_not_count_on_for_ever():
    method = ActivationPruning(t_start=2, t_delta=5)
    state = {"waited": keras.ops.full((), 2.0), "mask": keras.ops.ones((2, 1)), "active": keras.ops.zeros((2, 1))}
    seen = Seen(square=keras.ops.ones(3), rows=keras.ops.ones(()), active=keras.ops.ones(2))
    new = method.observe(keras.ops.ones((2, 3)), {**state, "counted": keras.ops.zeros(())}, seen)
    assert float(new["waited"]) == 2.0 and float(new["counted"]) == 1.0


def test_hardening_changes_nothing():
    method = ActivationPruning()
    w = keras.ops.convert_to_tensor(np.arange(6, dtype=np.float32).reshape(2, 3))
    state = {"mask": keras.ops.convert_to_tensor(np.array([[0.0], [1.0]], np.float32))}
    used, _ = method.apply(w, state, CLOCK)
    kernel, mask = method.harden(w, state, CLOCK)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(kernel * mask), keras.ops.convert_to_numpy(used))
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(used), [[0, 0, 0], [3, 4, 5]])


def test_a_single_output_cannot_be_pruned():
    assert "one output only" in (ActivationPruning().check(Geometry(n_out=1, n_in=5)) or "")
    assert ActivationPruning().check(Geometry(n_out=2, n_in=5)) is None


def test_the_method_is_structured_and_sees_batches():
    assert ActivationPruning.structured and ActivationPruning.wants_batches

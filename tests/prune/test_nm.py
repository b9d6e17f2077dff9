"""The largest of a group, and the fields of N:M: exact counts, ties, thresholds, against sorting in Python."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydantic import ValidationError

from weft.prune import Geometry
from weft.prune._groups import HALVINGS, SMALL, keep_largest, rank, threshold
from weft.prune.pdp import Pdp
from weft.prune.wanda import Wanda

pytestmark = pytest.mark.backends
few = settings(max_examples=20)

SIZES = [1, 4, 7, SMALL + 1]
magnitude = st.one_of(st.floats(0, 8, width=32, allow_subnormal=False), st.sampled_from([0.0, 0.5, 1.0]))
groups = st.sampled_from(SIZES).flatmap(
    lambda size: st.tuples(arrays(np.float32, (3, size), elements=magnitude), st.integers(0, size - 1))
)


def tensor(array: np.ndarray):
    return keras.ops.convert_to_tensor(array)


def array(tensor) -> np.ndarray:
    return keras.ops.convert_to_numpy(tensor)


def largest_first(scores: np.ndarray) -> list[int]:
    """Return the positions of scores from the largest to the smallest, equal ones in their order."""
    return sorted(range(len(scores)), key=lambda i: (-scores[i], i))


@few
@given(groups)
def test_exactly_so_many_are_kept_and_of_equals_the_earlier(case):
    scores, kept = case
    mask = array(keep_largest(tensor(scores), kept))
    expected = np.zeros_like(scores)
    for row, group in zip(expected, scores, strict=True):
        row[largest_first(group)[:kept]] = 1
    np.testing.assert_array_equal(mask, expected)
    assert (mask.sum(axis=1) == kept).all()


@few
@given(groups)
def test_ranks_count_from_the_largest(case):
    scores, _ = case
    found = array(rank(tensor(scores)))
    for places, group in zip(found, scores, strict=True):
        assert [int(places[i]) for i in largest_first(group)] == list(range(len(group)))


@few
@given(groups)
def test_the_threshold_lies_midway_between_pruned_and_kept(case):
    scores, pruned = case
    if pruned == 0:
        return
    found = array(threshold(tensor(scores), tensor(np.float32(pruned))))
    ordered = np.sort(scores.astype(np.float64), axis=1)
    expected = (ordered[:, pruned - 1 : pruned] + ordered[:, pruned : pruned + 1]) / 2
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=8 * 2.0 ** (1 - HALVINGS))


def test_masks_of_equal_weights_keep_the_first_of_each_group():
    ones = np.ones((2, 8), np.float32)
    np.testing.assert_array_equal(
        array(keep_largest(tensor(ones.reshape(-1, 4)), 2)).reshape(2, 8), [[1, 1, 0, 0] * 2] * 2
    )


@pytest.mark.parametrize("method", [Pdp, Wanda])
class TestAmount:
    def test_the_default_sparsity_gives_way_to_n_and_m(self, method):
        assert (method().sparsity, method().n, method().m) == (0.8, None, None)
        assert (method(n=2, m=4).sparsity, method(n=2, m=4).n) == (None, 2)

    def test_survives_a_round_trip(self, method):
        for config in (method(), method(n=2, m=4), method(sparsity=0.0)):
            assert method.model_validate(config.model_dump(mode="json")) == config

    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            ({"n": 4, "m": 4}, "n must be smaller than m, or nothing is pruned; got n=4, m=4"),
            ({"n": 5, "m": 4}, "n must be smaller than m, or nothing is pruned; got n=5, m=4"),
            ({"n": 2}, "n and m go together; got n=2, m=None"),
            ({"m": 4}, "n and m go together; got n=None, m=4"),
            (
                {"sparsity": 0.5, "n": 2, "m": 4},
                "needs either sparsity, or n and m; got sparsity=0.5, n=2, m=4",
            ),
            ({"sparsity": None}, "needs either sparsity, or n and m; got sparsity=None, n=None, m=None"),
            ({"sparsity": 1.0}, "less than 1"),
            ({"sparsity": -0.1}, "greater than or equal to 0"),
            ({"n": 0, "m": 4}, "greater than or equal to 1"),
            ({"n": 1, "m": 1}, "greater than or equal to 2"),
        ],
    )
    def test_nonsense_is_refused(self, method, fields, message):
        with pytest.raises(ValidationError, match=message):
            method(**fields)

    def test_inputs_that_do_not_divide_are_named(self, method):
        reason = method(n=2, m=4).check(Geometry(n_out=3, n_in=6, taps=(2,)))
        assert reason == (
            "its 6 inputs cannot be split into groups of m=4; set m to a divisor of 6, or list the layer in skip"
        )
        assert method(n=2, m=4).check(Geometry(n_out=3, n_in=8, taps=(3,))) is None

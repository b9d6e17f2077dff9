"""Wanda against sorting in Python: rows, N:M, any layer, one shot after so many batches, and by hand after training."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydantic import ValidationError

from tests.gradients import gradient
from weft.errors import ConfigError, ShapeError
from weft.prune import Clock, Geometry, Seen
from weft.prune.wanda import Wanda, wanda_mask

pytestmark = pytest.mark.backends
few = settings(max_examples=20)

CLOCK = Clock(epoch=0.0, epochs=1.0, round=0.0)
eighths = st.integers(-8, 8).map(lambda i: i / 8)
kernels = arrays(np.float32, (3, 8), elements=eighths)
squares = st.sampled_from([(8,), (3, 8)]).flatmap(  # perfect squares: scores are exact, and often equal
    lambda shape: arrays(np.float32, shape, elements=st.integers(0, 4).map(lambda i: float(i * i)))
)


def tensor(array):
    return keras.ops.convert_to_tensor(np.asarray(array, np.float32))


def array(tensor) -> np.ndarray:
    return keras.ops.convert_to_numpy(tensor)


def reference(w: np.ndarray, square: np.ndarray, size: int, kept: int) -> np.ndarray:
    """Return the mask of the `kept` largest |w| * ||x|| of each `size` consecutive weights, ties to the earlier."""
    score = np.abs(w) * np.sqrt(np.broadcast_to(square, w.shape))
    mask = np.zeros_like(w)
    for row in range(w.shape[0]):
        for start in range(0, w.shape[1], size):
            group = sorted(range(start, start + size), key=lambda j, row=row: (-score[row, j], j))
            mask[row, group[:kept]] = 1
    return mask


def slots_of(method: Wanda, geometry: Geometry) -> dict[str, object]:
    return {name: tensor(np.full(s.shape, s.initial)) for name, s in method.slots(geometry).items()}


@few
@given(kernels, squares, st.sampled_from([0.0, 0.25, 0.5, 0.6, 0.9, 0.99]))
def test_each_output_loses_its_own_lowest_scores(w, square, sparsity):
    kept = max(8 - round(sparsity * 8), 1)
    mask = array(wanda_mask(tensor(w), tensor(square), sparsity))
    np.testing.assert_array_equal(mask, reference(w, square, 8, kept))
    assert (mask.sum(axis=1) == kept).all()


@few
@given(kernels, squares, st.sampled_from([(1, 2), (2, 4), (3, 4), (5, 8)]))
def test_n_of_m_keeps_n_of_each_m_consecutive_inputs(w, square, n_of_m):
    n, m = n_of_m
    mask = array(wanda_mask(tensor(w), tensor(square), n=n, m=m))
    np.testing.assert_array_equal(mask, reference(w, square, m, n))
    assert (mask.reshape(-1, m).sum(axis=1) == n).all()


def test_outputs_with_small_weights_keep_as_many_as_others():
    w = np.random.default_rng(0).normal(size=(8, 32)).astype(np.float32)
    w[::2] *= 0.05
    mask = array(wanda_mask(tensor(w), tensor(np.ones(32)), 0.75))
    np.testing.assert_array_equal(mask.sum(axis=1), np.full(8, 8))


def test_a_small_weight_on_a_strong_input_stays():
    mask = array(wanda_mask(tensor([[1.0, 0.1, 0.5, 0.4]]), tensor([0.01, 100.0, 1.0, 1.0]), 0.5))
    np.testing.assert_array_equal(mask, [[0, 1, 1, 0]])


def test_groups_of_a_convolution_lie_along_the_channels():
    rng = np.random.default_rng(1)
    kernel = rng.normal(size=(3, 3, 8, 5)).astype(np.float32)  # Keras: window, inputs, outputs
    square = rng.uniform(0.5, 2, (3, 3, 8)).astype(np.float32)
    w = np.transpose(kernel, (3, 0, 1, 2)).reshape(5, 72)
    mask = array(wanda_mask(tensor(w), tensor(square.reshape(-1)), n=2, m=4)).reshape(5, 3, 3, 8)
    for o, i, j in np.ndindex(5, 3, 3):
        score = np.abs(kernel[i, j, :, o]) * np.sqrt(square[i, j])
        for half in (slice(0, 4), slice(4, 8)):
            assert set(np.flatnonzero(mask[o, i, j, half])) == set(np.argsort(score[half])[2:])


def compiled(f):
    """Return the function compiled where JAX is the backend."""
    if keras.backend.backend() != "jax":
        return f
    import jax

    return jax.jit(f)


@pytest.mark.parametrize(("t_start", "t_delta"), [(0, 1), (2, 2)])
def test_it_prunes_once_by_the_batches_it_was_told_to_see(t_start, t_delta):
    method = Wanda(sparsity=0.5, t_start=t_start, t_delta=t_delta)
    observe = compiled(lambda w, slots, square: method.observe(w, slots, Seen(square, tensor(4.0), tensor(np.ones(3)))))
    apply = compiled(lambda w, slots: method.apply(w, slots, CLOCK))
    due = t_start + t_delta

    @settings(max_examples=10)
    @given(arrays(np.float32, (6, 3, 8), elements=eighths), arrays(np.float32, (6, 8), elements=st.integers(0, 9)))
    def check(weights, each):
        slots, mask = slots_of(method, Geometry(3, 8)), np.ones((3, 8), np.float32)
        for batch, (w, square) in enumerate(zip(weights, each, strict=True), start=1):
            slots |= observe(tensor(w), slots, tensor(square))
            used, alive = (array(part) for part in apply(tensor(w), slots))
            if batch == due:
                mask = alive
                assert (mask.sum(axis=1) == 4).all()
                score = np.abs(w).astype(np.float64) * np.sqrt(each[t_start:due].astype(np.float64).sum(axis=0))
                assert (np.where(mask == 1, score, np.inf).min(1) >= np.where(mask == 0, score, 0).max(1) - 1e-6).all()
            np.testing.assert_array_equal(alive, mask)
            np.testing.assert_array_equal(used, w * mask)
        np.testing.assert_array_equal(array(method.harden(tensor(w), slots, CLOCK)[0]), w)
        np.testing.assert_array_equal(array(method.harden(tensor(w), slots, CLOCK)[1]), mask)

    check()


@pytest.mark.parametrize("batches", [0, 1, 3])
def test_a_training_too_short_to_see_all_batches_prunes_by_those_that_it_saw(batches):
    method = Wanda(sparsity=0.5, t_delta=100)
    w = np.array([[4, 1, 2, 3]], np.float32)
    slots = slots_of(method, Geometry(1, 4))
    for _ in range(batches):
        square = tensor(np.array([0.01, 100.0, 1.0, 1.0], np.float32))
        slots |= method.observe(tensor(w), slots, Seen(square, tensor(1.0), tensor(np.ones(1))))
    np.testing.assert_array_equal(array(method.apply(tensor(w), slots, CLOCK)[1]), [[1, 1, 1, 1]])
    kept = [[1, 0, 0, 1]] if batches == 0 else [[0, 1, 0, 1]]
    np.testing.assert_array_equal(array(method.harden(tensor(w), slots, CLOCK)[1]), kept)


def test_depthwise_kernels_have_inputs_of_their_own():
    method = Wanda(sparsity=0.5, t_delta=1)
    w, square = np.ones((2, 4), np.float32), np.array([[1, 2, 3, 4], [4, 3, 2, 1]], np.float32)
    slots = slots_of(method, Geometry(n_out=2, n_in=1, taps=(2, 2)))
    slots |= method.observe(tensor(w), slots, Seen(tensor(square), tensor(1.0), tensor(np.ones(2))))
    np.testing.assert_array_equal(array(slots["alive"]), [[0, 0, 1, 1], [1, 1, 0, 0]])


def test_a_global_budget_gives_each_layer_its_share():
    method = Wanda(sparsity=0.5, budget="global", t_delta=1)
    assert method.wants_budget and not Wanda().wants_budget and not Wanda(n=2, m=4).wants_budget
    for share, kept in ((0.25, 6), (0.75, 2), (1.0, 1)):
        slots = {**slots_of(method, Geometry(3, 8)), "share": tensor(share)}
        w = np.arange(1, 25, dtype=np.float32).reshape(3, 8)
        slots |= method.observe(tensor(w), slots, Seen(tensor(np.ones(8)), tensor(1.0), tensor(np.ones(3))))
        np.testing.assert_array_equal(array(slots["alive"]).sum(axis=1), np.full(3, kept))


@few
@given(kernels, squares, arrays(np.float32, (3, 8), elements=eighths))
def test_only_what_is_left_is_trained(w, square, upstream):
    method = Wanda(n=2, m=4)
    mask = wanda_mask(tensor(w), tensor(square), n=2, m=4)
    found = gradient(
        lambda w: keras.ops.sum(method.apply(w, {"alive": mask}, CLOCK)[0] * tensor(upstream)),
        w,
    )[0]
    np.testing.assert_array_equal(found, upstream * array(mask))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({}, ConfigError, "needs either sparsity, or n and m; got sparsity=None, n=None, m=None"),
        ({"sparsity": 0.5, "n": 2, "m": 4}, ConfigError, "got sparsity=0.5, n=2, m=4"),
        ({"n": 2}, ConfigError, "got sparsity=None, n=2, m=None"),
        ({"n": 2, "m": 3}, ShapeError, "cannot split 8 weights of an output into groups of m=3"),
        ({"sparsity": 0.5, "square": np.ones(7)}, ShapeError, r"got \(3, 8\) and \(7,\)"),
        ({"sparsity": 0.5, "w": np.ones((3, 2, 4))}, ShapeError, r"needs weights \(n_out, n\).*got \(3, 2, 4\)"),
    ],
)
def test_calls_that_make_no_sense_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        wanda_mask(**{"w": np.ones((3, 8)), "square": np.ones(8), **arguments})


def test_a_sparsity_that_leaves_an_output_nothing_is_refused():
    reason = Wanda(sparsity=0.95).check(Geometry(4, 5))
    assert reason == "sparsity 0.95 leaves none of the 5 weights of an output; the most is 0.8"
    assert Wanda(sparsity=0.95, budget="global").check(Geometry(4, 5)) is None
    assert Wanda(sparsity=0.8).check(Geometry(4, 5)) is None


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"budget": "global", "n": 2, "m": 4},
            "budget: global shares out a sparsity, n and m leave none; got n=2, m=4",
        ),
        ({"budget": "layer"}, "Input should be 'uniform' or 'global'"),
        ({"t_delta": 0}, "greater than or equal to 1"),
        ({"t_start": -1}, "greater than or equal to 0"),
    ],
)
def test_nonsense_is_refused(fields, message):
    with pytest.raises(ValidationError, match=message):
        Wanda(**fields)

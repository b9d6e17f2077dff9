"""MDMM against NumPy: constraints, their gradient, multipliers, groups and patterns; and training that gets there."""

from __future__ import annotations

import math
from collections import Counter

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydantic import ValidationError

from tests.gradients import gradient
from weft.prune import Clock, Geometry, _metrics, _patterns
from weft.prune.mdmm import Mdmm

pytestmark = pytest.mark.backends
few = settings(max_examples=15)

CLOCK = Clock(epoch=0.0, epochs=1.0, round=0.0)
SHAPE = (3, 8)
signed = st.tuples(st.sampled_from([-1.0, 1.0]), st.floats(0.125, 4, width=32)).map(lambda pair: pair[0] * pair[1])
kernels = arrays(np.float32, SHAPE, elements=st.one_of(signed, st.just(0.0)))
any_kernels = st.sampled_from([SHAPE, (2, 8), (5, 8)]).flatmap(
    lambda shape: arrays(np.float32, shape, elements=st.one_of(signed, st.just(0.0)))
)
GROUPS = {  # how many consecutive weights each metric takes together
    "unstructured": (Mdmm(sparsity=0.5), 1),
    "structured": (Mdmm(metric="structured", sparsity=0.5), 8),
    "dsp": (Mdmm(metric="dsp", reuse_factor=4, sparsity=0.5), 4),
    "bram, the last one not full": (Mdmm(metric="bram", reuse_factor=2, weight_bits=7, sparsity=0.5), 10),
}


def tensor(array):
    return keras.ops.convert_to_tensor(np.asarray(array, np.float32))


def array(tensor) -> np.ndarray:
    return keras.ops.convert_to_numpy(tensor)


def slots_of(method: Mdmm, geometry: Geometry, **values) -> dict[str, object]:
    return {name: tensor(values.get(name, np.full(s.shape, s.initial))) for name, s in method.slots(geometry).items()}


def compiled(f):
    """Return the function compiled where JAX is the backend."""
    if keras.backend.backend() != "jax":
        return f
    import jax

    return jax.jit(f)


def slope_of(f):
    """Return the gradient of `f(w, slots)` with respect to `w`, compiled where JAX is the backend."""
    if keras.backend.backend() != "jax":
        return lambda w, slots: tensor(gradient(lambda w: f(w, slots), array(w))[0])
    import jax

    return jax.jit(jax.grad(f))


def functions(method: Mdmm):
    """Return the method's penalty, the penalty's gradient, its step and its mask, as functions of `w` and slots."""

    def penalty(w, slots):
        return method.penalty(w, slots, CLOCK)

    step = compiled(lambda w, slots: {**slots, **method.step(w, slots, CLOCK)})
    return compiled(penalty), slope_of(penalty), step, compiled(lambda w, slots: method.apply(w, slots, CLOCK)[1])


def magnitudes(w: np.ndarray, size: int) -> np.ndarray:
    """Return the root mean square of each `size` consecutive weights, in float64."""
    flat = list(w.astype(np.float64).ravel())
    flat += [0.0] * (-len(flat) % size)
    return np.array([math.sqrt(sum(x * x for x in flat[i : i + size]) / size) for i in range(0, len(flat), size)])


def typical(size: np.ndarray) -> float:
    return (size**2).sum() / size.sum() if size.any() else 1e-20


def is_clear(size: np.ndarray, scale: float, epsilon: float) -> bool:
    """Whether no magnitude is so near the border that float32 decides."""
    return bool((np.abs(size / scale - epsilon) > 1e-4).all())


class TestConstraint:
    @pytest.mark.parametrize("name", list(GROUPS))
    def test_it_is_the_relative_difference_of_what_is_alive_and_what_should_be(self, name):
        method, size = GROUPS[name]
        penalty, _, step, mask_of = functions(method)

        @few
        @given(any_kernels, st.floats(-3, 3, width=32))
        def check(w, multiplier):
            groups = magnitudes(w, size)
            scale = typical(groups)
            if not is_clear(groups, scale, method.epsilon):
                return
            alive, goal = int((groups > method.epsilon * scale).sum()), len(groups) - round(0.5 * len(groups))
            c = (alive - goal) / (alive + goal)
            slots = slots_of(method, Geometry(*w.shape), multiplier=multiplier)
            assert float(penalty(tensor(w), slots)) == pytest.approx(multiplier * c + c**2 / 2, abs=1e-5)
            assert float(step(tensor(w), slots)["multiplier"]) == pytest.approx(multiplier + 0.01 * c, abs=1e-5)
            mask = np.repeat(groups > method.epsilon * scale, size)[: w.size].reshape(w.shape)
            np.testing.assert_array_equal(array(mask_of(tensor(w), slots)), mask)

        check()

    @pytest.mark.parametrize("name", list(GROUPS))
    def test_its_gradient_is_that_of_the_smooth_count_and_reaches_every_weight(self, name):
        method, size = GROUPS[name]
        slope = functions(method)[1]

        @few
        @given(any_kernels, st.floats(0.5, 3, width=32))
        def check(w, multiplier):
            groups = magnitudes(w, size)
            scale = typical(groups)
            if not w.any() or not is_clear(groups, scale, method.epsilon):
                return
            alive, goal = int((groups > method.epsilon * scale).sum()), len(groups) - round(0.5 * len(groups))
            pressure = multiplier + (alive - goal) / (alive + goal)
            slots = slots_of(method, Geometry(*w.shape), multiplier=multiplier)
            found = array(slope(tensor(w), slots))
            each = np.repeat(groups, size)[: w.size].reshape(w.shape)
            with np.errstate(invalid="ignore"):
                direction = np.where(each > 0, w / each, 0) / size  # of the group's root mean square
            expected = pressure * np.exp(-each / scale) / scale / len(groups) * direction
            np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-6)
            if pressure > 0.1:
                assert (found * w > 0)[w != 0].all()

        check()

    @pytest.mark.parametrize(
        ("fields", "alive_at_most"),
        [
            ({"constraint": "greater", "sparsity": 0.5}, True),
            ({"constraint": "less", "count": 12}, True),
            ({"constraint": "less", "sparsity": 0.5}, False),
            ({"constraint": "greater", "count": 12}, False),
        ],
    )
    @pytest.mark.parametrize("alive", [4, 12, 20])
    def test_an_inequality_acts_only_where_it_is_violated(self, fields, alive_at_most, alive):
        method = Mdmm(**fields)
        penalty, slope, step, _ = functions(method)
        w = np.where(np.arange(24) < alive, 1.0, 0.01).astype(np.float32).reshape(SHAPE)
        c = (alive - 12) / (alive + 12) * (1 if alive_at_most else -1)
        for multiplier in (0.0, 0.002, 0.5):
            slots = slots_of(method, Geometry(*SHAPE), multiplier=multiplier)
            found = float(penalty(tensor(w), slots))
            assert found == pytest.approx(multiplier * c + max(c, 0) ** 2 / 2, abs=1e-6)
            after = float(step(tensor(w), slots)["multiplier"])
            assert after == pytest.approx(max(multiplier + 0.01 * c, 0), abs=1e-6)
            if multiplier == 0 and c <= 0:
                assert found == 0
                assert (array(slope(tensor(w), slots)) == 0).all()

    def test_the_multiplier_rises_while_too_dense_and_falls_while_too_sparse(self):
        method = Mdmm(sparsity=0.5)
        slots, step = slots_of(method, Geometry(*SHAPE)), functions(method)[2]
        dense, sparse = np.ones(SHAPE, np.float32), np.zeros(SHAPE, np.float32)
        sparse[0, :2] = 1
        history = [0.0]
        for w in [dense] * 5 + [sparse] * 10:
            slots = step(tensor(w), slots)
            history.append(float(slots["multiplier"]))
        assert (np.diff(history)[:5] > 0).all() and (np.diff(history)[5:] < 0).all() and history[-1] < 0

    def test_what_counts_as_0_is_fixed_at_the_first_step(self):
        method = Mdmm(sparsity=0.5, epsilon=0.1)
        slots = slots_of(method, Geometry(*SHAPE))
        w = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
        slots |= method.step(tensor(w), slots, CLOCK)
        scale = typical(np.abs(w.astype(np.float64)))
        slots |= method.step(tensor(100 * w), slots, CLOCK)
        assert float(array(slots["scale"])) == pytest.approx(scale, rel=1e-5)
        shrunk = w / 50
        np.testing.assert_array_equal(
            array(method.apply(tensor(shrunk), slots, CLOCK)[1]), np.abs(shrunk) > 0.1 * scale
        )

    @few
    @given(kernels)
    def test_hardening_drops_no_more_than_counts_as_0(self, w):
        method = Mdmm(sparsity=0.5)
        slots = slots_of(method, Geometry(*SHAPE), scale=1.0)
        used, alive = (array(part) for part in method.apply(tensor(w), slots, CLOCK))
        kept, mask = (array(part) for part in method.harden(tensor(w), slots, CLOCK))
        np.testing.assert_array_equal(mask, alive)
        assert np.abs(used - kept * mask).max() <= method.epsilon

    def test_kernels_of_zeros_have_finite_gradients(self):
        for method, _ in GROUPS.values():
            slots = slots_of(method, Geometry(*SHAPE), multiplier=1.0)
            found = functions(method)[1](tensor(np.zeros(SHAPE)), slots)
            assert np.isfinite(array(found)).all()

    def test_ebops_count_each_weight_by_its_cost(self):
        method = Mdmm(metric="ebops", count=40)
        cost = np.arange(24, dtype=np.float32).reshape(SHAPE)
        w = np.where(cost % 2 == 0, 1.0, 0.01).astype(np.float32)
        slots = slots_of(method, Geometry(*SHAPE), multiplier=1.0, scale=1.0, cost=cost)
        alive = cost[w == 1].sum()
        c = (alive - 40) / (alive + 40)
        assert float(array(method.penalty(tensor(w), slots, CLOCK))) == pytest.approx(c + c**2 / 2, rel=1e-5)
        found = gradient(lambda w: method.penalty(w, slots, CLOCK), w)[0]
        np.testing.assert_allclose(found, (1 + c) * cost / cost.sum() * np.exp(-w), rtol=1e-4)

    def test_ebops_without_costs_drive_nothing(self):
        method = Mdmm(metric="ebops", count=40)
        slots = slots_of(method, Geometry(*SHAPE), multiplier=1.0)
        w = np.ones(SHAPE, np.float32)
        assert float(array(method.penalty(tensor(w), slots, CLOCK))) == 0
        assert (gradient(lambda w: method.penalty(w, slots, CLOCK), w)[0] == 0).all()


class TestPatterns:
    GEOMETRY = Geometry(n_out=4, n_in=3, taps=(2, 2))

    def method(self, count: int = 2) -> Mdmm:
        return Mdmm(metric="paca", patterns=count, sparsity=0.5)

    @staticmethod
    def by_window(w: np.ndarray) -> np.ndarray:
        """Return (n_out, taps * n_in), the channel fastest, as one row of taps per output and channel."""
        return w.reshape(4, 4, 3).transpose(0, 2, 1).reshape(12, 4)

    def test_windows_are_those_of_a_keras_kernel(self):
        kernel = np.random.default_rng(0).normal(size=(2, 2, 3, 4)).astype(np.float32)  # window, inputs, outputs
        w = kernel.transpose(3, 0, 1, 2).reshape(4, 12)
        rows = array(_patterns.windows(tensor(w), 4))
        np.testing.assert_array_equal(rows[1 * 3 + 2], kernel[:, :, 2, 1].ravel())
        np.testing.assert_array_equal(array(_patterns.matrix(tensor(rows), (4, 12))), w)

    @few
    @given(arrays(np.float32, (12, 4), elements=st.integers(-3, 3)), st.integers(1, 3), st.integers(1, 4))
    def test_the_dominant_patterns_are_the_most_frequent(self, rows, kept, count):
        def pattern(row):
            return tuple(sorted(sorted(range(4), key=lambda i: (-abs(row[i]), i))[:kept]))

        votes = Counter(map(pattern, rows.tolist()))
        expected = sorted(votes, key=lambda p: (-votes[p], sum(2**i for i in p)))[:count]
        found = [tuple(np.flatnonzero(row)) for row in array(_patterns.dominant(tensor(rows), kept, count))]
        assert found[: len(expected)] == expected
        assert set(found) == set(expected) or len(votes) < count

    def test_every_window_ends_in_one_of_the_dominant_patterns(self):
        w = np.random.default_rng(1).normal(size=(4, 12)).astype(np.float32)
        method = self.method()
        slots = slots_of(method, self.GEOMETRY)
        slots |= method.step(tensor(w), slots, CLOCK)
        patterns = array(slots["patterns"])
        kept, mask = (array(part) for part in method.harden(tensor(w), slots, CLOCK))
        np.testing.assert_array_equal(kept, w)
        for row, chosen in zip(self.by_window(w), self.by_window(mask), strict=True):
            energies = [(row.astype(np.float64) ** 2 * pattern).sum() for pattern in patterns]
            np.testing.assert_array_equal(chosen, patterns[int(np.argmax(energies))])
        assert (mask == 0).mean() == 0.5

    def test_patterns_stay_as_they_were_chosen(self):
        rng = np.random.default_rng(2)
        method = self.method()
        slots = slots_of(method, self.GEOMETRY)
        slots |= method.step(tensor(rng.normal(size=(4, 12))), slots, CLOCK)
        first = array(slots["patterns"])
        slots |= method.step(tensor(rng.normal(size=(4, 12))), slots, CLOCK)
        np.testing.assert_array_equal(array(slots["patterns"]), first)

    def test_the_constraint_counts_weights_outside_the_patterns_and_presses_only_on_them(self):
        w = np.random.default_rng(3).normal(size=(4, 12)).astype(np.float32)
        method = self.method()
        slots = slots_of(method, self.GEOMETRY, multiplier=0.5)
        outside = array(method.apply(tensor(w), slots, CLOCK)[1]) == 0
        alive = (np.abs(w) > method.epsilon * typical(np.abs(w.astype(np.float64))))[outside].sum()
        c = alive / (alive + 2 * (~outside).sum())
        assert float(array(method.penalty(tensor(w), slots, CLOCK))) == pytest.approx(0.5 * c + c**2 / 2)
        found = gradient(lambda w: method.penalty(w, slots, CLOCK), w)[0]
        assert (found[~outside] == 0).all() and (found * w > 0)[outside].all()
        inside = np.where(outside, 0, w).astype(np.float32)
        slots |= method.step(tensor(w), slots, CLOCK)
        assert float(array(method.penalty(tensor(inside), slots, CLOCK))) == 0

    def test_there_are_never_more_patterns_than_windows(self):
        assert self.method(100).slots(self.GEOMETRY)["patterns"].shape == (12, 4)


def descend(method: Mdmm, w: np.ndarray, slots: dict, steps: int, rate: float = 4.0) -> tuple[np.ndarray, np.ndarray]:
    """Minimise the mean of (w - w0)^2 / 2 under the constraint; return the mask in the end, and the multipliers."""
    start = tensor(w)
    slope = slope_of(lambda w, slots: keras.ops.mean((w - start) ** 2) / 2 + method.penalty(w, slots, CLOCK))
    step = functions(method)[2]
    w, history = start, []
    for _ in range(steps):
        w, slots = w - rate * tensor(slope(w, slots)), step(w, slots)
        history.append(float(slots["multiplier"]))
    return array(method.harden(w, slots, CLOCK)[1]), np.array(history)


class TestTraining:
    W = np.random.default_rng(4).normal(size=(20, 10)).astype(np.float32)
    GEOMETRY = Geometry(n_out=20, n_in=5, taps=(2,))

    @pytest.mark.parametrize(
        ("method", "sparsity"),
        [
            (Mdmm(sparsity=0.9), 0.9),
            (Mdmm(sparsity=0.5, constraint="greater"), 0.5),
            (Mdmm(metric="structured", sparsity=0.6), 0.6),
            (Mdmm(metric="dsp", reuse_factor=4, count=20, constraint="less"), 0.6),
        ],
        ids=["unstructured", "greater", "structured", "dsp"],
    )
    def test_plain_gradient_descent_meets_the_constraint(self, method, sparsity):
        mask, _ = descend(method, self.W, slots_of(method, self.GEOMETRY), steps=1200)
        assert abs(1 - mask.mean() - sparsity) <= 0.01

    def test_a_kernel_that_became_too_sparse_comes_back(self):
        method = Mdmm(sparsity=0.7)
        slots = slots_of(method, self.GEOMETRY, multiplier=4.0)
        sparse, _ = descend(method, self.W, slots, steps=150)
        mask, history = descend(method, self.W, slots, steps=1500)
        assert sparse.mean() < 0.2
        assert history.min() < 2
        assert abs(1 - mask.mean() - 0.7) <= 0.01

    def test_the_given_ebops_are_met(self):
        method = Mdmm(metric="ebops", count=300)
        cost = np.random.default_rng(5).integers(1, 9, (20, 10)).astype(np.float32)
        mask, _ = descend(method, self.W, slots_of(method, self.GEOMETRY, cost=cost), steps=800)
        assert abs((mask * cost).sum() - 300) <= 0.01 * cost.sum()

    def test_windows_are_driven_into_patterns(self):
        method = Mdmm(metric="paca", patterns=1, sparsity=0.5, constraint_lr=0.05)
        _, _, step, mask_of = functions(method)
        start = tensor(np.random.default_rng(6).uniform(-1, 1, (20, 10)))
        slots = step(start, slots_of(method, self.GEOMETRY))
        outside = array(mask_of(start, slots)) == 0
        assert outside.mean() == 0.5
        slope = slope_of(lambda w, slots: keras.ops.mean((w - start) ** 2) / 2 + method.penalty(w, slots, CLOCK))
        w = start
        for _ in range(1000):
            w, slots = w - 2.0 * tensor(slope(w, slots)), step(w, slots)
        alive = np.abs(array(w)) > method.epsilon * float(slots["scale"])
        assert alive[outside].mean() <= 0.01
        assert alive[~outside].mean() > 0.8


class TestConfiguration:
    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            ({"sparsity": 0.5, "count": 3}, "needs either sparsity or count; got sparsity=0.5, count=3"),
            ({"sparsity": None}, "needs either sparsity or count; got sparsity=None, count=None"),
            ({"sparsity": 0.0}, "greater than 0"),
            ({"sparsity": 1.0}, "less than 1"),
            ({"count": 0}, "greater than or equal to 1"),
            ({"constraint": "at most"}, "Input should be 'equal', 'less' or 'greater'"),
            ({"metric": "luts"}, "Input should be 'unstructured'"),
            ({"metric": "dsp"}, "metric: dsp needs reuse_factor"),
            ({"metric": "bram", "reuse_factor": 4}, "metric: bram needs weight_bits"),
            ({"metric": "paca"}, "metric: paca needs patterns"),
            ({"reuse_factor": 4}, "reuse_factor means nothing to metric: unstructured; got reuse_factor=4"),
            ({"metric": "structured", "weight_bits": 8}, "weight_bits means nothing to metric: structured"),
            ({"metric": "ebops", "patterns": 8}, "patterns means nothing to metric: ebops"),
            (
                {"metric": "paca", "patterns": 4, "count": 9},
                "takes a sparsity and constraint: equal; got sparsity=None",
            ),
            ({"metric": "paca", "patterns": 4, "constraint": "less"}, "got sparsity=0.9, constraint: less"),
            ({"epsilon": 0.0}, "greater than 0"),
            ({"epsilon": 1.0}, "less than 1"),
            ({"damping": -1.0}, "greater than or equal to 0"),
            ({"constraint_lr": 0.0}, "greater than 0"),
        ],
    )
    def test_nonsense_is_refused(self, fields, message):
        with pytest.raises(ValidationError, match=message):
            Mdmm(**fields)

    @pytest.mark.parametrize(
        ("fields", "geometry", "reason"),
        [
            (
                {"count": 24},
                Geometry(3, 8),
                "count 24 is not reached by removing anything: metric 'unstructured' counts 24",
            ),
            ({"count": 25, "constraint": "greater"}, Geometry(3, 8), "count 25 is not reached by removing anything"),
            ({"metric": "structured", "count": 3}, Geometry(3, 8), "metric 'structured' counts 3 in it"),
            ({"metric": "structured", "sparsity": 0.1}, Geometry(4, 8), "sparsity 0.1 removes nothing of the 4 that"),
            ({"metric": "dsp", "reuse_factor": 5}, Geometry(3, 8), "reuse_factor 5 does not divide its 24 weights"),
            ({"metric": "dsp", "reuse_factor": 4, "count": 6}, Geometry(3, 8), "metric 'dsp' counts 6 in it"),
            ({"metric": "paca", "patterns": 2}, Geometry(3, 8), "metric 'paca' needs a convolution with a window of"),
            (
                {"metric": "paca", "patterns": 2},
                Geometry(3, 8, (1, 1)),
                "metric 'paca' needs a convolution with a window",
            ),
            (
                {"metric": "paca", "patterns": 2},
                Geometry(3, 8, (6, 6)),
                "windows of up to 30 weights, and this has 36",
            ),
            (
                {"metric": "paca", "patterns": 2, "sparsity": 0.1},
                Geometry(3, 8, (2, 2)),
                "sparsity 0.1 removes nothing of",
            ),
        ],
    )
    def test_what_a_kernel_cannot_do_is_named(self, fields, geometry, reason):
        assert reason in Mdmm(**fields).check(geometry)

    def test_what_a_kernel_can_do_is_not(self):
        assert Mdmm().check(Geometry(3, 8)) is None
        assert Mdmm(count=24, constraint="greater").check(Geometry(3, 8)) is None
        assert Mdmm(metric="bram", reuse_factor=4, weight_bits=8).check(Geometry(30, 8)) is None
        assert Mdmm(metric="ebops", count=10**6).check(Geometry(3, 8)) is None
        assert Mdmm(metric="paca", patterns=2, sparsity=0.5).check(Geometry(3, 1, (3,))) is None

    def test_a_count_takes_the_place_of_the_sparsity_and_survives_a_round_trip(self):
        for config in (Mdmm(), Mdmm(count=5), Mdmm(metric="paca", patterns=3)):
            assert Mdmm.model_validate(config.model_dump(mode="json")) == config
        assert (Mdmm().sparsity, Mdmm(count=5).sparsity) == (0.9, None)

    def test_only_outputs_are_structured(self):
        assert Mdmm(metric="structured").structured and not Mdmm().structured

    @pytest.mark.parametrize(("bits", "weights"), [(18, 2), (9, 4), (8, 4), (16, 2), (36, 1), (40, 1), (1, 36)])
    def test_a_bram_word_holds_whole_weights(self, bits, weights):
        assert _metrics.bram_group(reuse_factor=3, weight_bits=bits) == 3 * weights

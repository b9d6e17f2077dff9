"""Fixed point against exact arithmetic, in every mode; the quantisers that HGQ2 lacks, alone and in a model."""

from __future__ import annotations

import math
from fractions import Fraction

import hgq.layers
import keras
import numpy as np
import pytest
from hgq.quantizer import Quantizer, QuantizerConfig
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from keras import ops

from tests.gradients import gradient
from tests.quantize.reference import fewest_integer_bits, quantized, rounded
from weft.errors import UnsupportedError
from weft.quantize.fixed import FixedPointConfig, integer_bits, quantize, round_to

pytestmark = pytest.mark.backends

ROUND = ["TRN", "TRN_ZERO", "RND", "RND_CONV", "RND_ZERO", "RND_MIN_INF", "RND_INF"]
OVERFLOW = ["SAT", "SAT_SYM", "WRAP", "WRAP_SM"]
ALMOST = np.nextafter(np.float32(0.5), np.float32(0))  # floor(x + 0.5) rounds this up
ODD = np.float32(2**23 + 1)  # and moves this

TINY = (1, 3, 0)

reals = st.floats(-70, 70, width=32).map(lambda x: x if abs(x) > 1e-30 else 0.0) | st.integers(-600, 600).map(
    lambda n: n / 16  # XLA flushes what is below 1e-38
)
values = arrays(np.float32, 12, elements=reals)
formats = st.tuples(st.integers(0, 1), st.integers(-6, 8), st.integers(-6, 8)).filter(lambda kif: kif[1] + kif[2] >= -2)


def tensor(value, dtype="float32"):
    return ops.convert_to_tensor(np.asarray(value, dtype))


def number(value):
    return ops.convert_to_numpy(value)


@pytest.mark.parametrize("overflow_mode", OVERFLOW)
@pytest.mark.parametrize("round_mode", ROUND)
@settings(max_examples=10)
@given(values, formats)
@example(np.array([ALMOST, -ALMOST, ODD, -ODD, 2.0**30, -(2.0**30), 3 * 2.0**40, 0, -0.0, 0.5, -0.5, 1], "f"), TINY)
@example(np.array([ALMOST, -ALMOST, 1.5, 2.5, -1.5, -2.5, 4, -4, 7.5, -8.5, 8, -8], "f"), (0, 23, 1))
def test_every_mode_equals_exact_arithmetic(round_mode, overflow_mode, x, kif):
    k, i, f = kif
    expected = [quantized(float(one), k, i, f, round_mode, overflow_mode) for one in x]
    got = number(quantize(tensor(x), tensor(k), tensor(i), tensor(f), round_mode, overflow_mode))
    assert [float(one) for one in expected] == got.tolist()


@settings(max_examples=40)
@given(values, st.integers(-6, 8), st.sampled_from(ROUND))
def test_rounding_alone_equals_exact_arithmetic(x, f, mode):
    expected = [float(rounded(Fraction(float(one)) * Fraction(2) ** f, mode)) * 2.0**-f for one in x]
    assert expected == number(round_to(tensor(x), tensor(f), mode)).tolist()


@pytest.mark.parametrize("overflow_mode", ["SAT", "SAT_SYM"])
@settings(max_examples=20)
@given(st.sampled_from(ROUND), values, st.integers(-3, 3), st.integers(-2, 4))
def test_gradients_of_saturating_quantisers(overflow_mode, round_mode, x, i, f):
    if i + f < 1:
        f = 1 - i
    high, low = 2.0**i - 2.0**-f, -(2.0**i) + (2.0**-f if overflow_mode == "SAT_SYM" else 0)
    q = np.array([float(quantized(float(one), 1, i, f, round_mode, overflow_mode)) for one in x])
    above, below, two = x > high, x < low, math.log(2)
    within = ~(above | below)
    bits = [np.full_like(x, value) for value in (i, f)]
    dx, di, df = gradient(lambda x, i, f: ops.sum(quantize(x, 1.0, i, f, round_mode, overflow_mode)), x, *bits)
    np.testing.assert_array_equal(dx, within)
    np.testing.assert_allclose(di, two * 2.0**i * (above * 1.0 - below), rtol=1e-6)
    ends = two * 2.0**-f * (above * 1.0 - (below if overflow_mode == "SAT_SYM" else 0))
    np.testing.assert_allclose(df, np.where(within, -two * (q - x), ends), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("overflow_mode", ["WRAP", "WRAP_SM"])
@settings(max_examples=10)
@given(x=values, f=st.integers(-2, 4))
def test_gradients_of_wrapping_quantisers_are_those_of_rounding(overflow_mode, x, f):
    bits = [np.full_like(x, value) for value in (2 - f, f)]
    dx, di, df = gradient(lambda x, i, f: ops.sum(quantize(x, 1.0, i, f, "RND", overflow_mode)), x, *bits)
    unwrapped = np.floor(x.astype("float64") * 2.0**f + 0.5) * 2.0**-f
    np.testing.assert_array_equal(dx, 1)
    np.testing.assert_array_equal(di, 0)
    np.testing.assert_allclose(df, -math.log(2) * (unwrapped - x), rtol=1e-4, atol=2e-5)


@settings(max_examples=20)
@given(st.sampled_from(["TRN", "RND", "RND_CONV"]), st.sampled_from(["SAT", "SAT_SYM"]), values)
def test_values_and_gradients_are_those_of_hgq2(round_mode, overflow_mode, x):
    x = x[np.abs(np.abs(x * 8) % 1 - 0.5) > 1e-3]
    x = np.resize(x, 12) if x.size else np.zeros(12, "f")
    stateless = Quantizer(QuantizerConfig("kif", "datalane", round_mode=round_mode, overflow_mode=overflow_mode))
    stateless.build((None, 12))
    theirs = stateless.quantizer.stateless_quantizer
    bits = [np.full_like(x, value) for value in (1, 2, 3)]

    def ours(x, k, i, f):
        return quantize(x, k, i, f, round_mode, overflow_mode)

    np.testing.assert_array_equal(number(ours(*map(tensor, (x, *bits)))), number(theirs(*map(tensor, (x, *bits)))))
    weights = np.arange(1, 13, dtype="f")
    mine = gradient(lambda x, i, f: ops.sum(tensor(weights) * ours(x, tensor(bits[0]), i, f)), x, *bits[1:])
    other = gradient(lambda x, i, f: ops.sum(tensor(weights) * theirs(x, tensor(bits[0]), i, f)), x, *bits[1:])
    for one, two in zip(mine, other, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-4)


def test_a_format_without_bits_gives_zero_but_can_grow_again():
    x = np.array([3.0, 0.4], "f")
    kif = [np.full_like(x, value) for value in (0, 0, -1)]
    assert number(quantize(*map(tensor, (x, *kif)))).tolist() == [0, 0]
    di, df = gradient(lambda i, f: ops.sum(quantize(tensor(x), tensor(kif[0]), i, f)), *kif[1:])
    assert (di + df > 0).all()


# The fewest integer bits.

groups = st.lists(reals | st.integers(-12, 12).flatmap(lambda e: st.sampled_from([2.0**e, -(2.0**e)])), min_size=1)


@settings(max_examples=50)
@given(groups, st.integers(-5, 8), st.sampled_from(ROUND), st.booleans())
def test_integer_bits_for_given_fractional_bits_are_the_fewest(x, f, mode, symmetric):
    high, low = max(0, *x, 0), max(0, -min(x))
    got = integer_bits(tensor(high), tensor(low), f=tensor(f), round_mode=mode, symmetric=symmetric)
    assert number(got) == fewest_integer_bits([np.float32(v).item() for v in (high, -low)], f, None, mode, symmetric)


@settings(max_examples=50)
@given(groups, st.integers(1, 16), st.sampled_from(ROUND), st.booleans())
@example([1.0], 7, "RND", False)
@example([-1.0], 7, "RND", False)
@example([0.0078125, -0.0078125], 1, "TRN", True)
def test_integer_bits_for_a_given_width_are_the_fewest(x, b, mode, symmetric):
    high, low = (np.float32(v).item() for v in (max(0, *x, 0), max(0, -min(x))))
    if max(high, low) < 2.0**-22:
        return
    got = integer_bits(tensor(high), tensor(low), b=tensor(b), round_mode=mode, symmetric=symmetric)
    assert number(got) == fewest_integer_bits([high, -low], None, b, mode, symmetric)


@pytest.mark.parametrize(("x", "expected"), [(0.25, -1), (-0.25, -2), (0.01, -6), (0.0, -24), (1 - 2.0**-7, 0)])
def test_integer_bits_of_seven_bits(x, expected):
    got = integer_bits(tensor(max(x, 0)), tensor(max(-x, 0)), b=tensor(7.0))
    assert number(got) in ((expected,) if x else (-24, -25))


# Stochastic rounding.

ROWS = np.random.default_rng(0).normal(0, 2, (32, 4)).astype("f")


def built(q_type="kif", **kwargs):
    """Return a quantiser of data of four columns."""
    config = FixedPointConfig(q_type, "datalane", **{"follows": False, **kwargs})
    quantizer = Quantizer(config)
    quantizer.build((None, 4))
    return quantizer


def rows(*x):
    """Return rows of four columns, each row one value."""
    return np.repeat(np.resize(np.array(x, "f"), 32)[:, None], 4, axis=1)


def column(q):
    return number(q)[:, 0].tolist()


@pytest.mark.parametrize("round_mode", ["S_RND", "S_RND_CONV"])
def test_stochastic_rounding_keeps_the_mean_and_only_takes_the_two_neighbours(round_mode):
    quantizer = built(round_mode=round_mode, overflow_mode="SAT", i0=3, f0=1)
    for x in (0.1, -0.1, 0.25, 1.0, -2.3):
        q = np.stack([number(quantizer(rows(x), training=True)) for _ in range(40)])
        assert set(np.unique(q)) <= {math.floor(2 * x) / 2, math.ceil(2 * x) / 2}
        assert abs(q.mean() - x) < 4 * 0.25 / math.sqrt(q.size)


@pytest.mark.parametrize(("round_mode", "expected"), [("S_RND", [0.5, 1.0, -1.0]), ("S_RND_CONV", [0, 1.0, -1.0])])
def test_inference_rounds_to_nearest_whatever_was_drawn_before(round_mode, expected):
    quantizer, x = built(round_mode=round_mode, overflow_mode="SAT", i0=3, f0=1), rows(0.25, 0.75, -1.0)
    first = column(quantizer(x))
    quantizer(x, training=True)
    assert first == column(quantizer(x)) == np.resize(expected, 32).tolist()


def test_equal_seeds_draw_equally_and_successive_draws_differ():
    draws = []
    for _ in range(2):
        keras.utils.set_random_seed(3)
        quantizer = built(round_mode="S_RND", overflow_mode="WRAP", i0=3, f0=1)
        draws.append([number(quantizer(ROWS, training=True)) for _ in range(2)])
    np.testing.assert_array_equal(draws[0], draws[1])
    assert (draws[0][0] != draws[0][1]).any()


# In a model.


def network(**kwargs):
    keras.utils.set_random_seed(0)
    kernel = FixedPointConfig("kbi", "weight", **{"follows": False, "round_mode": "S_RND", "b0": 4, "i0": 1, **kwargs})
    data = FixedPointConfig("kif", "datalane", follows=True, overflow_mode="SAT", f0=3)
    dense = hgq.layers.QDense(3, kq_conf=kernel, iq_conf=data, use_bias=False, name="dense")
    return keras.Sequential([keras.Input((4,)), dense])


def test_training_draws_once_a_step():
    model = network()
    seed = model.layers[0].kq.quantizer.seed_gen.state
    before = number(seed).astype(int)
    model.compile("sgd", "mse")
    model.fit(ROWS, ROWS[:, :3], batch_size=16, verbose=0)
    assert (number(seed).astype(int) - before).tolist() == [0, 2]


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="stateless calls are compiled by JAX only")
def test_stochastic_rounding_works_in_a_compiled_stateless_call_and_moves_its_seed():
    import jax

    model = network()
    trainable = [v.value for v in model.trainable_variables]
    state = [v.value for v in model.non_trainable_variables]
    step = jax.jit(lambda s: model.stateless_call(trainable, s, ROWS, training=True))
    first, after = step(state)
    second, _ = step(after)
    assert (np.asarray(first) != np.asarray(second)).any()
    np.testing.assert_array_equal(first, step(state)[0])
    _, untouched = jax.jit(lambda s: model.stateless_call(trainable, s, ROWS, training=False))(state)
    for one, two in zip(state, untouched, strict=True):
        np.testing.assert_array_equal(one, two)


def test_reading_changes_no_variable():
    model = network(follows=True, round_mode="RND")
    before = [number(v).copy() for v in model.variables]
    model(ROWS)
    _ = model.layers[0].qkernel, model.layers[0].kq.bits, model.layers[0].kq.quantizer.kif
    for one, two in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(one, number(two))


def test_a_following_kernel_is_in_range_at_every_magnitude():
    axes = {"homogeneous_axis": None, "heterogeneous_axis": (1,)}
    dense = network(follows=True, round_mode="RND", overflow_mode="SAT_SYM", **axes).layers[0]
    kernel = np.outer([0.3, -0.5, 1.0, 0.02], [1e-3, 1.0, 50.0]).astype("f")
    dense.kernel.assign(kernel)
    dense.kq(dense.kernel, training=True)
    np.testing.assert_array_less(np.abs(number(dense.qkernel) - kernel) / np.abs(kernel).max(0), 2.0**-4)
    assert number(dense.kq.quantizer.i).ravel().tolist() == [-9, 1, 6]
    np.testing.assert_array_equal(number(dense.kq.quantizer.b), 4)


def test_a_following_range_rises_at_once_and_falls_slowly():
    quantizer, seen = built(follows=True, overflow_mode="SAT", i_decay_speed=0.5), []
    for size in (100.0, 1.0, 1.0, 1.0):
        quantizer(rows(size), training=True)
        seen.append(float(number(quantizer.quantizer._i)[0, 0]))
    assert seen == [7, 6.5, 6, 5.5]


def test_a_following_range_saturates_what_it_has_not_seen():
    quantizer = built(follows=True, overflow_mode="SAT", f0=2)
    quantizer(rows(3.0, -2.0), training=True)
    assert column(quantizer(rows(1e6, -1e6, 1.3)))[:3] == [3.75, -4.0, 1.25]


def test_a_held_range_wraps_in_training_as_in_inference():
    quantizer = built(overflow_mode="WRAP", i0=1, f0=1)
    for training in (False, True):
        assert column(quantizer(rows(1.5, 2.0, -3.0, 5.0), training=training))[:4] == [1.5, -2.0, 1.0, 1.0]


@pytest.mark.parametrize(("overflow_mode", "expected"), [("SAT", 5), ("SAT_SYM", 4), ("WRAP", 4), ("WRAP_SM", 4)])
def test_bits_are_counted_as_hgq2_does(overflow_mode, expected):
    quantizer = built(follows=True, overflow_mode=overflow_mode, i0=1, f0=3)
    assert number(quantizer.bits).ravel().tolist() == [expected] * 4


def test_a_saved_model_computes_and_draws_on_as_before(tmp_path):
    model = network()
    model(ROWS, training=True)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras", compile=False)
    np.testing.assert_array_equal(number(model(ROWS)), number(again(ROWS)))
    np.testing.assert_array_equal(number(model(ROWS, training=True)), number(again(ROWS, training=True)))


@pytest.mark.parametrize("overflow_mode", ["SAT", "SAT_SYM", "WRAP"])
@pytest.mark.parametrize("follows", [True, False])
def test_the_plain_configuration_computes_the_same_in_inference(overflow_mode, follows):
    ours = built(follows=follows, round_mode="S_RND_CONV", overflow_mode=overflow_mode, f0=2)
    theirs = Quantizer(ours.config.plain())
    theirs.build((None, 4))
    ours(ROWS, training=True)
    for name in ("_k", "_i", "_f"):
        getattr(theirs.quantizer, name).assign(getattr(ours.quantizer, name))
    assert type(theirs.quantizer).__module__.startswith("hgq.")
    np.testing.assert_array_equal(number(ours(3 * ROWS)), number(theirs(3 * ROWS)))


@pytest.mark.parametrize(("place", "follows"), [("datalane", True), ("weight", False), ("table", True)])
def test_what_may_wrap_by_sign_and_magnitude_cannot_be_frozen(place, follows):
    config = FixedPointConfig("kif", place, follows=follows, overflow_mode="WRAP_SM")
    with pytest.raises(
        UnsupportedError, match=rf"freeze a {place} quantiser with overflow_mode WRAP_SM, .* use SAT, SAT_"
    ):
        config.plain()


def test_a_kernel_in_a_range_that_follows_it_never_wraps_and_freezes():
    assert FixedPointConfig("kbi", "weight", follows=True, overflow_mode="WRAP_SM").plain()["overflow_mode"] == "SAT"

"""FITCompress: products, rates and rounding by brute force, Fisher information by hand, the search by exhaustion."""

from __future__ import annotations

import doctest
import itertools
import math
import sys
from fractions import Fraction

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from keras import layers as kl

from tests.gradients import gradient
from weft.compression._fisher import LEAST_DRAWS, FisherMeter
from weft.compression._products import float_kernels
from weft.compression._taps import tapped
from weft.compression.fit_recipe import _fix, _merged
from weft.compression.fitcompress import Found, fitcompress, kernel_cost, round_kernel, weights_within
from weft.config.fitcompress import FitCompressConfig, Goal
from weft.config.numbers import FixedNumbers, LayerSettings, QuantizerSettings
from weft.errors import BudgetError, DataError, ShapeError, UnsupportedError
from weft.prune.magnitude import Magnitude
from weft.quantize.calibrate import calibrate
from weft.quantize.convert import convert
from weft.quantize.kernels import pruned_kernels

pytestmark = pytest.mark.backends

numpy = keras.ops.convert_to_numpy


# Products


def brute_products(layer, shape) -> np.ndarray:
    """With ones as input and a linear layer, the sum of the outputs moves by 1 for each product that a weight is in."""
    ones = keras.ops.ones((1, *shape))

    def total(kernel):
        with keras.StatelessScope(state_mapping=[(layer._trainable_variables[0], kernel)]):
            return keras.ops.sum(layer(ones))

    return gradient(total, np.zeros(layer._trainable_variables[0].shape, np.float32))[0]


CASES = {
    "dense on a sequence": (lambda: kl.Dense(3), (5, 4)),
    "einsum with dots": (lambda: kl.EinsumDense("...x,xyz->...yz", (3, 2)), (5, 4)),
    "einsum that sums an axis away": (lambda: kl.EinsumDense("abc,cd->ad", 3), (5, 4)),
    "einsum over two axes": (lambda: kl.EinsumDense("abcd,cde->abe", (2, 6)), (2, 3, 4)),
    "einsum, one kernel for each position": (lambda: kl.EinsumDense("abc,bcd->abd", (5, 3)), (5, 4)),
    "conv same with wide strides": (lambda: kl.Conv1D(3, 2, strides=3, padding="same"), (8, 2)),
    "conv causal dilated": (lambda: kl.Conv1D(3, 3, dilation_rate=2, padding="causal"), (7, 2)),
    "conv in groups": (lambda: kl.Conv1D(4, 3, groups=2, padding="same"), (7, 4)),
    "conv 2d": (lambda: kl.Conv2D(3, (3, 2), strides=(2, 1), padding="same"), (6, 5, 2)),
    "conv 3d": (lambda: kl.Conv3D(2, 2, padding="same"), (3, 2, 4, 1)),
    "depthwise 2d": (lambda: kl.DepthwiseConv2D(3, strides=2, padding="same"), (5, 5, 2)),
}


def one_layer(make, shape):
    inputs = keras.Input(shape)
    layer = make()
    return keras.Model(inputs, layer(inputs)), layer


@pytest.mark.parametrize("case", CASES)
def test_every_product_is_counted_once_and_padding_is_none(case):
    make, shape = CASES[case]
    model, layer = one_layer(make, shape)
    (kernel,) = float_kernels(model, np.zeros((1, *shape), np.float32))
    expected = brute_products(layer, shape)
    np.testing.assert_array_equal(kernel.products, expected)
    if case != "einsum that sums an axis away":
        n_out = math.prod(kernel.shape[axis] for axis in kernel.output_axes)
        assert kernel.positions * n_out == math.prod(model.output_shape[1:])


def test_kernels_are_found_in_branches_attention_nested_and_shared_layers_and_named_by_place():
    inputs = keras.Input((5, 4))
    shared = kl.Dense(4, name="shared")
    inner = keras.Sequential([keras.Input((5, 4)), kl.Dense(3, name="dense"), kl.ReLU()], name="inner")
    attended = kl.MultiHeadAttention(2, 3, name="attention")(shared(inputs), inputs)
    outputs = [inner(shared(inputs)), kl.DepthwiseConv1D(3, name="deep")(attended)]
    model = keras.Model(inputs, outputs)
    found = {kernel.name: kernel for kernel in float_kernels(model, np.zeros((1, 5, 4), np.float32))}
    inside = {f"attention/{name}": "attention" for name in ("query", "key", "value", "attention_output")}
    assert {name: kernel.unit for name, kernel in found.items()} == {
        "shared": "shared", "inner/dense": "inner/dense", "deep": "deep", **inside
    }  # fmt: skip
    assert (found["shared"].products == 2 * 5).all()
    assert (found["attention/query"].products == 5).all()
    assert found["attention/query"].output_axes == (1, 2)
    assert found["attention/attention_output"].output_axes == (2,)
    assert {
        k.name for k in float_kernels(model, np.zeros((1, 5, 4)), only=["att*", "inner/*"], skip=["inner*"])
    } == set(inside)
    assert "call" not in shared.__dict__


def test_a_layer_that_cannot_be_counted_is_named_and_can_be_skipped():
    inputs = keras.Input((5, 4))
    model = keras.Model(inputs, kl.Dense(2, name="last")(kl.LSTM(3, name="memory")(inputs)))
    x = np.zeros((1, 5, 4), np.float32)
    with pytest.raises(UnsupportedError, match=r"layer 'memory' \(LSTM\) are not known.*skip: \['memory'\]"):
        float_kernels(model, x)
    assert [kernel.name for kernel in float_kernels(model, x, skip=["memory"])] == ["last"]


def test_a_separable_convolution_counts_as_the_two_that_it_is():
    inputs = keras.Input((7, 2))
    arguments = {"padding": "same", "depth_multiplier": 2, "strides": 2}
    whole = keras.Model(inputs, kl.SeparableConv1D(3, 2, name="apart", **arguments)(inputs))
    halves = keras.Model(inputs, kl.Conv1D(3, 1)(kl.DepthwiseConv1D(2, **arguments)(inputs)))
    x = np.zeros((1, 7, 2), np.float32)
    one, two = float_kernels(whole, x), float_kernels(halves, x)
    assert [kernel.name for kernel in one] == ["apart_depthwise", "apart"]
    for mine, other in zip(one, two, strict=True):
        assert (mine.output_axes, mine.positions) == (other.output_axes, other.positions)
        np.testing.assert_array_equal(mine.products, other.products)


def recurrent():
    """A nested model with steps in time, and separable and depthwise convolutions."""
    inputs = keras.Input((4, 3))
    steps = [kl.GRU(2, return_sequences=True, name="gru"), kl.SimpleRNN(2, name="rnn")]
    inner = keras.Sequential([keras.Input((4, 3)), *steps], name="inner")
    apart = kl.SeparableConv1D(3, 2, padding="same", activation="relu", name="apart")(inputs)
    deep = kl.DepthwiseConv1D(2, depth_multiplier=2, name="deep")(apart)
    model = keras.Model(inputs, kl.Dense(2, name="last")(kl.Concatenate()([inner(inputs), kl.Flatten()(deep)])))
    rng = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(0, 0.5, variable.shape))
    return model, rng.normal(size=(6, 4, 3)).astype(np.float32)


def test_each_step_in_time_counts_and_watching_changes_nothing():
    model, x = recurrent()
    kernels = float_kernels(model, x[:1])
    found = {kernel.name: (kernel.unit, set(kernel.products.ravel().tolist())) for kernel in kernels}
    assert found["inner/gru/gru_cell/kernel"] == found["inner/gru/gru_cell/recurrent_kernel"] == ("inner/gru", {4})
    assert found["inner/rnn/simple_rnn_cell/recurrent_kernel"] == ("inner/rnn", {4})
    before, seen = numpy(model(x)), []

    def look(layer, read, value):
        seen.append((layer.name, read))
        return value

    with tapped([kernel.layer for kernel in kernels], look):
        np.testing.assert_allclose(numpy(model(x)), before, rtol=0, atol=1e-6)
    assert seen.count(("gru", 1)) == seen.count(("rnn", 0)) == 4
    assert seen.count(("apart", 1)) == 1
    np.testing.assert_array_equal(numpy(model(x)), before)
    assert not model.get_layer("inner").get_layer("gru").unroll


def test_the_recipe_fixes_what_was_found_in_every_layer_that_can_be_pruned():
    model, x = recurrent()
    section = config(
        {"bops_ratio": 0.02}, keep=1, max_sparsity=0.5, sparsity_steps=2, weight_bits=[8, 4], activation_bits=[8, 5]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    found = fitcompress(model, loss, [(x, np.arange(6) % 2)], section)
    assert set(found.layers) == {"inner/gru", "inner/rnn", "apart", "deep", "last"}
    built = convert(model, FixedNumbers(total_bits=8), found.layers, Magnitude())
    _fix(built, found.masks)
    calibrate(built, x)
    zeros = {name: int((~mask).sum()) for name, mask in found.masks.items()}
    left = [int((kernel.quantized() == 0).sum()) for kernel in pruned_kernels(built)]
    assert sorted(left) == sorted(zeros.values())
    units = {"qgru_cell": "inner/gru", "simple_rnn_cell": "inner/rnn", "apart_depthwise": "apart"}
    for kernel in pruned_kernels(built):
        its = found.layers[units.get(kernel.layer.name, kernel.layer.name)]
        assert (numpy(kernel.quantizer.quantizer.b) == its.weight.bits - 1).all(), kernel.name
    last = {kernel.layer.name: kernel.layer for kernel in pruned_kernels(built)}
    state, half = last["qgru_cell"].sq, last["apart"].iq
    assert (numpy(state.quantizer.b) == found.layers["inner/gru"].input.bits - 1).all()
    assert (numpy(half.quantizer.b) == found.layers["apart"].input.bits - 1).all()
    with pytest.raises(ShapeError, match=r"takes the masks of elsewhere; list layers that are to stay whole in search"):
        _fix(built, {"elsewhere": np.ones((1, 1), bool)})


def test_what_the_user_says_of_a_layer_goes_before_what_was_found_and_leaves_the_rest():
    found = {"a": LayerSettings(weight=QuantizerSettings(bits=4), input=QuantizerSettings(bits=5, signed=False))}
    given = {"a": LayerSettings(weight=QuantizerSettings(granularity="weight")), "b*": LayerSettings(hard=True)}
    merged = _merged(found, given)
    assert merged["a"].weight == QuantizerSettings(bits=4, granularity="weight")
    assert merged["a"].input == found["a"].input
    assert merged["b*"] == given["b*"]


# Rounding and rates

weights = st.floats(-8, 8, width=32, allow_subnormal=False)


def rounded_exactly(w: np.ndarray, bits: int) -> np.ndarray:
    """The smallest format that holds all of `w`, found by trying, and rounding half up in it, in exact arithmetic."""
    exact = [Fraction(float(v)) for v in w.ravel()]
    if not any(exact):
        return np.zeros_like(w)
    guess = math.frexp(max(map(abs, exact)))[1]
    for i in range(guess - 3, guess + 3):
        step = Fraction(2) ** (i - bits + 1)
        if max(map(abs, exact)) <= Fraction(2) ** i - step:
            break
    return np.array([float(math.floor(v / step + Fraction(1, 2)) * step) for v in exact], np.float32).reshape(w.shape)


@given(arrays(np.float32, (2, 3), elements=weights), st.integers(2, 16))
@settings(max_examples=60)
def test_rounding_equals_exact_arithmetic(w, bits):
    np.testing.assert_array_equal(round_kernel(w, bits), rounded_exactly(w, bits))
    for n in range(3):
        np.testing.assert_array_equal(round_kernel(w, bits, [-1])[:, n], rounded_exactly(w[:, n], bits))
    np.testing.assert_array_equal(round_kernel(w, bits, [0, 1])[1, 2], rounded_exactly(w[1, 2:], bits)[0])


def test_the_example_holds():
    assert doctest.testmod(sys.modules[round_kernel.__module__]).failed == 0


def test_a_weight_is_zero_below_half_a_step():
    step = 0.25
    w = np.array([0.75, step / 2, np.nextafter(np.float32(step / 2), np.float32(0)), -step / 2], np.float32)
    np.testing.assert_array_equal(round_kernel(w, 3), [0.75, 0.25, 0.0, 0.0])


def significant(value: float) -> int:
    """Digits of |value| in base 2 from the first 1 to the last."""
    digits = Fraction(abs(float(value)))
    while digits.denominator > 1:
        digits *= 2
    return len(bin(int(digits))[2:].strip("0")) if digits else 0


@given(arrays(np.float32, (3, 2, 2), elements=weights), st.integers(2, 8), st.integers(2, 8), st.integers(0, 1))
@settings(max_examples=25)
def test_costs_of_a_convolution_equal_those_counted_product_by_product(w, bits, input_bits, k):
    model, _ = one_layer(lambda: kl.Conv1D(2, 3, padding="same", strides=2), (6, 2))
    (kernel,) = float_kernels(model, np.zeros((1, 6, 2), np.float32))
    w = round_kernel(w, bits)
    ebops = bops = 0
    for position in range(3):
        for tap, channel, output in itertools.product(range(3), range(2), range(2)):
            read = 2 * position + tap  # an even input gives all padding, one value, to the right
            if 0 <= read < 6:
                ebops += significant(w[tap, channel, output]) * (input_bits - k)
                bops += bits * input_bits * int(w[tap, channel, output] != 0)
    assert kernel_cost("ebops", kernel, w, bits, input_bits, k) == ebops
    assert kernel_cost("bops_ratio", kernel, w, bits, input_bits, k) == bops
    assert kernel_cost("bytes", kernel, w, bits, input_bits, k) == sum(v != 0 for v in w.ravel()) * bits / 8


# Fisher information


def two_layers():
    """16 weights, all layers linear, so that gradients can be written down: y = relu-free B(A x)."""
    model = keras.Sequential([keras.Input((2,)), kl.Dense(3, name="a"), kl.Dense(2, name="b")])
    rng = np.random.default_rng(5)
    model.set_weights([rng.normal(size=v.shape).astype(np.float32) for v in model.trainable_variables])
    return model


def data(n: int = 12) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(6)
    return rng.normal(size=(n, 2)).astype(np.float32), rng.normal(size=(n, 2)).astype(np.float32)


def rounded_input(x: np.ndarray, low: float, high: float, bits: int) -> np.ndarray:
    k = int(low < 0)
    for i in range(-40, 40):
        step = 2.0 ** (i - bits + k)
        if max(-low, high) <= 2.0**i - step:
            return np.clip(np.floor(x / step + 0.5) * step, -k * 2.0**i, 2.0**i - step)
    raise AssertionError


class Reference:
    """Fisher information and distances of `two_layers` in float64, sample by sample."""

    def __init__(self, model, x, y) -> None:
        self.biases = [numpy(v).astype(np.float64) for v in model.trainable_variables[1::2]]
        self.start = [numpy(v).astype(np.float64) for v in model.trainable_variables[::2]]
        self.x, self.y = x.astype(np.float64), y.astype(np.float64)
        hidden = self.x @ self.start[0] + self.biases[0]
        self.ranges = [(v.min(), v.max()) for v in (self.x, hidden)]

    def fisher(self, kernels, now, then):
        squares, moves = [np.zeros_like(w) for w in kernels], np.zeros((2, 3))
        for x, y in zip(self.x, self.y, strict=True):
            first = rounded_input(x, *self.ranges[0], now[0])
            hidden = first @ kernels[0] + self.biases[0]
            second = rounded_input(hidden, *self.ranges[1], now[1])
            error = second @ kernels[1] + self.biases[1] - y  # the gradient of the mean over two outputs
            back = kernels[1] @ error
            squares[0] += np.outer(first, back) ** 2
            squares[1] += np.outer(second, error) ** 2
            for n, (value, g) in enumerate([(x, kernels[0] @ back), (hidden, back)]):
                a, b = (rounded_input(value, *self.ranges[n], bits[n]) for bits in (now, then))
                moves[n] += [np.sum(g**2 * v**2) for v in (b - a, a, b)]
        return [s / len(self.x) for s in squares], moves / len(self.x)


def meter(model, batches, **options):
    kernels = float_kernels(model, batches[0][0][:1])
    return FisherMeter(model, kernels, keras.losses.MeanSquaredError(), batches, **options)


def formats(m, now, then) -> np.ndarray:
    table = []
    for n, (low, high) in enumerate(m.ranges()):
        row = []
        for bits in (now[n], then[n]):
            k = int(low < 0)
            grid = rounded_input(np.array([-1e9, 1e9]), low, high, bits)
            fine = rounded_input(np.linspace(low, high, 100_000), low, high, bits)
            row.append([np.diff(np.unique(fine)).min(), grid[0] * k, grid[1]])
        table.append(row)
    return np.array(table, np.float32)


def test_batches_of_one_sample_give_the_exact_fisher_information_and_distances():
    model, (x, y) = two_layers(), data()
    m = meter(model, [(x[i : i + 1], y[i : i + 1]) for i in range(12)], draws=12, tolerance=1e-9)
    kernels = [round_kernel(numpy(k.variable), 4) for k in m.kernels]
    found = m.measure(kernels, formats(m, (4, 5), (3, 4)))
    squares, moves = Reference(model, x, y).fisher([k.astype(np.float64) for k in kernels], (4, 5), (3, 4))
    assert found.draws == 12
    for mine, theirs in zip(found.kernels, squares, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4)
    np.testing.assert_allclose(np.stack([found.step, found.now, found.then], axis=1), moves, rtol=1e-3)


def test_signs_make_the_mean_over_a_batch_that_of_the_single_samples():
    model, (x, y) = two_layers(), data()
    m = meter(model, [(x, y)], draws=400, tolerance=1e-9)
    kernels = [numpy(k.variable) for k in m.kernels]
    squares, moves = Reference(model, x, y).fisher([k.astype(np.float64) for k in kernels], (8, 8), (6, 6))
    found = m.measure(kernels, formats(m, (8, 8), (6, 6)))
    for mine, theirs in zip(found.kernels, squares, strict=True):
        assert np.sum(mine) == pytest.approx(np.sum(theirs), rel=0.1)
        np.testing.assert_allclose(mine, theirs, rtol=0.3)
    np.testing.assert_allclose(found.now, moves[:, 1], rtol=1e-3)  # exact in any batch


def test_measuring_ends_when_the_trace_has_settled_and_not_before():
    model, (x, y) = two_layers(), data()
    m = meter(model, [(x, y)], draws=500)
    kernels, form = [numpy(k.variable) for k in m.kernels], formats(m, (8, 8), (8, 8))
    taken = []
    for m.tolerance in (0.3, 0.1, 0.05):
        taken.append(m.measure(kernels, form).draws)
    assert LEAST_DRAWS <= taken[0] < taken[1] < taken[2] < 500
    m.tolerance, m.draws = 1e-9, 20
    assert m.measure(kernels, form).draws == 20
    m.batches = [(m.batches[0][0][:1], m.batches[0][1][:1])]  # one sample: its square does not depend on its sign
    assert m.measure(kernels, form).draws == LEAST_DRAWS


# The search


def config(goal: dict, **options) -> FitCompressConfig:
    return FitCompressConfig(goal=Goal(**goal), **{"draws": 8, "tolerance": 1.0, **options})


def single_samples(x, y):
    return [(x[i : i + 1], y[i : i + 1]) for i in range(len(x))]


@pytest.mark.parametrize("ebops", [150, 280])
def test_the_way_found_is_the_shortest_of_all_ways(ebops):
    model, (x, y) = two_layers(), data(8)
    widths, inputs = [5, 4, 2], [5, 3]
    settings_ = config(
        {"ebops": ebops}, weight_bits=widths, activation_bits=inputs, max_sparsity=0.0, heuristic=0.0, keep=1000
    )
    found = fitcompress(model, keras.losses.MeanSquaredError(), single_samples(x, y), settings_)
    reference = Reference(model, x, y)
    signs = [int(low < 0) for low, _ in reference.ranges]

    def kernels(state):
        return [
            rounded_exactly(w.astype(np.float32), widths[i]).astype(np.float64)
            for w, i in zip(reference.start, state[:2], strict=True)
        ]

    def rate(state):
        bits = [sum(significant(v) for v in w.ravel()) for w in kernels(state)]
        return sum(b * (inputs[i] - k) for b, i, k in zip(bits, state[2:], signs, strict=True))

    squares = {}

    def step(state, place):
        now = [inputs[i] for i in state[2:]]
        then = [inputs[min(i + 1, 1)] for i in state[2:]]
        if state not in squares:
            squares[state] = reference.fisher(kernels(state), now, then)
        fisher, moves = squares[state]
        if place >= 2:
            return math.sqrt(moves[place - 2][0])
        after = tuple(i + (n == place) for n, i in enumerate(state))
        return math.sqrt(np.sum(fisher[place] * (kernels(after)[place] - kernels(state)[place]) ** 2))

    shortest = {}

    def go(state, length):  # every way, none is cut short
        if rate(state) <= ebops:
            shortest[state] = min(length, shortest.get(state, math.inf))
            return
        for place, last in enumerate((2, 2, 1, 1)):
            if state[place] < last:
                go(tuple(i + (n == place) for n, i in enumerate(state)), length + step(state, place))

    go((0, 0, 0, 0), 0.0)
    best = min(shortest, key=shortest.__getitem__)
    assert sum(move.distance for move in found.path) == pytest.approx(shortest[best], rel=1e-3)
    assert found.rate == rate(best)
    assert found.rate <= ebops
    layers = [found.layers["a"], found.layers["b"]]
    assert [widths.index(layer.weight.bits) for layer in layers] == list(best[:2])
    assert [inputs.index(layer.input.bits) for layer in layers] == list(best[2:])


def recount(model, x, found: Found, kind: str) -> float:
    """The rate of what was found, from its masks, widths and signs alone."""
    total = whole = 0.0
    for kernel in float_kernels(model, x[:1]):
        layer, mask = found.layers[kernel.unit], found.masks[kernel.name]
        w = round_kernel(numpy(kernel.variable) * mask, layer.weight.bits)
        assert (w != 0).tolist() == mask.tolist()
        k, bits, read = int(layer.input.signed), layer.weight.bits, layer.input.bits
        if kind == "ebops":
            each = np.vectorize(significant)(w) * (read - k)
            total += float((each * kernel.products).sum())
        elif kind == "bytes":
            total += np.count_nonzero(w) * bits / 8
        else:
            total += float(((w != 0) * kernel.products).sum()) * bits * read
            whole += float(kernel.products.sum()) * 32 * 32
    return total / whole if kind == "bops_ratio" else total


def branched():
    inputs = keras.Input((6, 4))
    one = kl.Conv1D(4, 3, padding="same", activation="relu", name="conv")(inputs)
    two = kl.DepthwiseConv1D(3, padding="same", name="deep")(inputs)
    both = kl.MultiHeadAttention(2, 2, name="attention")(one, two)
    inner = keras.Sequential([keras.Input((6, 4)), kl.Dense(3, activation="relu", name="dense")], name="inner")
    summed = kl.EinsumDense("abc,cd->abd", (6, 3), name="einsum")(both)
    flat = kl.Flatten()(kl.Add()([inner(one), kl.BatchNormalization(name="norm")(summed)]))
    return keras.Model(inputs, kl.Dense(2, name="last")(flat))


@pytest.fixture(scope="module")
def everything():
    keras.utils.set_random_seed(3)
    rng = np.random.default_rng(0)
    return branched(), rng.normal(size=(8, 6, 4)).astype(np.float32), rng.integers(0, 2, 8)


@pytest.mark.parametrize(
    ("goal", "granularity"),
    [({"ebops": 12_000}, "tensor"), ({"bops_ratio": 0.02}, "tensor"), ({"bytes": 60}, "channel")],
)
def test_every_goal_is_met_by_every_kind_of_layer_at_the_rate_that_is_said(everything, goal, granularity):
    model, x, y = everything
    before = [numpy(v).copy() for v in model.variables]
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    settings_ = config(goal, keep=1, max_sparsity=0.9, sparsity_steps=4, weight_bits=[8, 4, 3], activation_bits=[8, 4])
    found = fitcompress(model, loss, [(x, y)], settings_, granularity=granularity)
    assert set(found.layers) == {"conv", "deep", "attention", "inner/dense", "einsum", "last"}
    assert found.rate <= found.goal.value
    if granularity == "tensor":
        assert found.rate == pytest.approx(recount(model, x, found, found.goal.kind), rel=1e-9)
    rates = [move.rate for move in found.path]
    assert rates[-1] == found.rate
    assert all(move.layer is None or move.layer in found.layers for move in found.path)
    assert {move.what for move in found.path} <= {"weights", "input", "sparsity"}
    assert found.layers["inner/dense"].input.signed is False  # it reads a ReLU
    assert found.layers["conv"].input.signed is True
    for old, variable in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(numpy(variable), old)


def test_the_quantised_model_that_is_built_from_it_costs_what_was_said(everything):
    from weft.config.numbers import FixedNumbers
    from weft.prune.magnitude import Magnitude
    from weft.quantize.calibrate import calibrate
    from weft.quantize.convert import convert
    from weft.quantize.kernels import pruned_kernels
    from weft.quantize.pruned import FINETUNE

    _, x, y = everything
    inputs = keras.Input((6, 4))
    deep = kl.DepthwiseConv1D(3, depth_multiplier=2, activation="relu", name="deep")(inputs)
    model = keras.Model(inputs, kl.Dense(2, name="last")(kl.Flatten()(kl.Conv1D(3, 2, name="conv")(deep))))
    section = config(
        {"ebops": 3_000}, keep=1, max_sparsity=0.9, sparsity_steps=4, weight_bits=[8, 4], activation_bits=[8, 5]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    found = fitcompress(model, loss, [(x, y)], section, granularity="channel")
    built = convert(model, FixedNumbers(granularity="channel"), found.layers, Magnitude())
    kernels = {kernel.name: kernel for kernel in pruned_kernels(built)}
    for name, mask in found.masks.items():
        pruned = kernels[name].pruned
        pruned.stage.assign(FINETUNE)
        pruned.mask.assign(mask.reshape(kernels[name].variable.shape).astype(np.float32))
    calibrate(built, x)
    total = 0.0
    for kernel in float_kernels(model, x[:1]):
        layer, mask = kernels[kernel.name].layer, found.masks[kernel.name]
        w = kernels[kernel.name].quantized().reshape(mask.shape)
        assert ((w != 0) == mask).all()
        total += float((np.vectorize(significant)(w) * kernel.products).sum() * numpy(layer.iq.quantizer.b).max())
    assert total == found.rate


def test_sparsity_takes_the_weights_that_matter_least_of_all_layers():
    model, (x, y) = two_layers(), data(8)
    m = meter(model, single_samples(x, y), draws=8, tolerance=1.0)
    start = [round_kernel(numpy(k.variable), 8) for k in m.kernels]
    fisher = m.measure(start, formats(m, (8, 8), (8, 8)))
    matters = np.concatenate(
        [(f * w.astype(np.float64) ** 2).ravel() for f, w in zip(fisher.kernels, start, strict=True)]
    )
    options = {"weight_bits": [8], "activation_bits": [8], "max_sparsity": 0.5, "sparsity_steps": 1}
    found = fitcompress(model, keras.losses.MeanSquaredError(), single_samples(x, y), config({"bytes": 6}, **options))
    alive = np.concatenate([found.masks[name].ravel() for name in ("a", "b")])
    assert set(np.flatnonzero(~alive)) == set(np.argsort(matters)[:6])
    assert [(move.what, move.layer, move.value) for move in found.path] == [("sparsity", None, 0.5)]
    assert found.rate == 6.0


def test_a_goal_that_is_met_from_the_start_takes_no_step():
    model, (x, y) = two_layers(), data(4)
    found = fitcompress(model, keras.losses.MeanSquaredError(), [(x, y)], config({"bytes": 12}))
    assert (found.path, found.states) == ((), 0)
    assert {layer.weight.bits for layer in found.layers.values()} == {8}


def test_one_layer_and_a_layer_of_zeros_are_no_special_case():
    inputs = keras.Input((2,))
    model = keras.Model(inputs, kl.Dense(2, name="only")(inputs))
    x, y = data(8)
    found = fitcompress(model, keras.losses.MeanSquaredError(), [(x, y)], config({"bytes": 1}))
    assert found.rate <= 1
    model = two_layers()
    model.layers[0].kernel.assign(np.zeros((2, 3), np.float32))
    found = fitcompress(model, keras.losses.MeanSquaredError(), [(x, y)], config({"ebops": 100}))
    assert not found.masks["a"].any()
    assert found.rate <= 100


def test_a_path_that_prunes_all_of_a_layer_can_be_found():
    model, (x, y) = two_layers(), data(8)
    options = {"weight_bits": [4], "activation_bits": [4], "max_sparsity": 0.99, "sparsity_steps": 8}
    found = fitcompress(model, keras.losses.MeanSquaredError(), [(x, y)], config({"bytes": 1}, **options))
    assert sum(mask.sum() for mask in found.masks.values()) <= 2
    assert not all(mask.any() for mask in found.masks.values()) or found.rate == 1


def test_the_estimate_measured_anew_meets_the_goal_too():
    model, (x, y) = two_layers(), data(8)
    options = {"weight_bits": [5, 3], "activation_bits": [5, 3], "max_sparsity": 0.5, "sparsity_steps": 2}
    found = fitcompress(
        model, keras.losses.MeanSquaredError(), [(x, y)], config({"ebops": 120}, approximate=False, **options)
    )
    assert found.rate <= 120


def test_a_second_run_finds_the_same_whatever_is_done_to_the_kernels_meanwhile():
    (x, y), loss = data(8), keras.losses.MeanSquaredError()
    plain = fitcompress(two_layers(), loss, [(x, y)], config({"ebops": 150}))
    model = two_layers()

    def disturb(*_):
        for layer in model.layers:
            layer.kernel.assign(np.zeros(layer.kernel.shape, np.float32))

    again = fitcompress(model, loss, [(x, y)], config({"ebops": 150}), progress=disturb)
    assert again.path == plain.path
    assert again.states == plain.states > 0


@pytest.mark.parametrize("keep", [1, 100])
def test_a_goal_out_of_reach_names_the_closest(keep):
    model, (x, y) = two_layers(), data(8)
    options = {"weight_bits": [8, 4], "activation_bits": [8, 6], "max_sparsity": 0.5, "sparsity_steps": 1, "keep": keep}
    with pytest.raises(
        BudgetError, match=r"no state with bytes <= 2; the closest of \d+ .* comes to 3\. Raise the goal"
    ):
        fitcompress(model, keras.losses.MeanSquaredError(), [(x, y)], config({"bytes": 2}, **options))


def test_a_search_that_is_too_short_says_so():
    model, (x, y) = two_layers(), data(8)
    with pytest.raises(
        BudgetError, match=r"no state with ebops <= 50; .* of 3 states .*Raise max_states=3, or lower keep=4"
    ):
        fitcompress(model, keras.losses.MeanSquaredError(), [(x, y)], config({"ebops": 50}, max_states=3))


def test_bad_material_is_refused_before_the_search():
    model, (x, y) = two_layers(), data(4)
    loss, goal = keras.losses.MeanSquaredError(), config({"ebops": 50})
    with pytest.raises(DataError, match="needs at least one batch of calibration data, and got none"):
        fitcompress(model, loss, [], goal)
    with pytest.raises(ShapeError, match=r"nothing to compress in .*only=\['\*'\] takes and skip=\['\*'\] leaves"):
        fitcompress(model, loss, [(x, y)], config({"ebops": 50}, skip=["*"]))
    with pytest.raises(DataError, match=r"one number for the whole batch.*keras\.losses\.Loss"):
        fitcompress(model, lambda y, outputs: keras.ops.mean((y - outputs) ** 2), [(x, y)], goal)
    with pytest.raises(DataError, match=r"calibration batch 1 is nan; check that loss"):
        fitcompress(model, loss, [(x, y), (x, y * np.nan)], goal)
    with pytest.raises(DataError, match=r"layer 'a' reads values from nan to nan on the calibration data"):
        fitcompress(model, loss, [(x, y), (x * np.nan, y)], goal)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"goal": {}}, "needs exactly one of ebops, bops_ratio and bytes; got none"),
        ({"goal": {"ebops": 9, "bytes": 9}}, "needs exactly one of .*; got ebops and bytes"),
        ({"goal": {"ebops": 0}}, "greater than 0"),
        ({"goal": {"bops_ratio": 1.5}}, "less than 1"),
        ({"goal": {"ebops": 9}, "weight_bits": [4, 8]}, r"weight_bits: must fall from one to the next; got \[4, 8\]"),
        ({"goal": {"ebops": 9}, "activation_bits": [4, 4]}, r"activation_bits: must fall"),
        ({"goal": {"ebops": 9}, "weight_bits": [4, 1]}, "greater than or equal to 2"),
        ({"goal": {"ebops": 9}, "max_sparsity": 1.0}, "less than 1"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(section, message):
    with pytest.raises(ValueError, match=message):
        FitCompressConfig.model_validate(section)


def test_sparsities_leave_the_same_share_in_each_step():
    section = FitCompressConfig(goal=Goal(ebops=9), max_sparsity=0.875, sparsity_steps=3)
    assert section.sparsities == pytest.approx([0, 0.5, 0.75, 0.875])
    assert FitCompressConfig(goal=Goal(ebops=9), max_sparsity=0.0).sparsities == [0.0]


def test_weights_stay_within_a_limit_while_they_are_told_to():
    model, (x, y) = two_layers(), data(8)
    model.layers[1].kernel.constraint = keras.constraints.NonNeg()
    model.compile(keras.optimizers.SGD(0.0), "mse")
    with weights_within(model, 0.25):
        model.fit(x, y, verbose=0)
    kernels = [numpy(layer.kernel) for layer in model.layers]
    assert [kernel.max() for kernel in kernels] == [0.25, 0.25]
    assert (kernels[0].min(), kernels[1].min()) == (-0.25, 0.0)
    assert np.abs(numpy(model.layers[0].bias)).max() > 0.25
    assert model.layers[0].kernel.constraint is None
    assert isinstance(model.layers[1].kernel.constraint, keras.constraints.NonNeg)

"""Learned widths against NumPy: a weight's value, its gradients, its price, and how its last bit goes.

The formulas are those of arXiv:2405.00645, for weights that saturate: x with b bits beside its sign, i of them before
the binary point and f = b - i behind it, is brought to at most 2^i - 2^-f and rounded to 2^-f. By f the gradient is
ln 2 times what rounding took away; a weight at the end of its range moves that end instead. Without bits a weight is 0,
costs nothing, and may come back.
"""

from __future__ import annotations

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from keras import ops

from tests.gradients import gradient
from weft.config.numbers import HgqNumbers
from weft.quantize import quantizers

pytestmark = pytest.mark.backends

GAMMA = 1e-3
SHAPE = (2, 3)
weights = arrays(np.float32, SHAPE, elements=st.integers(-(2**12), 2**12).map(lambda n: n / 2**10))
widths = arrays(np.float32, SHAPE, elements=st.integers(0, 24).map(lambda n: n / 4))  # between whole bits, too


def number(tensor) -> np.ndarray:
    return np.array(ops.convert_to_numpy(tensor.detach() if hasattr(tensor, "detach") else tensor), np.float64)


def quantizer():
    """Return the quantiser of a kernel with a width for each weight."""
    made = quantizers.weight(HgqNumbers(bits0=4, gamma=GAMMA)).get_quantizer()
    made.build(SHAPE)
    return made


def reference(x: float, b: int, i: int) -> tuple[float, float, float, float]:
    """Return a weight's value, and its gradient by the weight, by b and by i."""
    f, ln2 = b - i, np.log(2)
    end = 2.0**i - 2.0**-f
    if abs(x) > end:
        return np.sign(x) * end, 0.0, np.sign(x) * ln2 * 2.0**-f, np.sign(x) * ln2 * end
    value = np.floor(x * 2.0**f + 0.5) * 2.0**-f
    return value, 1.0, ln2 * (x - value), -ln2 * (x - value)


def width(b: float) -> int:
    """Round a learned width to whole bits, halves to even."""
    return int(np.round(b))


@settings(max_examples=30)
@given(weights, widths, arrays(np.float32, SHAPE, elements=st.sampled_from([-1.0, 0.0, 0.25, 1.0, 2.0])))
def test_value_and_gradients_are_those_of_the_paper(w, b, i):
    q = quantizer()
    upstream = np.arange(1.0, 7.0, dtype=np.float32).reshape(SHAPE)

    def value(x, bits, before):
        with keras.StatelessScope(state_mapping=[(q._b, bits), (q._i, before)]):
            return q(x, training=True)

    each = zip(w.flat, b.flat, i.flat, strict=True)
    found = np.array([reference(float(x), width(bits), width(before)) for x, bits, before in each])
    expected, *slopes = found.T.reshape(4, *SHAPE)
    tensors = (ops.convert_to_tensor(one) for one in (w, b, i))
    np.testing.assert_array_equal(number(value(*tensors)), expected)
    assert (expected[np.round(b) == 0] == 0).all()
    for slope, gradient_found in zip(
        slopes, gradient(lambda *at: ops.sum(value(*at) * ops.convert_to_tensor(upstream)), w, b, i), strict=True
    ):
        np.testing.assert_allclose(gradient_found, upstream * slope, rtol=1e-5, atol=1e-6)


@settings(max_examples=20)
@given(weights, widths)
def test_a_weight_costs_its_bits_and_nothing_without_them(w, b):
    q = quantizer()
    q._b.assign(b)
    q(ops.convert_to_tensor(w), training=True)
    np.testing.assert_array_equal(number(q.bits), np.round(b))
    penalty = number(q._b.regularizer(q._b.value))
    assert penalty == pytest.approx(GAMMA * b.sum(), rel=1e-5)


def test_a_price_takes_bits_away_until_none_is_left_and_a_gradient_brings_one_back():
    q = quantizer()
    w = np.full(SHAPE, 0.3, np.float32)

    def step(price: float, pull: float) -> None:
        def loss(bits):
            with keras.StatelessScope(state_mapping=[(q._b, bits)]):
                return price * ops.sum(bits) - pull * ops.sum(q(ops.convert_to_tensor(w), training=True))

        (by_bits,) = gradient(loss, number(q._b).astype(np.float32))
        q._b.assign(q._b.constraint(ops.convert_to_tensor(number(q._b).astype(np.float32) - by_bits)))

    for _ in range(60):
        step(price=0.1, pull=0.0)
    assert (number(q._b) == 0).all() and (number(q(ops.convert_to_tensor(w))) == 0).all()
    for _ in range(10):
        step(price=0.0, pull=0.1)
    assert (np.round(number(q._b)) >= 1).all()

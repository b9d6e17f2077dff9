"""EBOPs: every product of two numbers, counted one by one, and the relation to HGQ2's own count."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.firmware.models import mlp, randomised, samples
from weft.cost import CostInput, dense_ebops, ebops_hgq, find, significant_bits

dyadic = st.builds(lambda code, exponent: code * 2.0**exponent, st.integers(-(2**20), 2**20), st.integers(-40, 40))


def bits_by_hand(weight: float) -> int:
    """Count the bits between the highest and the lowest one of an integer that is the weight times a power of two."""
    fraction = Fraction(weight)
    code = abs(fraction.numerator)
    while code and code % 2 == 0:
        code //= 2
    return code.bit_length()


@given(dyadic)
def test_significant_bits_are_those_between_the_highest_and_the_lowest_one(weight):
    assert significant_bits(weight).item() == bits_by_hand(weight)


@given(arrays(np.int64, (3,), elements=st.integers(0, 12)), arrays(np.int64, (2, 3), elements=st.integers(-40, 40)))
def test_a_layers_ebops_are_the_sum_over_its_products(input_bits, codes):
    by_hand = sum(int(input_bits[j]) * bits_by_hand(codes[i, j] / 8) for i in range(2) for j in range(3))
    assert dense_ebops(input_bits, significant_bits(codes / 8)) == by_hand


def test_a_models_ebops_are_counted_product_by_product():
    model = randomised(mlp(4, (5, 3)))
    layers = model.layers[1:]
    layers[0]._kernel.assign(np.where(np.eye(4, 5) > 0, 0.0, np.array(layers[0]._kernel.value)))
    by_hand = 0
    for layer in layers:
        kernel = np.array(layer.qkernel)
        _, i, f = (np.array(v).ravel() for v in layer.iq.quantizer.kif)
        for j in range(kernel.shape[0]):
            by_hand += sum(max(int(i[j] + f[j]), 0) * bits_by_hand(float(w)) for w in kernel[j])
    quantity = find("ebops").estimate([CostInput(model)], None)[0]["ebops"]
    assert (quantity.value, quantity.unit, quantity.stage) == (by_hand, "bit operations", "predicted")


def test_hgq2_counts_declared_widths_and_biases():
    from hgq.utils import trace_minmax

    model = randomised(mlp(2, (2, 2)))
    stored = trace_minmax(model, samples(256, 2), batch_size=256)
    assert ebops_hgq(model) == stored > find("ebops").estimate([CostInput(model)], None)[0]["ebops"].value
    for layer in model.layers[1:]:
        layer.bq.quantizer._b.assign(np.zeros(layer.bq.quantizer._b.shape))
        width = 2 ** np.array(layer.kq.quantizer.b) - 1  # the largest code, an odd number: no bit of it can be left out
        layer._kernel.assign(width * 2.0 ** -np.array(layer.kq.quantizer.f))
    assert ebops_hgq(model) == find("ebops").estimate([CostInput(model)], None)[0]["ebops"].value

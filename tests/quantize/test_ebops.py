"""EBOPs in the loss: every multiplication counted by hand, with masks, and equal to HGQ2's own on equal layers."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import hgq.layers
import numpy as np
import pytest
from hgq.quantizer import QuantizerConfig
from hgq.regularizers import MonoL1
from keras import ops

from weft.config.numbers import FixedNumbers, HgqNumbers, QuantizerSettings
from weft.prune import method_of
from weft.quantize import quantizers
from weft.quantize.pruned import PrunedConfig

pytestmark = pytest.mark.backends

NUMBERS = HgqNumbers(bits0=5, beta=1e-3, gamma=1e-3)


def number(value):
    return np.array(ops.convert_to_numpy(value), dtype=np.float64)


Product = tuple[tuple[int, ...], tuple[int, ...]]


def dense_products(shape, kernel) -> Iterator[Product]:
    """Yield the indices of input and weight of every multiplication of a dense layer on the last axis."""
    for where in product(*map(range, shape[:-1])):
        for i, o in product(*map(range, kernel)):
            yield (*where, i), (i, o)


def conv_products(shape, kernel, layer) -> Iterator[Product]:
    """Yield the indices of input and weight of every multiplication of a convolution; padding multiplies nothing."""
    sizes, taps, n_in = shape[:-1], kernel[:-2], kernel[-2]
    filters = kernel[-1] // layer.groups
    starts, counts = [], []
    for size, tap, stride, dilation in zip(sizes, taps, layer.strides, layer.dilation_rate, strict=True):
        reach = dilation * (tap - 1) + 1
        if layer.padding == "same":
            count = -(-size // stride)
            starts.append(max((count - 1) * stride + reach - size, 0) // 2)
        else:
            count = (size - reach) // stride + 1
            starts.append(0)
        counts.append(count)
    for where in product(*map(range, counts)):
        for tap in product(*map(range, taps)):
            steps = zip(where, tap, layer.strides, layer.dilation_rate, starts, strict=True)
            at = [w * s + t * d - pad for w, t, s, d, pad in steps]
            if all(0 <= a < size for a, size in zip(at, sizes, strict=True)):
                for i, o in product(range(n_in), range(kernel[-1])):
                    yield (*at, (o // filters) * n_in + i), (*tap, i, o)


def einsum_products(shape, kernel) -> Iterator[Product]:
    """The same for the equation abc,cdb->adb, whose weights differ along b: an axis of input and output."""
    for a, b, c in product(*map(range, shape)):
        for d in range(kernel[1]):
            yield (a, b, c), (c, d, b)


CASES = {
    "dense": ((5,), lambda **q: hgq.layers.QDense(4, **q)),
    "positions": ((3, 5), lambda **q: hgq.layers.QDense(4, **q)),
    "einsum": ((3, 4, 5), lambda **q: hgq.layers.QEinsumDense("nabc,cdb->nadb", (3, 2, 4), bias_axes="d", **q)),
    "batchnorm": ((5,), lambda **q: hgq.layers.QEinsumDenseBatchnorm("...a,ab->...b", 4, bias_axes="b", **q)),
    "conv1d dilated": ((9, 2), lambda **q: hgq.layers.QConv1D(3, 3, dilation_rate=2, **q)),
    "conv2d strides": ((6, 5, 2), lambda **q: hgq.layers.QConv2D(3, (3, 2), strides=2, padding="same", **q)),
    "conv2d groups": ((4, 4, 4), lambda **q: hgq.layers.QConv2D(6, 2, groups=2, **q)),
    "conv3d": ((3, 3, 4, 2), lambda **q: hgq.layers.QConv3D(2, 2, **q)),
}


def products(layer, shape, kernel):
    if isinstance(layer, hgq.layers.QEinsumDense) and "cdb" in layer.equation:
        return einsum_products(shape, kernel)
    if hasattr(layer, "strides"):
        return conv_products(shape, kernel, layer)
    return dense_products(shape, kernel)


def built(make, shape, *, pruned=True):
    """Return a layer with random widths, whose kernel a method may prune."""
    rng = np.random.default_rng(len(shape))
    kernel = quantizers.weight(NUMBERS)
    layer = make(
        kq_conf=PrunedConfig(kernel, method_of("magnitude")()) if pruned else kernel,
        bq_conf=quantizers.bias(NUMBERS),
        iq_conf=quantizers.activation(NUMBERS),
        beta0=NUMBERS.beta,
    )
    layer.build((None, *shape))
    for variable, low, high in (
        (weight_bits(layer), 0, 7),
        (layer.bq.quantizer._b, 0, 7),
        (layer.iq.quantizer._f, -4, 6),
    ):
        variable.assign(rng.integers(low, high, variable.shape))
    return layer


def weight_bits(layer):
    return getattr(layer.kq.quantizer, "inside", layer.kq.quantizer)._b


def by_hand(layer, shape):
    """Count input bits times weight bits over every multiplication."""
    _, i, f = (np.broadcast_to(number(one)[0], shape) for one in layer.iq.quantizer.kif)
    inputs, weights = np.maximum(i + f, 0), number(weight_bits(layer)) * number(layer.kq.quantizer.mask)
    return sum(inputs[x] * weights[w] for x, w in products(layer, shape, tuple(layer.kernel.shape)))


def of_bias(layer, shape):
    """HGQ2 adds the width of a bias once for every output; in convolutions, for every position of the *input*."""
    bits = number(layer.bq.quantizer._b).mean()
    if hasattr(layer, "strides"):
        return bits * np.prod(shape[:-1]) * layer.filters
    return bits * np.prod(layer.compute_output_shape((1, *shape)))


@pytest.mark.parametrize("name", CASES)
def test_ebops_are_input_bits_times_weight_bits_over_every_multiplication(name):
    shape, make = CASES[name]
    layer = built(make, shape)
    for mask in (1.0, np.random.default_rng(9).integers(0, 2, layer.kernel.shape)):
        layer.kq.quantizer.mask.assign(np.broadcast_to(mask, layer.kernel.shape))
        found = float(number(layer._compute_ebops((1, *shape))))
        assert found == pytest.approx(by_hand(layer, shape) + of_bias(layer, shape), rel=1e-6)


@pytest.mark.parametrize("name", ["positions", "batchnorm", "conv2d groups"])
def test_a_layer_costs_what_hgq2_says_of_the_same_layer(name):
    shape, make = CASES[name]
    price = MonoL1(NUMBERS.gamma)
    mine = built(make, shape, pruned=False)
    theirs = make(
        kq_conf=QuantizerConfig("kbi", "weight", b0=5, br=price),
        bq_conf=QuantizerConfig("kbi", "bias", b0=5, br=price),
        iq_conf=QuantizerConfig("kif", "datalane", i0=2, f0=3, ir=price, fr=price),
        beta0=1e-3,
    )
    theirs.build((None, *shape))
    for one, two in zip(mine.variables, theirs.variables, strict=True):
        two.assign(one)
    x = np.random.default_rng(0).normal(0, 2, (2, *shape)).astype("f")
    outputs = [number(layer(x, training=True)) for layer in (mine, theirs)]
    np.testing.assert_array_equal(*outputs)
    assert int(number(mine.ebops)) == int(number(theirs.ebops)) > 0
    assert [float(number(one)) for one in mine.losses] == [float(number(one)) for one in theirs.losses]


def test_the_loss_holds_the_price_of_what_is_left_once():
    shape, make = CASES["dense"]
    layer = built(make, shape)
    layer.kq.quantizer.mask.assign(np.random.default_rng(9).integers(0, 2, layer.kernel.shape))
    x = np.random.default_rng(0).normal(0, 2, (2, *shape)).astype("f")
    layer(x, training=True)
    ebops = float(number(layer._compute_ebops((1, *shape))))
    prices = [float(number(one)) for one in layer.losses]
    assert sum(one == pytest.approx(NUMBERS.beta * ebops, rel=1e-5) for one in prices) == 1
    layer.kq.quantizer.mask.assign(np.zeros(layer.kernel.shape))
    left = float(number(layer._compute_ebops((1, *shape))))
    assert left == pytest.approx(of_bias(layer, shape), rel=1e-6)


def test_a_removed_kernel_costs_nothing():
    layer = hgq.layers.QDense(
        4,
        kq_conf=quantizers.weight(FixedNumbers(), QuantizerSettings(bits=0)),
        iq_conf=quantizers.activation(FixedNumbers()),
        use_bias=False,
        beta0=0.0,
    )
    layer.build((None, 3))
    assert float(number(layer._compute_ebops((1, 3)))) == 0


def test_the_price_of_widths_counts_no_width_below_zero():
    layer = built(CASES["dense"][1], (5,))
    for variable in (weight_bits(layer), layer.bq.quantizer._b):
        variable.assign(variable.constraint(np.full(variable.shape, -3.0, "f")))
        assert float(number(variable.regularizer(variable))) == 0

"""The products of every layer type: counted one by one in plain loops, and against HGQ2's own count by declared widths.

The loops take widths from HGQ2's quantisers and kernels from its layers; what they know is which product there is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product

import hgq.layers as H
import keras
import numpy as np
import pytest
from hgq.config import QuantizerConfigScope
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from keras import ops

from tests.cost.test_ebops import bits_by_hand
from tests.quantize.networks import randomized, rows, sequences, vision, volumes
from weft.config.numbers import FixedNumbers, HgqNumbers
from weft.cost import CostInput, find
from weft.cost.products import objection, products
from weft.errors import UnsupportedError
from weft.quantize.calibrate import calibrate
from weft.quantize.contraction import Axis, Convolution, Einsum
from weft.quantize.convert import convert
from weft.quantize.dead import remove_dead
from weft.quantize.depthwise import QDepthwiseConv2D
from weft.quantize.kernels import kernels
from weft.quantize.normalized import QConv1DBatchnorm


@pytest.fixture(autouse=True, scope="module")
def _first_values_without_a_compiler():
    """Make the first values of variables with NumPy: JAX compiles a program for each shape of each of them."""
    with pytest.MonkeyPatch.context() as patch:
        for kind, value in (
            (keras.initializers.Constant, lambda self: self.value),
            (keras.initializers.Zeros, lambda self: 0.0),
            (keras.initializers.Ones, lambda self: 1.0),
            (keras.initializers.GlorotUniform, lambda self: 0.1),
            (keras.initializers.Orthogonal, lambda self: 0.1),
        ):
            make = partial(_full, value)
            patch.setattr(kind, "__call__", lambda self, shape, dtype=None, make=make: make(self, shape, dtype))
        yield


def _full(value, self, shape, dtype) -> np.ndarray:
    return np.full(shape, value(self), dtype or "float32")


def number(tensor) -> np.ndarray:
    return np.array(ops.convert_to_numpy(tensor), dtype=np.float64)


def built(make, *shapes: tuple[int, ...], seed: int = 0, zeros: float = 0.4):
    """Return a model of one layer in which every value and weight has a width of its own, and many weights are 0."""
    rng = np.random.default_rng(seed)
    with (
        QuantizerConfigScope(place="all", default_q_type="kbi", overflow_mode="SAT_SYM", round_mode="RND"),
        QuantizerConfigScope(place="datalane", default_q_type="kif", heterogeneous_axis=None, homogeneous_axis=(0,)),
    ):
        inputs = [keras.Input(shape) for shape in shapes]
        layer = make()
        outputs = layer(inputs[0]) if len(inputs) == 1 else layer(inputs)
    model = keras.Model(inputs, outputs)
    for variable in model.variables:
        name = variable.path.rsplit("/", 1)[-1]
        if name == "f" or name == "b":
            variable.assign(rng.integers(0, 6, variable.shape))
        elif name == "i":
            variable.assign(rng.integers(0, 3, variable.shape))
        elif name in ("bias", "bn_gamma", "gamma"):
            variable.assign(rng.normal(0, 0.7, variable.shape) * (rng.random(variable.shape) > zeros))
    put_on_grid(model, rng, zeros)
    return model


def put_on_grid(model, rng, zeros: float) -> None:
    """Give kernels random numbers that their quantisers change nothing of."""
    for kernel in kernels(model):
        inside, shape = kernel.quantizer.quantizer, kernel.variable.shape
        b, i = (np.broadcast_to(number(one), shape) for one in (inside._b, inside._i))
        codes = np.round(rng.uniform(-1, 1, shape) * (2**b - 1)) * (rng.random(shape) > zeros)
        kernel.variable.assign(codes * 2.0 ** (i - b))


def bits_of(quantizer) -> tuple[np.ndarray, np.ndarray]:
    """Return the widths of a quantiser's groups as HGQ2 counts EBOPs, and with their signs."""
    inside = quantizer.quantizer
    k, i = number(inside._k), np.round(number(inside._i))
    b = np.round(number(inside._b)) if hasattr(inside, "_b") else np.maximum(i + np.round(number(inside._f)), 0)
    saturates = inside.overflow_mode == "SAT"
    return b + k * saturates, np.where(b + k * saturates > 0, b + k, 0)


def widths(quantizer, shape: tuple[int, ...]) -> np.ndarray:
    return np.broadcast_to(bits_of(quantizer)[0], (1, *shape))[0]


def declared(quantizer, shape: tuple[int, ...]) -> np.ndarray:
    return np.broadcast_to(bits_of(quantizer)[0], shape)


def weight_bits(kernel: np.ndarray, bits: np.ndarray) -> np.ndarray:
    """Return the bits of each weight, by hand."""
    return np.vectorize(lambda w, b: min(bits_by_hand(float(w)), b), otypes=[float])(kernel, bits)


def ebops(model) -> float:
    return find("ebops").estimate([CostInput(model)], None)[0]["ebops"].value


def bops(model) -> float:
    return find("bops").estimate([CostInput(model)], None)[0]["bops"].value


def by_declared_widths(model) -> float:
    return sum(one.declared for one in products(model))


def of_einsum(equation: str, *shapes: tuple[int, ...]) -> Iterator[tuple[tuple[int, ...], ...]]:
    """Yield the indices of every product of an equation without dots and batch; its result's come last."""
    inputs, result = equation.split("->")
    labels = [*inputs.split(","), result]
    sizes = {one: n for names, shape in zip(labels, shapes, strict=False) for one, n in zip(names, shape, strict=True)}
    for values in product(*(range(n) for n in sizes.values())):
        at = dict(zip(sizes, values, strict=True))
        yield tuple(tuple(at[one] for one in names) for names in labels)


def of_convolution(shape, kernel, layer) -> Iterator[tuple[tuple[int, ...], ...]]:
    """Yield the indices of input, weight and result of every product; channels come last, and padding is none."""
    n_space = len(kernel) - 2
    counts, befores = [], []
    for size, tap, stride, dilation in zip(shape, kernel, layer.strides, layer.dilation_rate, strict=False):
        reach = dilation * (tap - 1) + 1
        if layer.padding == "valid":
            counts.append((size - reach) // stride + 1)
            befores.append(0)
        else:
            counts.append(math.ceil(size / stride))
            befores.append(max((counts[-1] - 1) * stride + reach - size, 0) // 2)
    per_group = kernel[-1] // layer.groups
    for window in product(*map(range, counts)):
        for tap in product(*map(range, kernel[:n_space])):
            at = [
                w * s + t * d - b
                for w, s, t, d, b in zip(window, layer.strides, tap, layer.dilation_rate, befores, strict=True)
            ]
            if all(0 <= place < size for place, size in zip(at, shape, strict=False)):
                for i, o in product(range(kernel[-2]), range(kernel[-1])):
                    yield (*at, (o // per_group) * kernel[-2] + i), (*tap, i, o), (*window, o)


@dataclass
class Like:
    """What a convolution says about itself."""

    strides: tuple[int, ...]
    dilation_rate: tuple[int, ...]
    padding: str
    groups: int


@settings(max_examples=80)
@given(
    sizes=st.lists(st.integers(1, 6), min_size=1, max_size=3),
    taps=st.lists(st.integers(1, 3), min_size=3, max_size=3),
    strides=st.lists(st.integers(1, 3), min_size=3, max_size=3),
    dilations=st.lists(st.integers(1, 2), min_size=3, max_size=3),
    padding=st.sampled_from(["valid", "same"]),
    groups=st.integers(1, 3),
    channels_first=st.booleans(),
    seed=st.integers(0, 999),
)
def test_a_convolution_has_the_products_that_loops_find(
    sizes, taps, strides, dilations, padding, groups, channels_first, seed
):
    n = len(sizes)
    taps, strides, dilations = taps[:n], strides[:n], dilations[:n]
    assume(padding == "same" or all(s > d * (t - 1) for s, d, t in zip(sizes, dilations, taps, strict=True)))
    rng = np.random.default_rng(seed)
    kernel, shape = (*taps, 2, 2 * groups), (*sizes, 2 * groups)
    axes = tuple(Axis(*one, padding) for one in zip(sizes, taps, strides, dilations, strict=True))
    form = Convolution(axes, 2 * groups, 2 * groups, groups, channels_first)
    x, y = rng.integers(0, 9, shape), rng.integers(0, 2, (*(axis.n_out for axis in axes), 2 * groups))
    by_hand = np.zeros(kernel)
    for at, w, out in of_convolution(shape, kernel, Like(strides, dilations, padding, groups)):
        by_hand[w] += x[at] * y[out]
    if channels_first:
        x, y = np.moveaxis(x, -1, 0), np.moveaxis(y, -1, 0)
    assert form.result_shape == y.shape
    np.testing.assert_array_equal(form.weigh(x, y), by_hand)
    assert form.fan_in == np.prod(kernel[:-1]) and form.positions * form.outputs == y.size


@settings(max_examples=60)
@given(
    equation=st.sampled_from(
        ["nab,bc->nac", "nabc,cdb->nadb", "nabc,cd->nad", "...a,ab->...b", "na,ab->nb", "nab,ab->na"]
    ),
    sizes=st.lists(st.integers(1, 4), min_size=4, max_size=4),
    seed=st.integers(0, 999),
)
def test_an_einsum_has_the_products_that_loops_find(equation, sizes, seed):
    of = dict(zip("abcd", sizes, strict=True))
    plain = equation.replace("...", "nxy")
    one, two, out = (names.replace("n", "") for names in plain.replace("->", ",").split(","))
    of |= {"x": 2, "y": 3}
    shapes = [tuple(of[label] for label in names) for names in (one, two, out)]
    form = Einsum.of(equation, (None, *shapes[0]), shapes[1])
    rng = np.random.default_rng(seed)
    x, w, y = (rng.integers(0, 9, shape) for shape in shapes)
    found = {name: np.zeros(shape) for name, shape in zip(("first", "second", "result"), shapes, strict=True)}
    for at, weight, where in of_einsum(f"{one},{two}->{out}", *shapes):
        found["first"][at] += w[weight] * y[where]
        found["second"][weight] += x[at] * y[where]
        found["result"][where] += x[at] * w[weight]
    np.testing.assert_array_equal(form.back(w, y), found["first"])
    np.testing.assert_array_equal(form.weigh(x, y), found["second"])
    np.testing.assert_array_equal(form.forward(x, w), found["result"])
    assert form.result_shape == shapes[2] and form.positions * w.size == form.fan_in * y.size == len(
        list(of_einsum(f"{one},{two}->{out}", *shapes))
    )


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda: H.QConv3D(2, (1, 2, 2), strides=(1, 2, 1), padding="same", use_bias=False), (2, 3, 3, 2)),
        (lambda: QDepthwiseConv2D(2, depth_multiplier=2, padding="same", use_bias=False), (3, 3, 2)),
        (lambda: QConv1DBatchnorm(3, 2), (4, 2)),
        (lambda: H.QConv2D(4, 2, groups=2, strides=2, padding="same", use_bias=False), (3, 3, 4)),
    ],
    ids=["3d", "depthwise", "batchnorm", "groups"],
)
def test_convolutions_cost_their_products(make, shape):
    check_convolution(built(make, shape))


def check_convolution(model) -> None:
    layer, shape = model.layers[1], model.inputs[0].shape[1:]
    kernel = number(layer.qkernel)
    of_input, of_weight = widths(layer.iq, shape), declared(layer.kq, kernel.shape)
    found = list(of_convolution(shape, kernel.shape, layer))
    bits = weight_bits(kernel, of_weight)
    assert ebops(model) == sum(of_input[x] * bits[w] for x, w, _ in found)
    assert by_declared_widths(model) == sum(of_input[x] * of_weight[w] for x, w, _ in found)
    hgq2 = float(number(layer._compute_ebops((1, *shape))))
    added = 0.0 if layer.bq is None else declared(layer.bq, layer.bias.shape).mean() * np.prod(shape[:-1]) * 3
    assert by_declared_widths(model) == pytest.approx(hgq2 - added)
    used = np.zeros(kernel.shape, bool)
    for x, w, _ in found:  # a weight that reads nothing with bits is as good as zero
        used[w] |= kernel[w] != 0 and of_input[x] > 0
    b_w, b_a = (
        np.broadcast_to(bits_of(q)[1], s).mean() for q, s in ((layer.kq, kernel.shape), (layer.iq, (1, *shape)))
    )
    fan_in = np.prod(kernel.shape[:-1])
    assert bops(model) == pytest.approx(len(found) * (used.mean() * b_w * b_a + b_w + b_a + math.log2(fan_in)))


EINSUMS = {
    "dense": ("ab,bc->ac", (1, 4), lambda: H.QDense(3, use_bias=False)),
    "positions": ("abc,cd->abd", (2, 3, 4), lambda: H.QDense(3, use_bias=False)),
    "einsum": ("abc,cdb->adb", (3, 4, 5), lambda: H.QEinsumDense("nabc,cdb->nadb", (3, 2, 4))),
    "sum": ("abc,cd->ad", (2, 3, 2), lambda: H.QEinsumDense("nabc,cd->nad", (2, 3))),
    "normalised": ("ab,bc->ac", (1, 4), lambda: H.QEinsumDenseBatchnorm("...a,ab->...b", 3, bias_axes="b")),
    "normalised einsum": (
        "ab,bcd->acd",
        (2, 3),
        lambda: H.QEinsumDenseBatchnorm("nab,bcd->nacd", (2, 2, 3), bias_axes="cd"),
    ),
}


@pytest.mark.parametrize("name", EINSUMS)
def test_einsums_have_the_products_that_loops_find(name):
    equation, shape, make = EINSUMS[name]
    if name == "einsum":
        shape = (3, 4, 5)
    model = built(make, shape if name not in ("dense", "normalised") else shape[1:])
    layer = model.layers[1]
    its = model.inputs[0].shape[1:]
    kernel = number(layer.qkernel)
    of_input = widths(layer.iq, its).reshape(shape)
    of_weight = declared(layer.kq, kernel.shape)
    found = list(of_einsum(equation, shape, kernel.shape))
    bits = weight_bits(kernel, of_weight)
    assert ebops(model) == sum(of_input[x] * bits[w] for x, w, _ in found) > 0
    assert by_declared_widths(model) == sum(of_input[x] * of_weight[w] for x, w, _ in found)
    hgq2 = float(number(layer._compute_ebops((1, *its))))
    added = 0.0
    if layer.bq is not None:
        added = declared(layer.bq, layer.bias.shape).mean() * np.prod(layer.compute_output_shape((1, *its)))
    assert by_declared_widths(model) == pytest.approx(hgq2 - added)


def test_a_normalisation_scales_every_value():
    model = built(lambda: H.QBatchNormalization(axis=1), (3, 4))
    layer = model.layers[1]
    layer.moving_mean.assign(np.zeros(3))
    scale = number(layer.qscaler_and_qoffset[0])
    of_input, of_scale = widths(layer.iq, (3, 4)), declared(layer.kq, (3,))
    bits = weight_bits(scale, of_scale)
    assert ebops(model) == sum(of_input[c, j] * bits[c] for c in range(3) for j in range(4)) > 0
    added = declared(layer.bq, (3,)).mean() * 12
    assert by_declared_widths(model) == pytest.approx(float(number(layer._compute_ebops((1, 3, 4)))) - added)


@pytest.mark.parametrize(
    ("make", "shapes", "equation"),
    [
        (lambda: H.QMultiply(), [(2, 3), (2, 3)], "ab,ab->ab"),
        (lambda: H.QDot(axes=1), [(3,), (3,)], "a,a->"),
        (lambda: H.QEinsum("nab,ncb->nac"), [(2, 3), (4, 3)], "ab,cb->ac"),
        (lambda: H.QEinsum("nab,ncd->nac"), [(2, 3), (2, 2)], "ab,cd->ac"),
    ],
    ids=["multiply", "dot", "einsum", "einsum of sums"],
)
def test_products_of_two_tensors(make, shapes, equation):
    model = built(make, *shapes)
    layer = model.layers[-1]
    one, two = (widths(q, shape) for q, shape in zip(layer.iq, shapes, strict=True))
    by_hand = sum(one[x] * two[y] for x, y, _ in of_einsum(equation, *shapes))
    assert ebops(model) == by_declared_widths(model) == by_hand > 0
    assert by_hand == float(number(layer._compute_ebops(*((1, *shape) for shape in shapes))))


def test_three_tensors_are_multiplied_one_after_the_other():
    shapes = [(2, 3), (1, 3), (2, 1)]
    model = built(lambda: H.QMultiply(), *shapes)
    one, two, three = (widths(q, s) for q, s in zip(model.layers[-1].iq, shapes, strict=True))
    by_hand = sum(one[i, j] * two[0, j] + (one[i, j] + two[0, j]) * three[i, 0] for i in range(2) for j in range(3))
    assert ebops(model) == by_hand > 0


def test_a_softmax_multiplies_exponentials_with_the_inverse_of_their_sum():
    model = built(lambda: H.QSoftmax(axis=-1, allow_heterogeneous_table=True), (2, 3))
    for table in (model.layers[1].exp_table, model.layers[1].inv_table):
        width = getattr(table.oq.quantizer, "_b", None)
        width = table.oq.quantizer._f if width is None else width
        width.assign(np.full(width.shape, 5.0))
    layer = model.layers[1]
    exp, inverse = widths(layer.exp_table.oq, (2, 3)), widths(layer.inv_table.oq, (2, 1))
    assert ebops(model) == sum(exp[i, j] * inverse[i, 0] for i in range(2) for j in range(3)) > 0


def attention(kind, **more):
    """Return a model in which 3 queries of 4 values attend to 5 keys, and its layer."""
    x, y = keras.Input((3, 4)), keras.Input((5, 4))
    with (
        QuantizerConfigScope(place="all", default_q_type="kbi", overflow_mode="SAT_SYM", round_mode="RND"),
        QuantizerConfigScope(place="datalane", default_q_type="kif", heterogeneous_axis=None, homogeneous_axis=(0,)),
    ):
        layer = kind(num_heads=2, key_dim=3, value_dim=2, name="attention", **more)
        out = layer(x, y)
    model = keras.Model([x, y], out)
    rng = np.random.default_rng(1)
    for variable in model.variables:
        name = variable.path.rsplit("/", 1)[-1]
        if name in ("f", "b") or name == "i":
            variable.assign(rng.integers(1, 5, variable.shape))
        elif name == "bias":
            variable.assign(rng.normal(0, 0.7, variable.shape) * (rng.random(variable.shape) > 0.3))
    put_on_grid(model, rng, 0.3)
    return model, layer


def dense_inside(layer, shape, equation) -> tuple[float, float]:
    """Return EBOPs of a projection of an attention layer by hand, of significant bits and of declared ones."""
    kernel, of_input = number(layer.kernel), widths(layer.iq, shape)
    of_weight = declared(layer.kq, kernel.shape)
    bits = weight_bits(kernel, of_weight)
    found = list(of_einsum(equation, shape, kernel.shape))
    return sum(of_input[x] * bits[w] for x, w, _ in found), sum(of_input[x] * of_weight[w] for x, w, _ in found)


@pytest.mark.parametrize("kind", [H.QMultiHeadAttention, H.QLinformerAttention])
def test_attention_multiplies_weights_queries_with_keys_and_scores_with_values(kind):
    short = kind is H.QLinformerAttention
    n = 2 if short else 5
    model, layer = attention(kind, **({"lin_kv_proj_dim": 2} if short else {}))
    inside = [
        (layer._query_dense, (3, 4), "ta,ahk->thk"),
        (layer._key_dense, (n, 4), "ta,ahk->thk"),
        (layer._value_dense, (n, 4), "ta,ahk->thk"),
        (layer._output_dense, (3, 2, 2), "thk,hka->ta"),
        *((one, (5, 4), "ta,ts->sa") for one in ((layer._lin_k_proj, layer._lin_v_proj) if short else ())),
    ]
    parts = [dense_inside(*one) for one in inside]
    q, k = widths(layer._query_dense.oq, (3, 2, 3)), widths(layer._key_dense.oq, (n, 2, 3))
    v, scores = widths(layer._value_dense.oq, (n, 2, 2)), widths(layer._softmax.oq, (2, 3, n))
    each = list(product(range(2), range(3), range(n)))
    pairs = sum(q[t, h, d] * k[s, h, d] for h, t, s in each for d in range(3))
    pairs += sum(scores[h, t, s] * v[s, h, d] for h, t, s in each for d in range(2))
    soft = layer._softmax
    exp, inverse = widths(soft.exp_table.oq, (2, 3, n)), widths(soft.inv_table.oq, (2, 3, 1))
    softmax = sum(exp[h, t, s] * inverse[h, t, 0] for h, t, s in each)
    assert by_declared_widths(model) == sum(two for _, two in parts) + pairs + softmax
    assert pairs == float(number(layer._compute_ebops((1, 3, 4), (1, 5, 4))))
    for kernel in kernels(model):  # without zeros all of it is alive
        kernel.variable.assign(put_any(kernel))
    parts = [dense_inside(*one) for one in inside]
    assert ebops(model) == sum(one for one, _ in parts) + pairs + softmax


def put_any(kernel) -> np.ndarray:
    """Give a kernel quantiser 4 bits, and return a kernel without zeros that it changes nothing of."""
    kernel.quantizer.quantizer._b.assign(np.full(kernel.quantizer.quantizer._b.shape, 4.0))
    kernel.quantizer.quantizer._i.assign(np.zeros(kernel.quantizer.quantizer._i.shape))
    return np.where(np.arange(kernel.variable.shape[-1]) % 2, 0.5625, -0.25) + np.zeros(kernel.variable.shape)


def test_a_head_whose_values_nobody_reads_computes_nothing():
    model, layer = attention(H.QMultiHeadAttention)
    for kernel in kernels(model):
        kernel.variable.assign(put_any(kernel))
    before = {one.name: one.ebops for one in products(model)}
    kernel = np.array(layer._output_dense.kernel)
    kernel[1] = 0
    layer._output_dense.kernel.assign(kernel)
    after = {one.name: one for one in products(model)}
    for name in ("query", "key", "value", "scores", "softmax", "weighted"):
        assert 0 < after[f"attention/{name}"].ebops < before[f"attention/{name}"]
    assert not after["attention/value"].read[:, 1].any() and after["attention/value"].read[:, 0].any()


@pytest.mark.parametrize("state_quantizer", [True, False])
def test_a_recurrent_layer_multiplies_in_each_step(state_quantizer):
    model = built(lambda: H.QSimpleRNN(3, enable_sq=state_quantizer), (4, 2))
    cell = model.layers[1].cell
    kernel, recurrent = number(cell.kernel), number(cell.recurrent_kernel)
    bits, again = weight_bits(kernel, declared(cell.kq, (2, 3))), weight_bits(recurrent, declared(cell.rkq, (3, 3)))
    data, state = widths(cell.iq, (2,)), widths(cell.sq if state_quantizer else cell.paq, (3,))
    by_hand = 0.0
    for step in range(4):
        by_hand += sum(data[i] * bits[i, o] for i in range(2) for o in range(3))
        if step > 0:  # the first state is 0
            by_hand += sum(state[i] * again[i, o] for i in range(3) for o in range(3))
    assert ebops(model) == by_hand > 0


@pytest.mark.parametrize("after", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_a_gated_layer_multiplies_its_gates_too(after, bias):
    model = built(lambda: H.QGRU(3, reset_after=after, use_bias=bias, parallelization_factor=-1), (3, 2))
    cell, u, steps = model.layers[1].cell, 3, 3
    if bias:
        cell.bias.assign(np.where(np.arange(9) % 2, 0.75, 0.0) * np.ones(cell.bias.shape))
        cell.bq.quantizer._b.assign(np.full(cell.bias.shape, 6.0))
        cell.bq.quantizer._i.assign(np.full(cell.bias.shape, 1.0))
    kernel, recurrent = number(cell.kernel), number(cell.recurrent_kernel)
    bits, again = weight_bits(kernel, declared(cell.kq, (2, 9))), weight_bits(recurrent, declared(cell.rkq, (3, 9)))
    data, state, hidden = widths(cell.iq, (2,)), widths(cell.sq, (u,)), widths(cell.rhq, (u,))
    candidate, gates = widths(cell.paq, (u,)), widths(cell.praq, (2 * u,))
    by_hand, hgq2 = 0.0, 0.0
    for step in range(steps):
        by_hand += sum(data[i] * bits[i, o] for i in range(2) for o in range(9))
        by_hand += sum(gates[i] * candidate[i] for i in range(u))  # (1 - z) times the candidate
        if step > 0:
            by_hand += sum(gates[i] * state[i] for i in range(u))  # z times the state
            by_hand += sum(state[i] * again[i, o] for i in range(u) for o in range(9 if after else 6))
        for i in range(u):
            if after:  # r times U h + b
                reached = step > 0 and recurrent[:, 6 + i].any()
                added = bias and number(cell.qbias)[1, 6 + i] != 0
                by_hand += gates[u + i] * hidden[i] * bool(reached or added)
            elif step > 0:  # U (r h)
                by_hand += gates[u + i] * state[i] + sum(hidden[i] * again[i, 6 + o] for o in range(u))
    assert ebops(model) == by_hand > 0
    hgq2 = float(number(model.layers[1]._compute_ebops((1, steps, 2))))
    if bias:
        added = number(cell.bq.bits_(cell.bias.shape))
        hgq2 -= steps * float(added.sum() if after else added[0].sum())
    if bias and not after:
        return  # HGQ2 counts the bias of the first unit only
    assert by_declared_widths(model) == pytest.approx(hgq2)


def small() -> keras.Model:
    """A convolution and two dense layers."""
    x = inputs = keras.Input((4, 2))
    x = keras.layers.Flatten()(keras.layers.Conv1D(4, 2, activation="relu")(x))
    return keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Dense(4, activation="relu")(x)))


def finalised(family, numbers, seed: int):
    """Return a quantised network with many zeros, dead neurons among them."""
    model = convert(randomized(family()), numbers)
    calibrate(model, rows(model, 20))
    rng = np.random.default_rng(seed)
    for one in model._flatten_layers():
        if isinstance(one, H.QDense | H.QEinsumDense | H.QConv1D | H.QConv2D | H.QConv3D):
            kernel = rng.normal(0, 0.5, one._kernel.shape)
            kernel *= rng.random(kernel.shape[-1]) < 0.6
            kernel *= rng.random((kernel.shape[-2], 1)) < 0.6
            one._kernel.assign(kernel)
            if one.bias is not None:
                one.bias.assign(rng.normal(0, 0.5, one.bias.shape) * (rng.random(one.bias.shape) < 0.3))
    return model


@pytest.mark.parametrize(
    ("family", "numbers"),
    [
        (small, HgqNumbers(bits0=5)),
        pytest.param(vision, FixedNumbers(total_bits=8), marks=pytest.mark.slow),
        pytest.param(sequences, HgqNumbers(bits0=5), marks=pytest.mark.slow),
        pytest.param(volumes, HgqNumbers(bits0=5), marks=pytest.mark.slow),
    ],
    ids=["small", "vision", "sequences", "volumes"],
)
def test_removing_what_is_dead_changes_no_count(family, numbers):
    model = finalised(family, numbers, 3)
    before = ebops(model), bops(model)
    plain = sum(float(np.sum(one.declared)) for one in products(model))
    assert remove_dead(model) > 0
    assert (ebops(model), bops(model)) == before
    assert 0 < before[0] < plain


def test_a_neuron_that_nobody_reads_and_one_that_is_always_zero_cost_nothing():
    model = convert(
        randomized(
            keras.Sequential([keras.Input((3,)), keras.layers.Dense(3, name="a"), keras.layers.Dense(2, name="b")])
        ),
        FixedNumbers(total_bits=8),
    )
    calibrate(model, rows(model, 50))
    first, second = model.layers
    one, two = (np.array(layer._kernel) for layer in (first, second))
    two[1], one[:, 2] = 0, 0  # neuron 1 has no reader, neuron 2 reads nothing
    second._kernel.assign(two)
    first._kernel.assign(one)
    first.bias.assign(np.array([0.5, 0.5, 0.0]))
    kept = products(model)
    assert kept[0].used.tolist() == [[True, False, False]] * 3 and kept[1].used.tolist() == [
        [True] * 2,
        [False] * 2,
        [False] * 2,
    ]
    counts = [one.ebops for one in kept]
    first.bias.assign(np.array([0.5, 0.5, 0.5]))  # now neuron 2 is a constant that is read
    assert [one.ebops > count for one, count in zip(products(model), counts, strict=True)] == [False, True]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda x: keras.layers.Dense(2, name="head")(x),
            r"layer 'head' is a Dense; products are counted in layers of H",
        ),
        (lambda x: keras.layers.Multiply(name="both")([x, x]), r"layer 'both' is a Multiply; products are counted in"),
        (lambda x: x * keras.layers.ReLU()(x), r"operation 'multiply.*' multiplies tensors that nothing has quantised"),
        (lambda x: H.QDenseT(2, name="tables")(x), r"layer 'tables' is a QDenseT, whose products weft does not know"),
        (
            lambda x: H.QDense(2, enable_iq=False, name="raw")(x),
            r"'raw' is a QDense that does not quantise what it rea",
        ),
    ],
)
def test_what_cannot_be_counted_is_refused_by_name(make, message):
    x = keras.Input((3,))
    model = keras.Model(x, make(x))
    for name in ("ebops", "bops", "parameters"):
        with pytest.raises(UnsupportedError, match=message):
            find(name).estimate([CostInput(model)], None)


def test_float_numbers_and_open_shapes_are_refused():
    from hgq.quantizer import QuantizerConfig

    x = keras.Input((3,))
    floats = H.QDense(2, kq_conf=QuantizerConfig("dummy", "weight"), name="loose")
    assert "with numbers of float32 (quantiser 'loose_kq')" in objection(keras.Model(x, floats(x)))
    x = keras.Input((None, 3))
    recurrent = H.QSimpleRNN(2, name="long", parallelization_factor=1)
    reason = objection(keras.Model(x, recurrent(x)))
    assert "layer 'long' is a QSimpleRNN that reads a tensor of shape (None, 3); hardware needs a fixed one" in reason

"""Single quantisers in both formats, against exact arithmetic; and read back from QONNX as what they were."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.quantize.reference import quantized
from weft.errors import UnsupportedError
from weft.onnx import qdq, qonnx
from weft.onnx.execute import execute
from weft.onnx.graph import Graph, attributes_of
from weft.onnx.number import Number, smallest
from weft.onnx.recognise import joined
from weft.onnx.values import Base, Value

SHAPE = (2, 3)
MODES = ("TRN", "TRN_ZERO", "RND", "RND_MIN_INF", "RND_ZERO", "RND_INF", "RND_CONV")
IN_ONNX = ("TRN", "RND", "RND_MIN_INF", "RND_CONV")
GRANULARITIES = {"tensor": (1, 1, 1), "channel": (1, 1, 3), "weight": (1, 2, 3)}


@st.composite
def numbers(draw, modes=MODES, overflows=("SAT", "SAT_SYM", "WRAP")):
    shape = GRANULARITIES[draw(st.sampled_from(sorted(GRANULARITIES)))]
    n = int(np.prod(shape))
    signs = draw(st.sampled_from([(0,), (1,), (0, 1)]))
    k = draw(st.lists(st.sampled_from(signs), min_size=n, max_size=n))
    i = draw(st.lists(st.integers(-4, 5), min_size=n, max_size=n))
    widths = draw(st.lists(st.integers(0, 7), min_size=n, max_size=n))
    parts = (np.array(k), np.array(i), np.array(widths) - np.array(i))
    return Number(*(part.reshape(shape).astype(float) for part in parts), draw(st.sampled_from(modes)),
                  draw(st.sampled_from(overflows)))  # fmt: skip


def written(number, dialect, wraps, opset):
    graph = Graph(opset)
    graph.name("x")
    made = dialect.quantize(graph, "x", number, "layer", wraps=wraps)
    out = graph.add("Identity", [made], "y")
    shape = (dialect.BATCH, *SHAPE)
    return dialect.completed(graph.model({"x": shape}, {out: shape}, {}, "one"))


def some_values(number):
    """Return ties, codes, ends and values beyond them for each element."""
    random = np.random.default_rng(0)
    step = np.broadcast_to(number.step, (1, *SHAPE))
    ends = [np.broadcast_to(one, (1, *SHAPE)) for one in (number.low, number.high)]
    near = [end + step * part for end in ends for part in (-2, -1, -0.75, -0.5, -0.25, 0, 0.25, 0.5, 0.75, 1, 2)]
    span = np.maximum(ends[1] - ends[0], step)
    ties = np.round(random.uniform(-2, 2, (60, *SHAPE)) * span / step * 2) / 2 * step
    return np.concatenate([*near, ties, random.normal(0, 2, (30, *SHAPE)) * span]).astype(np.float32)


def expected(number, x):
    parts = [np.broadcast_to(one, (1, *SHAPE)) for one in (number.k, number.i, number.f)]
    found = np.zeros(x.shape)
    for row, *place in itertools.product(*map(range, x.shape)):
        kif = (int(part[0, place[0], place[1]]) for part in parts)
        value = quantized(float(x[(row, *place)]), *kif, number.round_mode, number.overflow_mode)
        found[(row, *place)] = float(value)
    return found


@settings(max_examples=40)
@given(numbers(overflows=("SAT", "SAT_SYM")))
def test_a_saturating_quantiser_is_exact_in_qonnx_in_every_mode(number):
    x = some_values(number)
    [found] = execute(written(number, qonnx, False, 13), [x])
    np.testing.assert_array_equal(found, expected(number, x))


@settings(max_examples=25)
@given(numbers(IN_ONNX, ("WRAP",)))
def test_wrap_around_is_exact_in_qonnx(number):
    x = some_values(number)
    [found] = execute(written(number, qonnx, True, 13), [x])
    np.testing.assert_array_equal(found, expected(number, x))


@settings(max_examples=40)
@given(numbers(IN_ONNX), st.sampled_from(qdq.OPSETS))
def test_every_quantiser_is_exact_in_qdq(number, opset):
    x = some_values(number)
    [found] = execute(written(number, qdq, number.overflow_mode == "WRAP", opset), [x])
    np.testing.assert_array_equal(found, expected(number, x))


@settings(max_examples=40)
@given(numbers())
def test_what_qonnx_says_is_read_back_as_the_same_format(number):
    from weft.onnx.nodes import HANDLERS, Node

    wraps = number.overflow_mode == "WRAP" and number.round_mode in IN_ONNX
    if number.overflow_mode == "WRAP" and not wraps:
        number = Number(number.k, number.i, number.f, number.round_mode, "SAT")
    file = written(number, qonnx, wraps, 13)
    from onnx import numpy_helper

    known = {one.name: numpy_helper.to_array(one) for one in file.graph.initializer}
    known["x"] = Value(Base(lambda _: None), (0, 1, 2))
    for node in file.graph.node:
        read = [known[name] for name in node.input]
        known[node.output[0]] = HANDLERS[node.op_type](
            None, Node(node.name, node.op_type, read, attributes_of(node), (1, *SHAPE))
        )
    before, found = joined(known[file.graph.output[0].name].todo)
    assert before == ()
    for name in ("low", "high"):
        mine, other = (np.broadcast_to(getattr(one, name), (1, *SHAPE)) for one in (number, found))
        np.testing.assert_array_equal(mine, other)
    alive = np.broadcast_to(number.low < number.high, (1, *SHAPE))
    steps = [np.broadcast_to(one.step, (1, *SHAPE))[alive] for one in (number, found)]
    np.testing.assert_array_equal(*steps)
    unsigned = not number.k.any() and number.round_mode in ("RND_INF", "RND")
    assert found.round_mode == number.round_mode or unsigned or not alive.any()
    assert (found.overflow_mode == "WRAP") == wraps


@given(st.lists(st.integers(-(2**20), 2**20), min_size=1, max_size=6), st.integers(-10, 10))
def test_the_narrowest_format_holds_each_value_and_no_narrower_one_does(codes, shift):
    values = np.ldexp(np.array(codes, float), shift)
    number = smallest(values)
    for value, k, i, f in zip(values, number.k, number.i, number.f, strict=True):
        kif = int(k), int(i), int(f)
        assert float(quantized(value, *kif, "TRN", "WRAP")) == value
        for less in ((kif[0], kif[1] - 1, kif[2]), (kif[0], kif[1], kif[2] - 1)):
            assert value == 0 or float(quantized(value, *less, "TRN", "WRAP")) != value


@pytest.mark.parametrize("dialect", [qonnx, qdq])
@given(st.lists(st.integers(-200, 200), min_size=1, max_size=6), st.integers(-6, 3))
@settings(max_examples=20)
def test_weights_are_exact(dialect, codes, shift):
    values = np.ldexp(np.array([codes], float), shift)
    graph = Graph(dialect.OPSETS[-1])
    graph.name("x")
    out = graph.add("Add", ["x", dialect.weights(graph, values, "w")], "y")
    file = dialect.completed(graph.model({"x": (1, len(codes))}, {out: (1, len(codes))}, {}, "weights"))
    [found] = execute(file, [np.zeros((1, len(codes)), np.float32)])
    np.testing.assert_array_equal(found, values)


def test_weights_of_one_size_are_bipolar():
    graph = Graph(13)
    qonnx.weights(graph, np.array([[0.5, -0.5], [-0.5, 0.5]]), "w")
    file = graph.model({}, {}, {}, "weights")
    assert [node.op_type for node in file.graph.node] == ["BipolarQuant"]


def test_what_qdq_lacks_is_named_with_the_remedy():
    def one(bits, mode="TRN"):
        return Number(np.ones((1, 1, 1)), np.full((1, 1, 1), bits - 1.0), np.zeros((1, 1, 1)), mode, "SAT")

    with pytest.raises(UnsupportedError, match=r"layer 'layer' has values of 17 bits, KIF\(1, 16, 0\), .* at most 16;"):
        written(one(17), qdq, False, 21)
    with pytest.raises(UnsupportedError, match=r"layer 'layer' rounds KIF\(1, 3, 0\) by TRN_ZERO, for which ONNX has"):
        written(one(4, "TRN_ZERO"), qdq, False, 21)
    with pytest.raises(UnsupportedError, match=re.escape("DequantizeLinear has at most 32 bits; use fewer bits")):
        qdq.weights(Graph(21), np.array([1.0, 2.0**-40]), "w")

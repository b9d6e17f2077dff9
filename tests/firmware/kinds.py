"""One small network for each type of layer that has RTL, and random numbers and formats to put into it.

Networks of `KINDS` are made of HGQ2's layers, those of `CONVERTED` are Keras graphs that weft converts. A network is
built once and given other weights, widths and signs for each design: that takes milliseconds, and building it seconds.
The formats of activations wrap, and the weights are too large for them as often as not.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from weft._backend import set_backend

set_backend()

import keras  # noqa: E402
from benchmarks import support  # noqa: E402
from hgq import layers as Q  # noqa: E402
from hgq.config import QuantizerConfigScope  # noqa: E402
from hgq.quantizer import Quantizer, QuantizerConfig  # noqa: E402

from weft.compression.finalize import finalize  # noqa: E402
from weft.config.numbers import HgqNumbers  # noqa: E402
from weft.quantize.convert import convert  # noqa: E402


def table() -> dict[str, Any]:
    return {"oq_conf": QuantizerConfig("kif", "datalane", i0=2, f0=2)}


def dense(x: Any) -> Any:
    return Q.QDense(2, name="second")(Q.QDense(3, activation="relu", name="first")(x))


def attention(x: Any) -> Any:
    return keras.layers.Flatten()(Q.QMultiHeadAttention(1, 2, name="attention")(x, x))


def batch_norm(x: Any) -> Any:
    x = Q.QEinsumDenseBatchnorm("...a,ab->...b", 3, bias_axes="b", name="folded")(x)
    return Q.QDense(2, name="head")(Q.QBatchNormalization(name="norm")(x))


def merged(x: Any) -> Any:
    a, b = Q.QDense(2, name="a")(x), Q.QDense(2, name="b")(x)
    made = [
        kind(name=f"m{n}")([a, b]) for n, kind in enumerate((Q.QAdd, Q.QSubtract, Q.QMultiply, Q.QMaximum, Q.QMinimum))
    ]
    return Q.QDense(2, name="head")(keras.layers.Concatenate()(made))


def tables(x: Any) -> Any:
    x = Q.QUnaryFunctionLUT("tanh", name="tanh", **table())(Q.QDense(2, name="first")(x))
    return Q.QDense(2, name="head")(Q.QUnaryFunctionLUT("sigmoid", name="sigmoid", **table())(x))


def flat(layer: Any) -> Any:
    return lambda x: keras.layers.Flatten()(layer(x))


KINDS: dict[str, tuple[tuple[int, ...], Any]] = {
    "dense": ((4,), dense),
    "one dense": ((3,), lambda x: Q.QDense(3, name="only")(x)),
    "einsum": ((2, 3), flat(lambda x: Q.QEinsumDense("abc,cd->abd", (2, 2), bias_axes="d", name="einsum")(x))),
    "conv1d": ((4, 2), flat(lambda x: Q.QConv1D(2, 2, activation="relu", name="conv")(x))),
    "conv2d": ((3, 2, 2), flat(lambda x: Q.QConv2D(2, 2, name="conv")(x))),
    "conv3d": ((2, 2, 2, 1), flat(lambda x: Q.QConv3D(2, (1, 2, 2), name="conv")(x))),
    "max pool": ((4, 2), flat(lambda x: Q.QMaxPooling1D(2, name="pool")(Q.QConv1D(2, 1, name="conv")(x)))),
    "average pool": ((4, 2), flat(lambda x: Q.QAveragePooling1D(2, name="pool")(Q.QConv1D(2, 1, name="conv")(x)))),
    "batch norm": ((3,), batch_norm),
    "merged": ((3,), merged),
    "table": ((3,), tables),
    "dense table": ((2,), lambda x: Q.QDenseT(2, n_hl=1, d_hl=2, name="tables")(x)),
    "softmax": ((3,), lambda x: Q.QSoftmax(name="softmax")(Q.QDense(3, name="logits")(x))),
    "attention": ((2, 2), attention),
    "gru": ((2, 2), lambda x: Q.QGRU(2, name="gru")(x)),
    "rnn": ((2, 2), lambda x: Q.QSimpleRNN(2, name="rnn")(x)),
}
"""Each type of layer: the shape of the input, and what is made of it."""

SAME = {
    "EinsumDense": "einsum",
    "tanh": "table",
    "sigmoid": "table",
    "Softmax": "softmax",
    "MultiHeadAttention": "attention",
    "SimpleRNN": "rnn",
    "GRU": "gru",
}
"""Cases of benchmarks/support.py that are among `KINDS`, smaller."""

SMALL = {support.ROW: (6,), support.LINE: (4, 2), support.IMAGE: (4, 3, 2), support.SEQUENCE: (2, 2)}
"""Shapes of those cases, and what they are here."""

CONVERTED: dict[str, tuple[tuple[int, ...], Any]] = {
    name: (SMALL[shape], make) for name, (shape, make) in support.CASES.items() if name not in SAME
}
"""All other cases, in the form of `KINDS`."""

ALL = (*KINDS, *CONVERTED)


@cache
def network(kind: str) -> keras.Model:
    """Return the network of a kind, the same object every time."""
    return _converted(kind) if kind in CONVERTED else _of_hgq2(kind)


def _converted(kind: str) -> keras.Model:
    shape, make = CONVERTED[kind]
    if isinstance(make, keras.layers.Layer):  # a layer is built for one shape
        make = type(make).from_config(make.get_config())
    inputs = keras.Input(shape, name="features")
    model = keras.Model(inputs, make(inputs), name="converted")
    x = np.random.default_rng(0).normal(size=(20, *shape)).astype(np.float32)
    return finalize(convert(model, HgqNumbers()), x)


def _of_hgq2(kind: str) -> keras.Model:
    shape, make = KINDS[kind]
    with (
        QuantizerConfigScope(place="all", default_q_type="kbi", b0=3, i0=1),
        QuantizerConfigScope(place="datalane", default_q_type="kif", i0=2, f0=1),
    ):
        inputs = keras.Input(shape, name="features")
        model = keras.Model(inputs, make(inputs), name=kind.replace(" ", "_"))
    return model


def quantizers(model: keras.Model) -> list[Quantizer]:
    """Return all quantisers of a model, those inside cells and attention too, each once."""
    found: dict[int, Quantizer] = {}
    stack = list(model.layers)
    while stack:
        layer = stack.pop()
        if isinstance(layer, Quantizer):
            found[id(layer)] = layer
        else:
            stack += layer._layers
    return list(found.values())


def draw(kind: str, seed: int, bits: int, dead: float = 0.0) -> keras.Model:
    """Give the network of a kind random weights and formats.

    Args:
        kind: One of `ALL`.
        seed: Of everything random.
        bits: Width of a format without the sign, at most.
        dead: Share of weights and of activations that have no bits.
    """
    model, random = network(kind), np.random.default_rng(seed)
    for variable in model.weights:
        if not variable.shape or "quantizer" in variable.path or not variable.dtype.startswith("float"):
            continue
        positive = any(name in variable.path for name in ("variance", "gamma"))
        value = random.uniform(0.3, 1.5, variable.shape) if positive else random.normal(0, 0.8, variable.shape)
        variable.assign(value)
    for one in quantizers(model):
        inner = one.quantizer
        if not inner._is_weight:
            inner._k.assign(random.integers(0, 2, inner._k.shape))
        i, width = random.integers(-1, 3, inner._i.shape), random.integers(1, bits + 1, inner._i.shape)
        width = np.where(random.uniform(size=width.shape) < dead, 0, width)
        inner._i.assign(i)
        if hasattr(inner, "_b"):
            inner._b.assign(width)
        else:
            inner._k.assign(np.where(width, inner._k.value, 0))
            inner._f.assign(width - i)
    return model

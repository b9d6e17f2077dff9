"""Small HGQ2 models with chosen bits, and designs on all their levels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from weft._backend import set_backend
from weft.adder_graph import AdderGraph
from weft.firmware import Project, Simulator

set_backend()

PART = "xcvu13p-flga2577-2-e"


def mlp(n_in: int, units: tuple[int, ...], activation: str = "relu") -> Any:
    """Build an MLP of QDense layers `d0`, `d1`, ... in which every weight and every input has a format of its own."""
    import keras
    from hgq.config import QuantizerConfigScope
    from hgq.layers import QDense

    with (
        QuantizerConfigScope(place="all", default_q_type="kbi", b0=4, i0=1),
        QuantizerConfigScope(place="datalane", default_q_type="kif", i0=3, f0=2),
    ):
        x = inputs = keras.Input((n_in,), name="features")
        for i, size in enumerate(units):
            last = i == len(units) - 1
            x = QDense(size, activation=None if last else activation, name=f"d{i}")(x)
    return keras.Model(inputs, x, name="mlp")


def randomised(model: Any, seed: int = 0) -> Any:
    """Give a model random weights; the ranges of its values stay as they are, so that some values wrap."""
    random = np.random.default_rng(seed)
    for layer in model.layers[1:]:
        layer._kernel.assign(random.normal(0, 0.7, layer._kernel.shape))
        layer.bias.assign(random.normal(0, 0.5, layer.bias.shape))
    return model


def set_layer(layer: Any, kernel: ArrayLike, bias: ArrayLike, kif: Sequence[tuple[int, int, int]]) -> None:
    """Give a layer exact weights and its inputs a format each."""
    for variable, value in (
        (layer.kq.quantizer._b, np.full(layer._kernel.shape, 8)),
        (layer.kq.quantizer._i, np.full(layer._kernel.shape, 3)),
        (layer.bq.quantizer._b, np.full(layer.bias.shape, 8)),
        (layer.bq.quantizer._i, np.full(layer.bias.shape, 3)),
        (layer._kernel, kernel),
        (layer.bias, bias),
        (layer.iq.quantizer._k, [[k for k, _, _ in kif]]),
        (layer.iq.quantizer._i, [[i for _, i, _ in kif]]),
        (layer.iq.quantizer._f, [[f for _, _, f in kif]]),
    ):
        variable.assign(np.asarray(value, dtype=np.float32))


def of_few_bits(model: Any, seed: int) -> Any:
    """Give a model random weights and inputs of 0 to 3 bits, most of them of one or two."""
    random = np.random.default_rng(seed)
    for layer in model.layers[1:]:
        n_in, n_out = layer._kernel.shape
        k, i, f = random.integers(0, 2, (3, n_in))
        weights = random.integers(-32, 33, (n_in, n_out)) / 16, random.integers(-32, 33, n_out) / 16
        set_layer(layer, *weights, list(zip(k, i, f, strict=True)))
    return model


def samples(n: int, n_in: int, seed: int = 0) -> np.ndarray:
    """Return normal inputs (n, n_in), float32."""
    return np.random.default_rng(seed).normal(0, 1.5, (n, n_in)).astype(np.float32)


@dataclass
class Design:
    """A design on all its levels."""

    model: Any
    graph: AdderGraph
    project: Project
    simulator: Simulator
    x: np.ndarray

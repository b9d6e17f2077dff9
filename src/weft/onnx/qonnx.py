"""Quantisers and weights as QONNX says them: `Quant` and `BipolarQuant` with scales that are powers of two.

Source: Pappalardo et al., "QONNX: Representing Arbitrary-Precision Quantized Neural Networks", 2022, arXiv:2206.07527.

`Quant` saturates, then rounds. Its scale may differ from value to value; qonnx 1.0 executes one bit width a node, so a
tensor of several formats gets the widest, and two nodes, `Max` and `Min`, that say the range of each value. qonnx takes
a signed width of 1 for bipolar, so a format of a sign alone is written with 2 bits and those bounds.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from weft.onnx.arithmetic import bounded, rounded, wrapped
from weft.onnx.graph import QONNX_DOMAIN, Graph
from weft.onnx.number import Floats, Number, smallest

OPSETS, BATCH = (13,), 1

_MODE = {
    "TRN": (0.0, "FLOOR"),
    "RND": (0.5, "FLOOR"),
    "RND_MIN_INF": (-0.5, "CEIL"),
    "RND_CONV": (0.0, "ROUND"),
    "TRN_ZERO": (0.0, "DOWN"),
    "RND_ZERO": (0.0, "HALF_DOWN"),
    "RND_INF": (0.0, "HALF_UP"),
}
"""The number of steps that is added before rounding, and QONNX' way to round (HALF_UP there is away from 0)."""


def quantize(graph: Graph, x: str, number: Number, place: str, *, wraps: bool) -> str:
    """Write the nodes of a quantiser.

    Args:
        graph: What is written to.
        x: The values.
        number: Their format; what is beyond it saturates, but where
        wraps: it wraps around.
        place: The layer's name.
    """
    if wraps:
        x = wrapped(graph, rounded(graph, x, number, place), number, place)
        add, mode = 0.0, "ROUND"
    else:
        add, mode = _MODE[number.round_mode]
        if number.round_mode == "RND" and not number.k.any():  # what is negative becomes 0 first
            add, mode = 0.0, "HALF_UP"
    if add:
        x = graph.add("Add", [x, graph.constant(add * number.step)], f"{place}_half")
    made = _quant(graph, x, number, place, mode)
    exact = number.is_uniform and not (number.k.any() and number.width.max() == 1)
    return made if wraps or exact else bounded(graph, made, number, place)


def weights(graph: Graph, values: Floats, place: str) -> str:
    """Write constants as a quantised tensor: bipolar ones by `BipolarQuant`, others by the format that holds them."""
    size = np.abs(values)
    if size.size and (size == size.flat[0]).all() and size.flat[0] == np.exp2(np.rint(np.log2(size.flat[0] or 3))):
        inputs = [graph.constant(values), graph.constant(size.flat[0])]
        return graph.add("BipolarQuant", inputs, f"{place}_quant", QONNX_DOMAIN)
    number = smallest(values)
    k = np.full_like(number.k, number.k.max(initial=0.0))
    widest = np.maximum(number.i + number.f, 0).max(initial=1.0)
    return _quant(graph, graph.constant(values), Number(k, widest - number.f, number.f, "RND", "SAT"), place, "ROUND")


def completed(file: Any) -> Any:
    """Return a file with the shape of every tensor, which qonnx needs to execute it."""
    from weft.onnx.execute import with_shapes

    return with_shapes(file).model


def _quant(graph: Graph, x: str, number: Number, place: str, mode: str) -> str:
    k = bool(number.k.any())
    magnitude = float(np.maximum(number.i + number.f, 0).max())
    symmetric = number.overflow_mode == "SAT_SYM" and number.is_uniform and magnitude > 0
    bits = max(magnitude + k, 1 + k)
    step = number.step.ravel()[0] if (number.step == number.step.flat[0]).all() else number.step
    inputs = [x, graph.constant(step), graph.constant(0.0), graph.constant(bits)]
    attributes = {"signed": int(k), "narrow": int(symmetric and k), "rounding_mode": mode}
    return graph.add("Quant", inputs, f"{place}_quant", QONNX_DOMAIN, **attributes)

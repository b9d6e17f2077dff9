"""Quantisers and weights as ONNX says them: pairs of `QuantizeLinear` and `DequantizeLinear`, scales powers of two.

ONNX has integers of 8 bits there (opset 19), or of 4, 8 and 16 (opset 21), and rounds ties to even. A narrower format
takes the next wider type, and `Max` and `Min` before it where a value could leave its range; another way to round is
written in operations before it. Where formats differ along several axes, the tensor is flattened for the pair, whose
scale has one axis. Weights are integers that a `DequantizeLinear` reads.

onnxruntime 1.32 cannot load some graphs of opset 21 with signed 8-bit activations (it moves pairs behind a `Transpose`,
and then makes them unsigned, but for one attribute). So 8 bits are enough for a file of opset 19, and in one of opset
21 signed activations have 4 or 16.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from weft.errors import UnsupportedError
from weft.onnx.arithmetic import bounded, rounded, wrapped
from weft.onnx.graph import Graph
from weft.onnx.number import Floats, Number, smallest

OPSETS = (19, 21)
"""Of files with integers of 8 bits, and of those with others too."""

BATCH = "batch"

_WIDTHS = {19: (8,), 21: (4, 8, 16)}
_WIDEST_WEIGHT = 32


def quantize(graph: Graph, x: str, number: Number, place: str, *, wraps: bool) -> str:
    """Write the nodes of a quantiser; see `weft.onnx.qonnx.quantize`.

    Raises:
        UnsupportedError: A value has more bits than ONNX has, or rounds in a way that it lacks.
    """
    k = int(number.k.any())
    bits = int(np.maximum(number.i + number.f, 0).max()) + k
    has = [one for one in _WIDTHS[graph.opset] if not (k and one == 8 and graph.opset == 21)]
    width = next((one for one in has if one >= bits), None)
    if width is None:
        raise UnsupportedError(
            f"layer '{place}' has values of {bits} bits, {number}, and QuantizeLinear has at most {has[-1]}; use "
            "fewer bits, or export with --format qonnx"
        )
    if wraps or number.round_mode != "RND_CONV":
        x = rounded(graph, x, number, place)
    fills = number.is_uniform and bits == width and number.overflow_mode != "SAT_SYM"
    if wraps:
        x = wrapped(graph, x, number, place)
    elif not fills:
        x = bounded(graph, x, number, place)
    kind = f"{'' if k else 'u'}int{width}"
    step = number.step
    axes = [axis for axis, size in enumerate(step.shape) if size > 1 and not _same_along(step, axis)]
    if not axes:
        return _pair(graph, x, step.ravel()[:1].reshape(()), kind, place)
    if len(axes) == 1:
        scale = np.moveaxis(step, axes[0], 0).reshape(step.shape[axes[0]], -1)[:, 0]
        return _pair(graph, x, scale, kind, place, axis=axes[0])
    shape = np.broadcast_shapes(*(part.shape for part in (number.k, number.i, number.f)))
    flat = graph.add("Reshape", [x, graph.constant([0, -1], "int64")], f"{place}_flat")
    made = _pair(graph, flat, np.broadcast_to(step, shape).reshape(-1), kind, place, axis=1)
    return graph.add("Reshape", [made, graph.constant([0, *shape[1:]], "int64")], f"{place}_whole")


def weights(graph: Graph, values: Floats, place: str) -> str:
    """Write constants as integers and the scale that makes numbers of them.

    Raises:
        UnsupportedError: They need more than 32 bits.
    """
    finest = float(smallest(values).f.max(initial=0.0))
    codes = np.rint(values * np.exp2(finest))
    low, high = float(codes.min(initial=0.0)), float(codes.max(initial=0.0))
    signed = low < 0
    for width in (*_WIDTHS[graph.opset], _WIDEST_WEIGHT):
        least, most = (-(2.0 ** (width - 1)), 2.0 ** (width - 1) - 1) if signed else (0.0, 2.0**width - 1)
        if least <= low and high <= most and (signed or width < _WIDEST_WEIGHT):
            kind = f"{'' if signed else 'u'}int{width}"
            inputs = [graph.constant(codes, kind), graph.constant(np.exp2(-finest))]
            return graph.add("DequantizeLinear", inputs, f"{place}_dequantized")
    raise UnsupportedError(
        f"layer '{place}' has weights from {low * np.exp2(-finest):g} to {high * np.exp2(-finest):g} in steps of "
        f"2^{-finest:g}, and DequantizeLinear has at most {_WIDEST_WEIGHT} bits; use fewer bits, or export with "
        "--format qonnx"
    )


def completed(file: Any) -> Any:
    """Return a file as it is: onnxruntime finds shapes itself."""
    return file


def _same_along(values: Floats, axis: int) -> bool:
    return bool((values == values.take([0], axis=axis)).all())


def _pair(graph: Graph, x: str, scale: Floats, kind: str, place: str, **axis: Any) -> str:
    scales, zero = graph.constant(scale), graph.constant(np.zeros(np.shape(scale)), kind)
    codes = graph.add("QuantizeLinear", [x, scales, zero], f"{place}_quantized", **axis)
    return graph.add("DequantizeLinear", [codes, scales, zero], f"{place}_dequantized", **axis)

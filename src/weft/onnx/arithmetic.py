"""Rounding, wrap-around and bounds in ONNX' own operations, exact in float32 as those of HGQ2 are.

All constants are powers of two or lie on the grid, so nothing here rounds but what is meant to. Values wrap as in HGQ2:
x -> (x + 2^(k+i-1) k) mod 2^(k+i) - 2^(k+i-1) k. ONNX' `Mod` of floats has the sign of its operand, so it is taken
twice.
"""

from __future__ import annotations

import numpy as np

from weft.errors import UnsupportedError
from weft.onnx.graph import Graph
from weft.onnx.number import Number

_OPERATION = {"TRN": (0.0, "Floor"), "RND": (0.5, "Floor"), "RND_MIN_INF": (-0.5, "Ceil"), "RND_CONV": (0.0, "Round")}
"""What is added to a code before it is rounded, and the operation that rounds it."""


def rounded(graph: Graph, x: str, number: Number, place: str) -> str:
    """Write nodes that round values to their grid.

    Raises:
        UnsupportedError: ONNX has no operation for this way to round.
    """
    if number.round_mode not in _OPERATION:
        raise UnsupportedError(
            f"layer '{place}' rounds {number} by {number.round_mode}, for which ONNX has no operation; use "
            f"{', '.join(_OPERATION)}"
        )
    add, operation = _OPERATION[number.round_mode]
    x = graph.add("Mul", [x, graph.constant(1 / number.step)], f"{place}_codes")
    if add:
        x = graph.add("Add", [x, graph.constant(add)], f"{place}_half")
    x = graph.add(operation, [x], f"{place}_round")
    return graph.add("Mul", [x, graph.constant(number.step)], f"{place}_grid")


def wrapped(graph: Graph, x: str, number: Number, place: str) -> str:
    """Write nodes that wrap values on the grid around at the ends of their range."""
    period = np.where(number.width > 0, np.exp2(number.k + number.i), 1.0)
    below = number.k * period / 2
    x = graph.add("Add", [x, graph.constant(below)], f"{place}_above")
    x = graph.add("Mod", [x, graph.constant(period)], f"{place}_rest", fmod=1)
    x = graph.add("Add", [x, graph.constant(period)], f"{place}_positive")
    x = graph.add("Mod", [x, graph.constant(period)], f"{place}_wrap", fmod=1)
    return graph.add("Sub", [x, graph.constant(below)], f"{place}_wrapped")


def bounded(graph: Graph, x: str, number: Number, place: str) -> str:
    """Write nodes that bring each value into its range."""
    x = graph.add("Max", [x, graph.constant(number.low)], f"{place}_least")
    return graph.add("Min", [x, graph.constant(number.high)], f"{place}_most")

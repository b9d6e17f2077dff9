"""A size as the sum of what each operation takes: features of an adder graph, and weights that synthesis gives them.

The readout is additive and its weights are not negative: a design of more layers, or of wider numbers, is never
smaller, and a network deeper than all that were measured is their sum and no guess. The idea of a shared head for each
part, summed, is that of the ASIC work after wa-hls4ml; here the parts are the operations of the graph, and the head is
linear, fitted to relative errors by non-negative least squares (Lawson and Hanson, 1974).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

import numpy as np

if TYPE_CHECKING:
    from weft.adder_graph import AdderGraph

FEATURES = (
    *("solver", "registers", "input", "output", "narrow", "middle", "wide", "below", "sum", "negative", "offset"),
    *("relu", "quantize", "choose", "multiply", "table", "bitwise"),
)
"""What is counted of a graph: the compiler's own LUT and register bits; bits of inputs and outputs; of each addition
the bits that both operands reach (narrow: up to 3 of them, which synthesis folds into the logic around; middle: up to
6; wide), and those of a subtrahend that lie below; bits of results of the other operations, by kind; of a product of
variables the product of both widths; of a table its bits in units of 64."""

PRIORS: dict[str, dict[str, float]] = {
    "lut": dict.fromkeys(("narrow", "middle", "wide", "below", "negative", "table", "multiply", "bitwise"), 1.0),
    "ff": {"registers": 1.0},
}
"""What the compiler's count amounts to: the weight of a feature that hardly a design of the corpus has, by quantity."""

_HOLD = 0.02  # one design of which the feature is a fiftieth tells as much as the prior
_NARROW, _MIDDLE = 3, 6
_ALWAYS = 0.05  # of a graph without narrow additions, against one of nothing else; 0.02 to 0.06 do as well

MOST_TABLES = 0.1
"""A design with a larger share of tables is not one of additions: what tables take is another matter."""

_BITWISE = ("not", "any", "all", "and", "or", "xor")
_LUT_BITS = 64


def features(graph: AdderGraph, clock_period_ns: float) -> dict[str, float]:
    """Count what the readout adds up; a count >= 0 for each of `FEATURES`."""
    return operations(graph) | {"registers": float(graph.pipelined(clock_period_ns).ff)}


def operations(graph: AdderGraph) -> dict[str, float]:
    """Count what the readout adds up but the registers, for which no clock is needed."""
    steps, _ = graph.steps()
    found = dict.fromkeys(FEATURES, 0.0)
    found["solver"] = graph.lut
    found["output"] = float(graph.output_kif.sum())
    for step in steps:
        operands = [steps[number] for number in step.operands]
        width = sum(step.kif)
        match step.kind:
            case "constant":
                pass
            case "add" | "subtract":
                first, second = (-one.kif[2] for one in operands)
                second += step.data[0]  # where the lowest bit of each operand stands
                both = max(0, step.kif[0] + step.kif[1] - max(first, second))
                found["narrow" if both <= _NARROW else "middle" if both <= _MIDDLE else "wide"] += both
                found["below"] += max(0, first - second) if step.kind == "subtract" else 0
            case "sum":
                found["sum"] += width * (len(operands) - 1)
            case "multiply":
                found["multiply"] += float(np.prod([sum(one.kif) for one in operands]))
            case "table":
                found["table"] += width * 2.0 ** sum(operands[0].kif) / _LUT_BITS
            case kind:
                found["bitwise" if kind in _BITWISE else kind] += width
    return found


def unlike(graph: AdderGraph) -> str | None:
    """Return what a graph has and no design of our corpus, so that their synthesis says nothing of it; else None."""
    if not graph.rtl.pipeline:
        return "it has no register stages"
    if graph.rtl.ternary_adders:
        return "it has adders of three operands"
    return None


def tables(counted: Mapping[str, float]) -> float:
    """Return how much of a design is tables and products of variables, relative to the compiler's count of its LUT."""
    return (counted["table"] + counted["multiply"]) / max(counted["solver"], 1.0)


def difficulty(counted: Mapping[str, float]) -> float:
    """Return how far synthesis may be from an estimate, relative to other designs; it is of narrow additions.

    Yosys folds these into the logic around, or does not: 0.15 LUT a bit is what they take in the mean, where the
    compiler counts 1, and the scatter of both sizes goes with their share.
    """
    return _ALWAYS + counted["narrow"] / max(counted["solver"], 1.0)


def vector(counted: Mapping[str, float]) -> np.ndarray:
    """Return features in the order of `FEATURES`, (n_features,)."""
    return np.array([counted[name] for name in FEATURES])


def fit(counted: np.ndarray, measured: np.ndarray, quantity: str) -> np.ndarray:
    """Return the weights of the readout.

    Args:
        counted: Features, (n, n_features).
        measured: What synthesis found, (n,), > 0; n >= 1.
        quantity: `lut` or `ff`.

    Returns:
        (n_features,), >= 0: least squares of the relative errors, held weakly to `PRIORS`.
    """
    from scipy.optimize import nnls  # pyright: ignore[reportUnknownVariableType]  # scipy brings no types

    prior = np.array([PRIORS[quantity].get(name, 0.0) for name in FEATURES])
    rows = np.vstack([counted / measured[:, None], _HOLD * np.eye(len(FEATURES))])
    wanted = np.concatenate([np.ones(len(measured)), _HOLD * prior])
    return cast("np.ndarray", nnls(rows, wanted)[0])

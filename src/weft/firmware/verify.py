"""Verification: Keras, adder graph and Verilog agree on every bit, on real inputs and on extreme ones.

Equality is of numbers, never within a tolerance: all levels compute with dyadic fractions that float64 holds exactly.
The inputs are the float32 numbers that the network reads. The input port of the design keeps one fractional bit more
than the first quantiser where that rounds, so dropping the bits below the port and rounding in the design is the same
as rounding in Keras; beyond its range the port wraps, as the quantiser does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from weft.adder_graph import AdderGraph, from_codes, to_codes
from weft.errors import ShapeError
from weft.firmware import reference
from weft.firmware.verilator import Simulator

if TYPE_CHECKING:
    import keras

Level = Literal["keras", "adder_graph", "rtl"]

_RANDOM_ROWS = 256
_EXACT_BITS = 22
"""Extreme inputs stay below 2^22 steps of the input port, where float32 still tells half a step."""


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Pair(_Record):
    """How two neighbouring levels compare.

    Attributes:
        levels: Their names.
        values: How many output values were compared.
        mismatches: How many of them differ.
        samples: How many inputs have an output that differs.
        max_difference: The largest difference of an output.
        argmax_agreement: Share of inputs for which both choose the same class (with one output: the same sign).
        first_sample: Number of the first input with a difference; real inputs come first.
        first_diverging_layer: Name of the first layer whose outputs differ, where layers can be compared.
    """

    levels: tuple[Level, Level]
    values: int
    mismatches: int
    samples: int
    max_difference: float
    argmax_agreement: float
    first_sample: int | None = None
    first_diverging_layer: str | None = None


class Inputs(_Record):
    """How many inputs were real, how many extreme, and whether they were all that there are."""

    real: int
    extreme: int
    every: bool = False


class Cycles(_Record):
    """A number of clock cycles as the compiler claims it and as the simulation shows it.

    `measured` is None if no latency explains the outputs, or if they never change.
    """

    claimed: int
    measured: int | None


class Verification(_Record):
    """The outcome of a verification.

    Attributes:
        status: `exact` if no value differs anywhere.
        samples: Inputs checked.
        mismatches: Output values that differ, over all pairs of levels.
        levels: Levels compared, in order.
        pairs: Each level with the next.
        inputs: Where the inputs come from.
        latency_cycles: Latency from input register to output register, if Verilog was simulated.
        ii_cycles: Cycles between inputs in the simulation, 1; None if the outputs do not show it.
        arithmetic: In what Keras computed. float64 is used where float32 rounds sums that hardware does not round.
        float32_mismatches: Output values in which Keras in float32 differs from the adder graph.
    """

    status: Literal["exact", "mismatch"]
    samples: int
    mismatches: int
    levels: tuple[Level, ...]
    pairs: tuple[Pair, ...]
    inputs: Inputs
    latency_cycles: Cycles | None = None
    ii_cycles: int | None = None
    arithmetic: Literal["float32", "float64"] | None = None
    float32_mismatches: int | None = None

    @property
    def sentence(self) -> str:
        """The outcome in words, for people and for error messages."""
        if self.status == "exact":
            note = (
                f" (Keras in float64; float32 rounds {self.float32_mismatches} outputs)"
                if self.float32_mismatches
                else ""
            )
            which = "every input there is" if self.inputs.every else f"{self.samples} inputs"
            return f"{' = '.join(self.levels)} on {which}, bit for bit{note}"
        parts = [
            f"{pair.levels[0]} and {pair.levels[1]} differ in {pair.mismatches} of {pair.values} outputs, by at most "
            f"{pair.max_difference:g}"
            + (f", from layer '{pair.first_diverging_layer}' on" * bool(pair.first_diverging_layer))
            for pair in self.pairs
            if pair.mismatches
        ]
        cycles = self.latency_cycles
        if cycles is not None and cycles.measured not in (None, cycles.claimed):
            parts.append(f"the latency is {cycles.measured} cycles, not {cycles.claimed}")
        return "; ".join(parts)


def verify(
    model: keras.Model | None,
    graph: AdderGraph,
    simulator: Simulator | None,
    x: np.ndarray,
    *,
    extremes: bool = True,
    seed: int = 0,
    exhaustive_bits: int = 20,
) -> Verification:
    """Compare a design on all its levels.

    Args:
        model: The finalised model; None leaves Keras out.
        graph: Its adder graph.
        simulator: The simulation of its Verilog; None leaves Verilog out.
        x: Real inputs, (n, *input_shape), n >= 1.
        extremes: Whether to add `extreme_inputs`.
        seed: Of the random ones among them.
        exhaustive_bits: If the input port has no more bits than this, all its codes are added: equality is proven.

    Returns:
        The outcome. A mismatch is reported, not raised: callers raise `VerificationError` with its `sentence`.

    Raises:
        ShapeError: x has another shape, or nothing is there to compare.
        DataError: x holds NaN or infinity.
        ToolError: The simulation failed.
    """
    if model is None and simulator is None:
        raise ShapeError("verification compares two levels or more; give the Keras model, a simulator, or both")
    x = np.asarray(x, dtype=np.float32)
    if x.ndim == 0 or x.shape[1:] != graph.input_shape or not len(x):
        raise ShapeError(
            f"verification takes inputs of shape (n, {', '.join(map(str, graph.input_shape))}); got {x.shape}"
        )
    n_real = len(x)
    if extremes:
        x = np.concatenate([x, extreme_inputs(graph, seed=seed)])
    every = int(graph.input_kif.sum()) <= exhaustive_bits
    if every:
        x = np.concatenate([x, all_inputs(graph)])
    expected = graph.predict(x)
    found: list[dict[str, Any]] = []
    if model is not None:
        found.append(_compare_keras(model, graph, x, expected))
    if simulator is not None:
        found.append(_compare_rtl(simulator, x, expected))
    pairs = tuple(pair for one in found for pair in one["pairs"])
    mismatches = sum(pair.mismatches for pair in pairs)
    cycles = found[-1].get("latency_cycles")
    on_time = cycles is None or cycles.measured in (None, cycles.claimed)
    return Verification(
        status="exact" if mismatches == 0 and on_time else "mismatch",
        samples=len(x),
        mismatches=mismatches,
        levels=(pairs[0].levels[0], *(pair.levels[1] for pair in pairs)),
        inputs=Inputs(real=n_real, extreme=len(x) - n_real, every=every),
        **{key: value for one in found for key, value in one.items() if key != "pairs"},
        pairs=pairs,
    )


def extreme_inputs(graph: AdderGraph, *, seed: int = 0) -> np.ndarray:
    """Return inputs at the ends of the input format and beyond, (n, *input_shape) float32.

    They are: zero; all features at their least, at their greatest, one step beyond each, and half a step around zero;
    each feature alone at its least and greatest; random corners; random codes; values far beyond the range, up to what
    float32 holds with half a step to spare. Features that the design does not read take random values.
    """
    random = np.random.default_rng(seed)
    k, i, f = graph.input_kif.astype(np.float64)
    n_in = len(k)
    step = 2.0**-f
    low, high = -k * 2.0**i, 2.0**i - step
    zero = np.zeros(n_in)
    rows = [zero, low, high, low - step, high + step, step / 2, -step / 2]
    rows += [np.where(np.arange(n_in) == j, end, zero) for j in range(n_in) for end in (low, high)]
    corners = np.stack([low, high, zero, step, -step])
    rows += list(corners[random.integers(len(corners), size=(_RANDOM_ROWS, n_in)), np.arange(n_in)])
    rows += list(random_inputs(graph, _RANDOM_ROWS, seed=seed).reshape(-1, n_in))
    codes = random.integers(-(2**_EXACT_BITS), 2**_EXACT_BITS, size=(_RANDOM_ROWS, n_in))
    rows += list(codes * step)
    rows += [np.full(n_in, sign * 2.0**_EXACT_BITS) * step for sign in (-1, 1)]
    x = np.stack(rows)
    dead = graph.input_kif.sum(axis=0) == 0
    x[:, dead] = random.normal(size=(len(x), int(dead.sum())))
    return x.astype(np.float32).reshape(-1, *graph.input_shape)


def random_inputs(graph: AdderGraph, n: int, *, seed: int = 0) -> np.ndarray:
    """Return inputs whose bits on the port are random, (n, *input_shape) float32."""
    kif = graph.input_kif
    codes = np.random.default_rng(seed).integers(2 ** kif.sum(axis=0), size=(n, kif.shape[1]))
    return _signed(codes, kif).astype(np.float32).reshape(-1, *graph.input_shape)


def all_inputs(graph: AdderGraph) -> np.ndarray:
    """Return every value of the input port, (2^bits, *input_shape) float32; features that are not read are 0."""
    kif = graph.input_kif
    widths = kif.sum(axis=0)
    codes = np.arange(2 ** int(widths.sum()))[:, None] >> np.concatenate([[0], np.cumsum(widths)[:-1]])
    return _signed(codes & ((1 << widths) - 1), kif).astype(np.float32).reshape(-1, *graph.input_shape)


def _signed(codes: np.ndarray, kif: np.ndarray) -> np.ndarray:
    """Return the values of port codes whose sign bit is written like the others, (n, n_in)."""
    return from_codes(to_codes(from_codes(codes, kif), kif), kif)


def _compare_keras(model: keras.Model, graph: AdderGraph, x: np.ndarray, expected: np.ndarray) -> dict[str, Any]:
    """Compare in float32; where that differs from the graph, in float64, to tell rounding from error."""
    levels: tuple[Level, Level] = ("keras", "adder_graph")
    pair = _compare(levels, reference.in_float32(model, x), expected)
    if not pair.mismatches:
        return {"pairs": (pair,), "arithmetic": "float32", "float32_mismatches": 0}
    rounded, values = pair.mismatches, reference.in_float64(model, x)
    pair = _compare(levels, values.outputs, expected)
    if pair.mismatches:
        layer = _first_diverging_layer(values.layers, graph.layer_outputs(x))
        pair = pair.model_copy(update={"first_diverging_layer": layer})
    return {"pairs": (pair,), "arithmetic": "float64", "float32_mismatches": rounded}


def _compare_rtl(simulator: Simulator, x: np.ndarray, expected: np.ndarray) -> dict[str, Any]:
    """Feed an input in every cycle; see what comes out, and when."""
    response, claimed = simulator.run(x), simulator.project.pipeline.latency_cycles
    measured = response.latency(expected)
    return {
        "pairs": (_compare(("adder_graph", "rtl"), expected, response.after(claimed, len(x))),),
        "latency_cycles": Cycles(claimed=claimed, measured=measured),
        "ii_cycles": None if measured is None else 1,
    }


def _compare(levels: tuple[Level, Level], a: np.ndarray, b: np.ndarray) -> Pair:
    wrong = a != b
    rows = np.flatnonzero(wrong.any(axis=1))
    choices = (a.argmax(axis=1), b.argmax(axis=1)) if a.shape[1] > 1 else (a > 0, b > 0)
    return Pair(
        levels=levels,
        values=a.size,
        mismatches=int(wrong.sum()),
        samples=len(rows),
        max_difference=float(np.abs(a - b).max()),
        argmax_agreement=float(np.mean(choices[0] == choices[1])),
        first_sample=int(rows[0]) if len(rows) else None,
    )


def _first_diverging_layer(keras_values: dict[str, np.ndarray], graph_values: dict[str, np.ndarray]) -> str | None:
    for name, values in keras_values.items():
        if name in graph_values and not np.array_equal(values, graph_values[name]):
            return name
    return None

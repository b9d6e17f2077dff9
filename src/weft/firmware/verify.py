"""Verification: Keras, adder graph, RTL and further levels agree on every bit, on real inputs and on extreme ones.

Equality is of numbers, never within a tolerance: all levels compute with dyadic fractions that float64 holds exactly.
The inputs are the float32 numbers that the network reads. The input port of the design keeps one fractional bit more
than the first quantiser where that rounds, so dropping the bits below the port and rounding in the design is the same
as rounding in Keras; beyond its range the port wraps, as the quantiser does.

A level is anything with a name that computes outputs: `verify` takes further ones as they come. What equality cannot
show, values that overflow on all levels alike, `weft.firmware.overflow` counts and seeks.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import numpy as np
from pydantic import BaseModel, ConfigDict

from weft.adder_graph import AdderGraph, from_codes, to_codes
from weft.errors import ShapeError, ToolError, ToolNotFoundError
from weft.firmware import reference, vhdl
from weft.firmware.overflow import Overflow, overflows
from weft.firmware.rtl import Project
from weft.firmware.verilator import Simulator

if TYPE_CHECKING:
    import keras

log = logging.getLogger(__name__)


class Level(Protocol):
    """A further level: what another flow, or the model before it was finalised, computes.

    Attributes:
        name: Its name in reports, such as `hls`.
    """

    name: str

    def run(self, x: np.ndarray) -> np.ndarray:
        """Return the outputs for inputs `(n, *input_shape)` float32: (n, n_out), exact in float64."""
        ...


@runtime_checkable
class LayeredLevel(Level, Protocol):
    """A level that can tell where it goes wrong."""

    def first_difference(self, x: np.ndarray, layers: Mapping[str, np.ndarray]) -> tuple[str, str] | None:
        """Return the first layer whose values for inputs x are not those of `layers`, (n, size) by name, and its type.

        Raises:
            ToolError: A tool that is needed for that failed.
        """
        ...


class Origin(Level, Protocol):
    """The network that a model was made from.

    Attributes:
        exact: Whether it computes with the model's own fixed-point numbers, so that it has to be equal.
    """

    exact: bool


_RANDOM_ROWS, _SHOWN, _TRACED = 256, 8, 1000
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
        layer_format: Formats of what that layer reads, such as `KIF(1, 0..2, 1..3)`; in HLS the type of what it puts
            out, such as `fixed<10,7,TRN,WRAP,0>`.
        layer_overflow: Share of the real inputs that overflow these formats.
        outputs: Numbers of the outputs that differ, the first eight.
    """

    levels: tuple[str, str]
    values: int
    mismatches: int
    samples: int
    max_difference: float
    argmax_agreement: float
    first_sample: int | None = None
    first_diverging_layer: str | None = None
    layer_format: str | None = None
    layer_overflow: float | None = None
    outputs: tuple[int, ...] = ()


class Inputs(_Record):
    """How many inputs were real, how many extreme, how many of these sought, and whether they were all there are."""

    real: int
    extreme: int
    every: bool = False
    sought: int = 0


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
        overflows: What was seen of each quantiser of activations, where the model was given.
        agreement: How a float network that the model was made from compares on the real inputs. It cannot be equal, and
            `status` does not depend on it.
        skipped: Levels that were not compared, and why.
        suggestion: What to do about the first difference.
    """

    status: Literal["exact", "mismatch"]
    samples: int
    mismatches: int
    levels: tuple[str, ...]
    pairs: tuple[Pair, ...]
    inputs: Inputs
    latency_cycles: Cycles | None = None
    ii_cycles: int | None = None
    arithmetic: Literal["float32", "float64"] | None = None
    float32_mismatches: int | None = None
    overflows: tuple[Overflow, ...] = ()
    agreement: Pair | None = None
    skipped: dict[str, str] = {}
    suggestion: str | None = None

    @property
    def warnings(self) -> list[str]:
        """What equality does not show: quantisers that overflow, and levels that were left out."""
        found = [f"{level} was not compared: {reason}" for level, reason in self.skipped.items()]
        for one in self.overflows:
            where = f"layer '{one.layer}' ({one.quantizer}, {one.format}, {one.mode})"
            if one.share:
                found.append(f"{where}: {one.share:.2%} of the real inputs are out of range")
            elif one.sought is not None and one.sought >= 1:
                found.append(f"{where}: no real input is out of range, but one between them can be")
        return found

    @property
    def sentence(self) -> str:
        """The outcome in words, for people and for error messages."""
        return "; ".join(filter(None, (self._equality, self._agreement)))

    @property
    def _agreement(self) -> str | None:
        pair, n = self.agreement, self.inputs.real
        if pair is None:
            return None
        one, other = pair.levels
        if not pair.mismatches:
            return f"{one} and {other} are equal on {n} real inputs"
        return (
            f"{one} and {other} choose the same class for {round(n * pair.argmax_agreement)} of {n} real inputs, and "
            f"differ by at most {pair.max_difference:g}"
        )

    @property
    def _equality(self) -> str:
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


def simulator_of(project: Project) -> tuple[Simulator | None, dict[str, str]]:
    """Return a project's simulation, or None and why it cannot be simulated: VHDL without ghdl."""
    if project.language == "vhdl":
        try:
            vhdl.find()
        except ToolNotFoundError as error:
            return None, {"rtl": f"VHDL that was not simulated: {error}"}
    return Simulator(project), {}


def verify(
    model: keras.Model | None,
    graph: AdderGraph,
    simulator: Simulator | None,
    x: np.ndarray,
    *,
    extremes: bool = True,
    seed: int = 0,
    exhaustive_bits: int = 20,
    seek: bool = True,
    source: Level | None = None,
    origin: Origin | None = None,
    further: Sequence[Level] = (),
    skipped: Mapping[str, str] | None = None,
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
        seek: Whether to seek inputs like the real ones that overflow a quantiser which these do not.
        source: What the finalised model was made of, compared with it on the real inputs.
        origin: The network of another framework that the model was made from, compared with the finalised model: by
            equality on all inputs if it is `exact`, else in `agreement`, on the real ones.
        further: Levels to compare with the adder graph.
        skipped: Levels that are left out, and why, to be said in the outcome.

    Returns:
        The outcome. A mismatch is reported, not raised: callers raise `VerificationError` with its `sentence`.

    Raises:
        ShapeError: x has another shape, or nothing is there to compare.
        DataError: x holds NaN or infinity.
        ToolError: The simulation failed.
    """
    if model is None and simulator is None and not further:
        raise ShapeError("verification compares two levels or more; give the Keras model, a simulator, or both")
    x = np.asarray(x, dtype=np.float32)
    if x.ndim == 0 or x.shape[1:] != graph.input_shape or not len(x):
        raise ShapeError(
            f"verification takes inputs of shape (n, {', '.join(map(str, graph.input_shape))}); got {x.shape}"
        )
    real, n_real = x, len(x)
    seen, sought = overflows(model, x, seek=seek, seed=seed) if model is not None else ([], x[:0])
    x = np.concatenate([x, sought])
    if extremes:
        x = np.concatenate([x, extreme_inputs(graph, seed=seed)])
    every = int(graph.input_kif.sum()) <= exhaustive_bits
    if every:
        x = np.concatenate([x, all_inputs(graph)])
    expected = graph.predict(x)
    found: list[dict[str, Any]] = []
    agreement = None
    if model is not None:
        if origin is not None and origin.exact:
            found.append({"pairs": (_compare_origin(origin, model, x),)})
        elif origin is not None:
            agreement = compared((origin.name, "keras"), origin.run(real), reference.in_float32(model, real))
        if source is not None:
            values = (np.asarray(source.run(real), dtype=np.float64), reference.in_float32(model, real))
            found.append({"pairs": (compared((source.name, "keras"), *values),)})
        found.append(_compare_keras(model, graph, x, expected, seen))
    if simulator is not None:
        found.append(_compare_rtl(simulator, x, expected))
    cycles = found[-1].get("latency_cycles") if found else None
    found += [{"pairs": (compared_level(one, graph, x, expected),)} for one in further]
    pairs = tuple(pair for one in found for pair in one["pairs"])
    mismatches = sum(pair.mismatches for pair in pairs)
    on_time = cycles is None or cycles.measured in (None, cycles.claimed)
    return Verification(
        status="exact" if mismatches == 0 and on_time else "mismatch",
        samples=len(x),
        mismatches=mismatches,
        levels=tuple(dict.fromkeys(level for pair in pairs for level in pair.levels)),
        agreement=agreement,
        inputs=Inputs(real=n_real, extreme=len(x) - n_real, every=every, sought=len(sought)),
        overflows=tuple(seen),
        skipped=dict(skipped or {}),
        suggestion=_suggestion(pairs, cycles, origin),
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


def _compare_origin(origin: Origin, model: keras.Model, x: np.ndarray) -> Pair:
    """Compare an exact network with the model in float32; where that differs, with its exact values.

    Such a network is exact inside, and gives float32, so the exact values are rounded to that once.
    """
    levels, outputs = (origin.name, "keras"), origin.run(x)
    pair = compared(levels, outputs, reference.in_float32(model, x))
    if not pair.mismatches:
        return pair
    exact = reference.in_float64(model, x).outputs.astype(np.float32).astype(np.float64)
    return compared(levels, outputs, exact)


def _compare_keras(
    model: keras.Model, graph: AdderGraph, x: np.ndarray, expected: np.ndarray, seen: Sequence[Overflow]
) -> dict[str, Any]:
    """Compare in float32; where that differs from the graph, in float64, to tell rounding from error."""
    levels = ("keras", "adder_graph")
    pair = compared(levels, reference.in_float32(model, x), expected)
    if not pair.mismatches:
        return {"pairs": (pair,), "arithmetic": "float32", "float32_mismatches": 0}
    rounded, values = pair.mismatches, reference.in_float64(model, x)
    pair = compared(levels, values.outputs, expected)
    if pair.mismatches:
        layer = _first_diverging_layer(values.layers, graph.layer_outputs(x))
        reads = next((one for one in seen if one.layer == layer), None)
        facts = {} if reads is None else {"layer_format": reads.format, "layer_overflow": reads.share}
        pair = pair.model_copy(update={"first_diverging_layer": layer, **facts})
    return {"pairs": (pair,), "arithmetic": "float64", "float32_mismatches": rounded}


def _compare_rtl(simulator: Simulator, x: np.ndarray, expected: np.ndarray) -> dict[str, Any]:
    """Feed an input in every cycle; see what comes out, and when."""
    response, claimed = simulator.run(x), simulator.project.pipeline.latency_cycles
    measured = response.latency(expected)
    return {
        "pairs": (compared(("adder_graph", "rtl"), expected, response.after(claimed, len(x))),),
        "latency_cycles": Cycles(claimed=claimed, measured=measured),
        "ii_cycles": None if measured is None else 1,
    }


def compared(levels: tuple[str, str], a: np.ndarray, b: np.ndarray) -> Pair:
    """Compare what two levels put out, number by number.

    Args:
        levels: Their names.
        a: Outputs of the first, (n, n_out) float64.
        b: Outputs of the second, likewise.

    Raises:
        ShapeError: The shapes differ.
    """
    if a.shape != b.shape:
        raise ShapeError(f"level '{levels[1]}' gives outputs of shape {b.shape}, and '{levels[0]}' of {a.shape}")
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
        outputs=tuple(np.flatnonzero(wrong.any(axis=0))[:_SHOWN].tolist()),
    )


def compared_level(level: Level, graph: AdderGraph, x: np.ndarray, expected: np.ndarray) -> Pair:
    """Compare a further level with the adder graph; where they differ, seek the layer.

    Args:
        level: The level.
        graph: The adder graph.
        x: Inputs, (n, *input_shape).
        expected: Outputs of the graph for them, (n, n_out) float64.
    """
    outputs = level.run(x)
    pair = compared(("adder_graph", level.name), expected, outputs)
    if not pair.mismatches or not isinstance(level, LayeredLevel):
        return pair
    wrong = x[(outputs != expected).any(axis=1)][:_TRACED]
    try:
        where = level.first_difference(wrong, graph.layer_outputs(wrong))
    except ToolError as error:
        log.warning("which layer of '%s' differs first was not found: %s", level.name, error)
        return pair
    layer, layer_format = where or (None, None)
    return pair.model_copy(update={"first_diverging_layer": layer, "layer_format": layer_format})


def _suggestion(pairs: Sequence[Pair], cycles: Cycles | None, origin: Origin | None) -> str | None:
    """Say what to do about the first pair of levels that differ."""
    pair = next((pair for pair in pairs if pair.mismatches), None)
    if pair is None:
        late = cycles is not None and cycles.measured not in (None, cycles.claimed)
        return "the sources are not those that project.json describes: build the design again" if late else None
    if origin is not None and pair.levels[0] == origin.name:
        return (
            "the PyTorch network holds fixed-point numbers, and not those of the model: make its file again of what "
            "weft.to_torch makes of this model; if they still differ, report it with both files"
        )
    if pair.levels[1] == "keras":
        return (
            f"finalising changed what '{pair.levels[0]}' computes: calibrate its ranges on more data "
            "(weft.finalize(model, x)), and compare its float32 sums with those of the finalised model"
        )
    if pair.levels[0] == "keras":
        if pair.layer_overflow:
            return (
                f"{pair.layer_overflow:.2%} of the real inputs overflow what layer '{pair.first_diverging_layer}' "
                f"reads, {pair.layer_format}: give it more integer bits, or calibrate on data that hold such inputs"
            )
        return (
            "the model and the graph do not belong together, if one was changed after the build: build the design "
            "again; if they still differ, the compiler is wrong about this layer: report it with the model"
        )
    if pair.levels[1] == "rtl":
        return (
            "the sources are not those that were written, or a tool misread them: build the design again, look into "
            "verilator.log, and if they still differ report it with the firmware directory"
        )
    return f"'{pair.levels[1]}' is not made of this design, or its tool misread it: make it again from the design"


def _first_diverging_layer(keras_values: dict[str, np.ndarray], graph_values: dict[str, np.ndarray]) -> str | None:
    for name, values in keras_values.items():
        if name in graph_values and not np.array_equal(values, graph_values[name]):
            return name
    return None

"""The adder graph of a network: its weights as shifts and additions, exact to the bit, with costs and Verilog.

With `_tracing`, this is the one module that knows alkaid (LGPL-3.0-or-later, a dependency that is imported and never
copied). A graph is traced from a finalised Keras model, needs Keras no more once it is saved, and answers everything
that hardware asks: outputs, look-up tables, pipeline stages, flip-flops, Verilog or VHDL. Adders have two operands
unless `RtlConfig` asks for three: those pay only where Vivado maps them, and Yosys is what judges weft's designs.
"""

from __future__ import annotations

import gzip
import json
import math
import shutil
import tempfile
import traceback
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
from alkaid.codegen import RTLModel
from alkaid.trace import fixed_variable_array
from alkaid.trace.fixed_variable import FVariable
from alkaid.trace.ops import quantize
from alkaid.trace.passes import add_surrogate, canon, dead_code_elimin, fuse_ternary_adders, optimize
from alkaid.trace.pipeline import to_pipeline
from alkaid.types import CombLogic, JSONEncoder, QInterval

from weft import atomic
from weft._tracing import of_hgq, teach
from weft.config import RtlConfig, SolverConfig
from weft.errors import ConfigError, DataError, RunError, ShapeError, UnsupportedError
from weft.types import Quantity

if TYPE_CHECKING:
    import keras

SOURCE = f"alkaid {version('alkaid')}"
"""The source of every quantity that a graph gives."""

TOP = "model"
"""Name of the module on top; its ports are `clk` (not without a pipeline), `model_inp` and `model_out`."""

DELAY_UNITS_PER_NS = 1.0
"""How much of the compiler's delay fits into a nanosecond: one addition is about one unit, so a clock of 5 ns gets
stages of five additions. This is the convention of alkaid's authors for UltraScale+, a choice and not a
measurement."""

_INPUT, _CONSTANT, _CHOICE, _PRODUCT, _TABLE = -1, 5, 6, 7, 8
_WIDEST_PORT, _WIDEST_VALUE, _WIDEST_FACTOR = 52, 63, 16
_PIPELINED = RtlConfig()
_TRACER_ERRORS = (AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


# Corrections of alkaid 0.8.2; each has a test with the smallest network that comes out wrong without it.

# It takes "bit b of x * 2^s" for the top bit of x whenever b is the top bit of x, and then drops the shift s. Two of
# four trained jet taggers came out wrong by it, in a few of 10 000 events. Without this pass the graph is right, and as
# small: what the pass recognises is a wire.
canon.canonicalize_msb_wraps = lambda logic: logic

_quantize = FVariable.quantize


def _quantize_constants_exactly(
    self: FVariable, k: int, i: int, f: int, overflow_mode: str = "WRAP", round_mode: str = "TRN"
) -> FVariable:
    """Quantise; a constant in an unsigned format wraps at 2^i, where alkaid wraps it at 2^(i + 1)."""
    if self.low != self.high:
        return _quantize(self, k, i, f, overflow_mode, round_mode)
    value = quantize(np.array(float(self.low)), k, i, f, overflow_mode, round_mode)
    return FVariable.from_const(float(value), self.hwconf)


FVariable.quantize = _quantize_constants_exactly


MOST_TABLE_BITS = 18
"""A function of a wider number is refused: its table would be of no use in hardware, and fill this machine's memory."""

_make_table = fixed_variable_array.make_table


def _make_table_of_few_bits(function: Callable[[np.ndarray], np.ndarray], interval: QInterval) -> Any:
    low, high, step = interval
    bits = math.ceil(math.log2(round(abs(high - low) / step) + 1))
    if bits > MOST_TABLE_BITS:
        raise UnsupportedError(
            f"a function would be a table over numbers of {bits} bits, and {MOST_TABLE_BITS} is the most; give that "
            "layer an input quantiser, or fewer bits to what it reads"
        )
    return _make_table(function, interval)


fixed_variable_array.make_table = _make_table_of_few_bits


class Step(NamedTuple):
    """One operation of a graph on fixed-point numbers, in words; its result has the format KIF(k, i, f).

    Attributes:
        kind: `input` (number `data[0]`), `constant` (the code `data[0]`), `negative`, `add` and `subtract` (the second
            operand times 2^data[0]), `sum` (operands times +-2^shift; `data` is sign, shift in turn), `offset` (plus
            data[0] * 2^-data[1]), `relu`, `quantize` (the operand times 2^data[0], wrapped and truncated), `choose`
            (the third operand's top bit chooses the first, else the second times 2^data[0]), `multiply`, `table`
            (`data` are the codes of its results, from the operand's least value on), `not`, `any`, `all`, `and`, `or`,
            `xor` (the second operand times 2^data[0]).
        operands: Numbers of earlier steps.
        data: See `kind`.
        kif: Format of the result.
        least: The least code of the result.
    """

    kind: str
    operands: tuple[int, ...]
    data: tuple[int, ...]
    kif: tuple[int, int, int]
    least: int


_KINDS = {-2: "negative", -1: "input", 0: "add", 1: "subtract", 2: "relu", 3: "quantize", 4: "offset", 5: "constant",
          6: "choose", 7: "multiply", 8: "table", 11: "sum"}  # fmt: skip
_BITWISE = {9: ("not", "any", "all"), 10: ("and", "or", "xor")}


_exec_op = CombLogic.exec_op


def _greatest(self: FVariable, other: Any) -> Any:
    """Return the greater of two; alkaid asks the top bit of their difference, no sign if it is always or never < 0."""
    known = _order(self, other)
    return _max_of(self, other) if known is None else self if known > 0 else other


def _least(self: FVariable, other: Any) -> Any:
    """Return the lesser of two; for alkaid's way see `_greatest`."""
    known = _order(self, other)
    return _min_of(self, other) if known is None else other if known > 0 else self


def _order(a: FVariable, b: Any) -> int | None:
    """Return 1 if a >= b always, -1 if a <= b always, else None."""
    if not isinstance(b, FVariable):
        return None
    difference = a - b
    return 1 if difference.low >= 0 else -1 if difference.high <= 0 else None


def _exec_op_by_the_same_bit(self: CombLogic, op: Any, buf: Any, inp: Any) -> Any:
    """Compute one operation; a choice goes by the bit that it was written for, also where that is known in a new trace.

    alkaid traces its graphs anew and takes the top bit of what it then knows of a key, of fewer bits or without a sign.
    """
    if op.opcode == _CHOICE and isinstance(buf[op.addr[2]], FVariable):
        was, key = self.ops[op.addr[2]].qint, buf[op.addr[2]]
        if key.high < 0:
            return buf[op.addr[0]]
        first = 0.0 if was.min < 0 else 2.0 ** (was.kif.integers - 1)  # the bit is set below 0, or from here on
        if key.low >= 0 and (was.min < 0 or key.high < first):
            return buf[op.addr[1]] * 2.0 ** op.data[0]
    return _exec_op(self, op, buf, inp)


_max_of, _min_of = FVariable.max_of, FVariable.min_of
FVariable.max_of, FVariable.min_of = _greatest, _least
CombLogic.exec_op = _exec_op_by_the_same_bit


class Pipeline(NamedTuple):
    """A graph cut into register stages for one clock.

    Attributes:
        stages: Number of stages; input and output are registered too, so there are `stages + 1` ranks of registers.
        ff: Register bits of all ranks, a count.
        latency_cycles: Cycles from input register to output register, equal to `stages`. A value that is on the input
            pins before a clock edge is on the output pins after `latency_cycles + 1` edges. A combinational design has
            no stage and no register, and takes no cycle: its outputs follow its inputs.
        ii: Cycles between two inputs: always 1.
    """

    stages: int
    ff: int
    latency_cycles: int
    ii: int = 1


@dataclass(frozen=True, eq=False)
class AdderGraph:
    """A network as additions, shifts and tables on fixed-point numbers.

    Attributes:
        input_shape: Shape of one input, without the batch axis; ports number the features in C order.
        layers: Names of the layers whose outputs the graph can show, in order, and how many values each has.
        rtl: How it is cut into stages and written; costs are those of that.
    """

    input_shape: tuple[int, ...]
    layers: dict[str, int]
    _logic: CombLogic = field(repr=False)
    _probe: CombLogic = field(repr=False)
    rtl: RtlConfig = _PIPELINED

    @classmethod
    def from_model(cls, model: keras.Model, rtl: RtlConfig = _PIPELINED) -> Self:
        """Trace a finalised model.

        Args:
            model: A functional Keras model of HGQ2 layers with frozen ranges, one input and one output.
            rtl: How its sums become additions, and how the graph is cut into stages and written.

        Raises:
            UnsupportedError: The model holds something that has no exact fixed-point form; the message names the layer.
        """
        from alkaid.converter import trace_model
        from alkaid.trace import trace

        reason = objection(model)
        if reason is not None:
            raise UnsupportedError(f"cannot trace model '{model.name}' to an adder graph: {reason}")
        options = _solver_options(rtl.solver)
        teach(_leaves(model))
        try:
            try:
                traced = trace_model(model, solver_options=options, framework="keras", dump=True)
            except AssertionError:  # alkaid packs six one-bit inputs into a table, but not if one of them has a sign
                plain = {**options, "binary_lut": False}
                traced = trace_model(model, solver_options=plain, framework="keras", dump=True)
            inputs, outputs = np.ravel(traced["inputs"][0]), np.ravel(traced["final"][0])
            logic = trace(inputs, outputs)
            values = {layer.name: traced.get(f"/{layer.name}/final", ()) for layer in model.layers}
            taps = {name: np.ravel(value[0]) for name, value in values.items() if _is_fixed_point(value)}
            probe = trace(inputs, np.concatenate(list(taps.values())), optimize=False)
        except StopIteration as error:  # alkaid finds no variable among what a layer adds up
            raise UnsupportedError(
                f"cannot trace model '{model.name}' to an adder graph: all outputs of a layer are constant, since the "
                "network was pruned or quantised to nothing; choose a larger design, or compress less"
            ) from error
        except UnsupportedError as error:
            layer = _layer_of(error)
            if layer is not None:
                error.add_note(f"in {layer} of model '{model.name}'")
            raise
        except _TRACER_ERRORS as error:
            layers = ", ".join(f"{layer.name} ({type(layer).__name__})" for layer in model.layers)
            raise UnsupportedError(
                f"cannot trace model '{model.name}' to an adder graph: {type(error).__name__}: {error}. Its layers are "
                f"{layers}; use HGQ2 layers, whose first input quantiser wraps and rounds by TRN or RND, and give each "
                "table an output quantiser"
            ) from error
        graph = cls(
            tuple(model.inputs[0].shape[1:]), {name: value.size for name, value in taps.items()}, logic, probe, rtl
        )
        graph._check_widths()
        return graph

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read a graph that `save` wrote; Keras is not imported.

        Raises:
            RunError: The file is missing or damaged.
        """
        try:
            data = json.loads(gzip.decompress(Path(path).read_bytes()))
            extra = data["weft"]
            probe = CombLogic.from_dict(extra["probe"])
            rtl = RtlConfig.model_validate(extra.get("rtl", {}))
            return cls(tuple(extra["input_shape"]), dict(extra["layers"]), CombLogic.from_dict(data), probe, rtl)
        except (OSError, EOFError, zlib.error, ValueError, LookupError, AssertionError, TypeError) as error:
            raise RunError(f"cannot read the adder graph {path} ({error}); build the design again") from error

    def save(self, path: Path | str) -> None:
        """Write the graph as gzipped JSON, in alkaid's own format with weft's additions under the key `weft`."""
        extra = {
            "input_shape": self.input_shape,
            "layers": self.layers,
            "probe": _document(self._probe),
            "rtl": self.rtl.model_dump(mode="json"),
        }
        text = json.dumps({**_document(self._logic), "weft": extra}, cls=JSONEncoder, separators=(",", ":"))
        atomic.write_bytes(path, gzip.compress(text.encode(), mtime=0))

    @property
    def input_kif(self) -> np.ndarray:
        """Formats of the input port, shape (3, n_in): rows k, i, f. A feature that is not used has width 0.

        Where the first layer rounds, the port has one fractional bit more than the layer's quantiser: the design
        rounds.
        """
        return np.asarray(self._logic.inp_kifs, dtype=np.int64)

    @property
    def output_kif(self) -> np.ndarray:
        """Formats of the output port, shape (3, n_out): rows k, i, f."""
        return np.asarray(self._logic.out_kifs, dtype=np.int64)

    @property
    def is_constant(self) -> bool:
        """Whether no output depends on any input."""
        return not self.input_kif.sum(axis=0).any() or not self.output_kif.sum(axis=0).any()

    def written_as(self, rtl: RtlConfig) -> Self:
        """Return the graph as it is cut and written by other rules; its solver's options stay those that it has."""
        return replace(self, rtl=rtl.model_copy(update={"solver": self.rtl.solver}))

    @cached_property
    def _written(self) -> CombLogic:
        """The graph with the adders that are written."""
        if not self.rtl.ternary_adders:
            return self._logic
        return add_surrogate(dead_code_elimin(fuse_ternary_adders(self._logic)), _skip_op8_cost=True)

    def _cut(self, clock_period_ns: float) -> dict[str, float]:
        """Return how alkaid is to cut the graph: into a number of stages, or by the delay of one."""
        delay = _delay_per_stage(clock_period_ns)
        return {"latency_cutoff": delay} if self.rtl.stages is None else {"n_stages": self.rtl.stages}

    @property
    def lut(self) -> float:
        """Look-up tables by the compiler's own count."""
        return self._written.cost

    @property
    def table_lut(self) -> float:
        """Those of them that are tables and products of two variables."""
        return sum(op.cost for op in self._written.ops if op.opcode in (_PRODUCT, _TABLE))

    @property
    def delay_units(self) -> float:
        """Longest path from input to output, in the compiler's delay units."""
        return float(self._written.latency[1])

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Compute the outputs exactly as the hardware does.

        Args:
            x: Inputs, (n, *input_shape), finite. They are put on the input port's grid by dropping the bits below it,
                and wrap around beyond its range.

        Returns:
            Outputs (n, n_out), float64, exact.

        Raises:
            ShapeError: x has another shape.
            DataError: x holds NaN or infinity.
        """
        return self._logic.predict(self._on_port(x), n_threads=1)

    def steps(self) -> tuple[list[Step], list[tuple[int, int, bool]]]:
        """Return the graph's operations in order, and its outputs: (number of a step, shift to the left, negated)."""
        logic, found = self._logic, []
        for op in logic.ops:
            k, i, f = (int(part) for part in op.qint.kif)
            data = tuple(int(value) for value in op.data)
            kind = _KINDS.get(op.opcode) or _BITWISE[op.opcode][data[-1]]
            if kind == "table":
                values = logic.lookup_tables[data[0]].float_table
                data = tuple(int(code) for code in np.ldexp(np.asarray(values, dtype=np.float64), f))
            if kind == "constant":
                data = (round(math.ldexp(data[0] * op.qint.step, f)),)
            found.append(Step(kind, tuple(op.addr), data, (k, i, f), round(math.ldexp(op.qint.min, f))))
        return found, list(zip(logic.out_idxs, logic.out_shifts, map(bool, logic.out_negs), strict=True))

    def layer_outputs(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """Return what each layer of the traced model puts out, (n, size) float64, in the order of the layers."""
        values = self._probe.predict(self._on_port(x), n_threads=1)
        ends = np.cumsum(list(self.layers.values()))[:-1]
        return dict(zip(self.layers, np.split(values, ends, axis=1), strict=True))

    def layer_graphs(self) -> dict[str, Self]:
        """Return each layer as a graph of its own, from the values of the layers before it to its own.

        Layers without operations of their own are left out. The layers are cut before the whole is optimised, and end
        with their full sums, of which the next layer may read a few bits: together they cost more than the whole.
        """
        found: dict[str, Self] = {}
        known: set[int] = set()
        start = 0
        for name, size in self.layers.items():
            outputs = slice(start, start + size)
            start += size
            ends = set(self._probe.out_idxs[outputs])
            part = _part(self._probe, outputs, known)
            if part is not None:
                found[name] = replace(self, input_shape=(part.shape[0],), layers={}, _logic=part, _probe=part)
            known |= {end for end in ends if end >= 0}
        return found

    def pipelined(self, clock_period_ns: float) -> Pipeline:
        """Cut the graph into stages that fit a clock, by the compiler's delay model and not by timing analysis.

        Raises:
            ConfigError: The clock period is not positive.
        """
        if not self.rtl.pipeline:
            _delay_per_stage(clock_period_ns)
            return Pipeline(0, 0, 0)
        fsm = to_pipeline(self._written, **self._cut(clock_period_ns), verbose=False)
        stages = max(signal.schedule.bias for signal in fsm.out_signals) - 1
        return Pipeline(stages, sum(s.width for s in fsm.signals.values() if s.reg), stages)

    def cost(self, clock_period_ns: float) -> dict[str, Quantity]:
        """Return lut, ff, latency_cycles, latency_ns and ii_cycles of the pipelined design, all of stage `solver`."""
        pipeline = self.pipelined(clock_period_ns)

        def count(value: float, unit: str, **more: Any) -> Quantity:
            return Quantity(value=value, unit=unit, stage="solver", source=SOURCE, **more)

        cycles = pipeline.latency_cycles
        latency = Quantity(
            value=cycles * clock_period_ns,
            unit="ns",
            stage="solver",
            source=f"{SOURCE}, times the {clock_period_ns:g} ns clock asked for",
            reason="whether the part reaches this clock is not known before place and route",
        )
        if not self.rtl.pipeline:
            latency = Quantity(
                value=self.delay_units / DELAY_UNITS_PER_NS,
                unit="ns",
                stage="solver",
                source=SOURCE,
                reason=f"longest path, {DELAY_UNITS_PER_NS:g} of the compiler's delay units a nanosecond by choice; "
                "a combinational design has no clock, and its delay is not known before place and route",
            )
        return {
            "lut": count(self.lut, "count"),
            "ff": count(pipeline.ff, "count"),
            "latency_cycles": count(
                cycles,
                "cycles",
                reason="from input register to output register" if self.rtl.pipeline else "combinational: no register",
            ),
            "latency_ns": latency,
            "ii_cycles": count(pipeline.ii, "cycles"),
        }

    def write(self, directory: Path | str, part: str, clock_period_ns: float) -> Pipeline:
        """Write the project of the design as `rtl` says, in place of what `directory` held.

        The project is alkaid's: Verilog or VHDL under `src/`, its library modules under `src/static/`, and scripts for
        Vivado and Quartus.

        Raises:
            UnsupportedError: Every output is constant, so that there is no logic to write.
            RunError: `directory` holds something else than a project.
        """
        if self.is_constant:
            raise UnsupportedError(
                "cannot write Verilog or VHDL: no output depends on any input, since the network was pruned or "
                "quantised to nothing; choose a larger design, or compress less"
            )
        directory = Path(directory)
        project_is_there = any((directory / "src" / f"{TOP}.{end}").exists() for end in ("v", "vhd"))
        if directory.exists() and any(directory.iterdir()) and not project_is_there:
            raise RunError(
                f"will not write an RTL project over {directory}, which holds other files; name another directory"
            )
        directory.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{directory.name}.", dir=directory.parent) as scratch:
            project = Path(scratch) / "project"
            RTLModel(
                self._written,
                project,
                TOP,
                flavor=self.rtl.language,
                **(self._cut(clock_period_ns) if self.rtl.pipeline else {}),
                print_latency=False,
                part_name=part,
                clock_period=clock_period_ns,
                ternary_fuse=False,  # `_written` has them, where they are wanted
            ).write(no_shreg=not self.rtl.shift_registers)
            if directory.exists():
                shutil.rmtree(directory)
            project.rename(directory)
        return self.pipelined(clock_period_ns)

    def _on_port(self, x: np.ndarray) -> np.ndarray:
        x = np.asarray(x)
        if x.ndim == 0 or x.shape[1:] != self.input_shape:
            raise ShapeError(f"the adder graph takes inputs of shape (n, {_spell(self.input_shape)}); got {x.shape}")
        kif = self.input_kif
        return from_codes(to_codes(x.reshape(len(x), math.prod(self.input_shape)), kif), kif)

    def _check_widths(self) -> None:
        widest_port = max(int(self.input_kif.sum(axis=0).max()), int(self.output_kif.sum(axis=0).max()))
        widest = max(sum(op.qint.kif) for op in (*self._logic.ops, *self._probe.ops))
        if widest_port > _WIDEST_PORT or widest > _WIDEST_VALUE:
            raise UnsupportedError(
                f"the adder graph needs values of {widest} bits and ports of {widest_port} bits; exact checks reach "
                f"{_WIDEST_VALUE} and {_WIDEST_PORT} bits: use fewer bits for weights or activations"
            )


def objection(model: keras.Model) -> str | None:
    """Return why a model has no exact adder graph, as far as that shows without tracing it, or None."""
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        return f"it has {len(model.inputs)} inputs and {len(model.outputs)} outputs; concatenate them into one each"
    shape = tuple(model.inputs[0].shape[1:])
    if None in shape:
        return f"it takes inputs of shape ({_spell(shape)}), and hardware needs a fixed one"
    for layer in _leaves(model):
        if layer.weights and of_hgq(type(layer)) is None:
            return (
                f"layer '{layer.name}' ({type(layer).__name__}) has float weights; compress the model with recipe hgq "
                "or fixed, or use the layer's HGQ2 counterpart"
            )
        for factor in _factors(layer):
            if _significant_bits(factor) > _WIDEST_FACTOR:
                return (
                    f"layer '{layer.name}' ({type(layer).__name__}) multiplies by {factor:.6g}, a number of more than "
                    f"{_WIDEST_FACTOR} bits, where Keras rounds and hardware would not; take a power of two, and leave "
                    "the rest of the scale to the weights of the next layer"
                )
    return None


def _factors(layer: keras.Layer) -> Iterator[float]:
    """Yield the constants that a layer without weights multiplies by."""
    kind = type(layer).__name__
    if kind == "Rescaling":
        yield from map(float, np.ravel(layer.scale))
    elif "GlobalAveragePooling" in kind:
        shape = layer._inbound_nodes[0].input_tensors[0].shape
        yield 1 / math.prod(shape[2:] if layer.data_format == "channels_first" else shape[1:-1])
    elif "AveragePooling" in kind:
        yield 1 / math.prod(np.ravel(layer.pool_size).tolist())


def _significant_bits(value: float) -> int:
    """Return how many bits a number has from its highest to its lowest one."""
    numerator = abs(value.as_integer_ratio()[0])
    return (numerator // (numerator & -numerator)).bit_length() if numerator else 0


def _leaves(model: keras.Model) -> Iterator[keras.Layer]:
    """Yield the layers of a model and of the models nested in it."""
    for layer in model.layers:
        yield from _leaves(layer) if hasattr(layer, "layers") else (layer,)


def to_codes(x: np.ndarray, kif: np.ndarray) -> np.ndarray:
    """Return the integers that fixed-point ports carry for real values: bits below the grid dropped, overflow wrapped.

    Args:
        x: Real values, (n, m), finite and of any size; the result is exact for each of them.
        kif: Formats, (3, m).

    Returns:
        Codes (n, m), int64: the value times 2^f, negative where the sign bit is set.

    Raises:
        DataError: x holds NaN or infinity.

    Example:
        >>> to_codes(np.array([[1.3, 5.0]]), np.array([[1, 1], [2, 2], [1, 1]]))
        array([[ 2, -6]])
    """
    x = np.asarray(x, dtype=np.float64)
    if not np.isfinite(x).all():
        row, column = np.argwhere(~np.isfinite(x))[0]
        raise DataError(
            f"input {row} holds {x[row, column]} at feature {column}; hardware has no code for it: clean the data"
        )
    k, i, f = (np.asarray(row, dtype=np.int64) for row in kif)
    width = k + i + f
    remainder = np.fmod(x, np.ldexp(1.0, k + i))
    codes = np.floor(np.ldexp(remainder, f)).astype(np.int64) & ((1 << width) - 1)
    return codes - (((codes >> np.maximum(width - 1, 0)) & k) << width)


def from_codes(codes: np.ndarray, kif: np.ndarray) -> np.ndarray:
    """Return the real values of port codes, (n, m) float64: the inverse of `to_codes` on the grid."""
    return np.ldexp(np.asarray(codes, dtype=np.float64), -np.asarray(kif[2], dtype=np.int64))


def _document(logic: CombLogic) -> dict[str, Any]:
    from alkaid.types import ALIR_SPEC_VERSION

    return {"model": logic, "meta": "ALIRModel", "spec_version": ALIR_SPEC_VERSION}


def _part(logic: CombLogic, outputs: slice, known: set[int]) -> CombLogic | None:
    """Return the operations between known values and some outputs of a graph, optimised; None if there are none."""
    ends = logic.out_idxs[outputs]
    needed: set[int] = set()
    stack = [end for end in ends if end >= 0]
    while stack:
        number = stack.pop()
        if number not in needed:
            needed.add(number)
            stack += [] if number in known else logic.ops[number].input_ids
    order, ops, place = sorted(needed), [], {}
    n_in = 0
    for number in order:
        op = logic.ops[number]
        if op.opcode == _INPUT or (number in known and op.opcode != _CONSTANT):
            op = op._replace(addr=(), opcode=_INPUT, data=(n_in,))
            n_in += 1
        place[number] = len(ops)
        ops.append(op._replace(addr=tuple(place[one] for one in op.addr), latency=0.0))
    if all(op.opcode in (_INPUT, _CONSTANT) for op in ops):
        return None
    cut = logic._replace(
        shape=(n_in, len(ends)),
        inp_shifts=[0] * n_in,
        out_idxs=[place[end] if end >= 0 else end for end in ends],
        out_shifts=logic.out_shifts[outputs],
        out_negs=logic.out_negs[outputs],
        ops=ops,
    )
    return optimize(cut)


def _solver_options(solver: SolverConfig) -> dict[str, Any]:
    """Return alkaid's options; it takes -1 for a depth without limit, and -2 for the depth that it likes best."""
    split: dict[int | str, tuple[int, bool]] = {"best": (-2, True), "none": (-1, False)}
    depth, try_all = split.get(solver.decompose, (solver.decompose, False))
    return {
        "method0": "dummy" if solver.sharing == "none" else solver.sharing,
        "hard_dc": -1 if solver.extra_depth is None else solver.extra_depth,
        "decompose_dc": depth,
        "search_all_decompose_dc": try_all,
    }


def _delay_per_stage(clock_period_ns: float) -> float:
    if not (clock_period_ns > 0 and math.isfinite(clock_period_ns)):
        raise ConfigError(f"clock_period_ns must be positive; got {clock_period_ns}")
    return clock_period_ns * DELAY_UNITS_PER_NS


def _layer_of(error: Exception) -> str | None:
    """Return the layer that alkaid traced when an error was raised, by the name that it has in the model."""
    owners = [frame.f_locals.get("self") for frame, _ in traceback.walk_tb(error.__traceback__)]
    traced: list[Any] = [getattr(owner, "op", None) for owner in owners]
    layers = [f"layer '{one.name}' ({type(one).__name__})" for one in traced if hasattr(one, "name")]
    return layers[-1] if layers else None


def _spell(shape: tuple[int, ...]) -> str:
    return ", ".join(map(str, shape))


def _is_fixed_point(value: Any) -> bool:
    """Whether a traced layer output has a format: tables wait for a quantiser, and raw inputs for the first layer."""
    from alkaid.trace import FVArray
    from alkaid.trace.fixed_variable import FVariableInput
    from alkaid.trace.fixed_variable_array import RetardedFVArray

    return (
        len(value) == 1
        and isinstance(value[0], FVArray)
        and not isinstance(value[0], RetardedFVArray)
        and not any(isinstance(v, FVariableInput) for v in np.ravel(np.asarray(value[0])))
    )

"""Export of a finalised model to ONNX: a file that equals the model exactly, or none.

Each quantiser becomes that of the format. ONNX' quantisers saturate; where a model wraps around, the file has
operations that do so too, unless interval arithmetic proves that no value leaves its range there. The file is executed
before it gets its name, and a difference in one output is an error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from weft import atomic
from weft.errors import ConfigError, UnsupportedError
from weft.onnx.execute import need

if TYPE_CHECKING:
    import keras

    from weft.onnx.graph import Graph
    from weft.onnx.number import Number
    from weft.onnx.ranges import Interval
    from weft.quantize.graph import Call

FORMATS = ("qonnx", "onnx-qdq")
OVERFLOWS = ("wrap", "refuse", "saturate")
Overflow = Literal["wrap", "refuse", "saturate"]


@dataclass(frozen=True)
class Exported:
    """A file that was written.

    Attributes:
        path: The file.
        format: One of `FORMATS`.
        samples: Inputs on which it was found equal to the model.
        wraps: Layers whose wrap-around was written as operations.
        unproven: Layers that saturate in the file and wrap in the model, where no more than the given rows show that
            nothing overflows.
    """

    path: Path
    format: str
    samples: int
    wraps: tuple[str, ...]
    unproven: tuple[str, ...]


@dataclass(frozen=True)
class _Value:
    """A tensor of the graph; `source` is the number of the input that it is, or -1."""

    name: str
    range: Interval
    source: int = -1


def export(
    model: keras.Model, path: Path | str, *, format: str, x: Any = None, overflow: Overflow = "wrap"
) -> Exported:
    """Write a finalised model as an ONNX file that equals it, in place of a file that is there.

    Inputs and outputs have Keras' order of axes. A QONNX file has a batch of 1, the other one of any size.

    Args:
        model: A finalised model, of any number of inputs and outputs.
        path: Where the file goes.
        format: `qonnx`, or `onnx-qdq`.
        x: Real rows to check it on too, (n, ...), or a list of arrays, one for each input.
        overflow: What to do where a model wraps around: `wrap` writes operations that do so, and the file equals the
            model on all inputs; `refuse` writes quantisers alone, is an error where one may overflow for inputs within
            the format that they are read in, and the file equals the model on those; `saturate` writes quantisers
            alone, and the check is on `x` and nothing else.

    Raises:
        ConfigError: The format or `overflow` is not known, or `saturate` has no rows.
        UnsupportedError: The model holds something that the format cannot represent exactly.
        VerificationError: The file does not compute what the model does.
        ToolNotFoundError: A library is missing.
    """
    if format not in FORMATS:
        raise ConfigError(f"--format takes {', '.join(FORMATS)}; got '{format}'")
    if overflow not in OVERFLOWS:
        raise ConfigError(f"--overflow takes {', '.join(OVERFLOWS)}; got '{overflow}'")
    if overflow == "saturate" and x is None:
        raise ConfigError(
            "--overflow saturate holds for the inputs that were tried and no others; give real ones with --data"
        )
    need("onnx", "onnxruntime", *(["qonnx"] if format == "qonnx" else []))
    from keras import tree

    from weft.onnx import check
    from weft.quantize.given import checked_rows

    writing, file = _written(model, format, overflow)
    shapes = [tuple(tensor.shape[1:]) for tensor in model.inputs]
    real = [] if x is None else tree.flatten(checked_rows(model, x, "the check"))
    made = check.samples(writing.ports, shapes, beyond=overflow == "wrap")
    rows = [one[:1024] for one in real] if overflow == "saturate" else made
    if real and overflow != "saturate":
        rows = [np.concatenate([one[:1024], other]) for one, other in zip(real, made, strict=True)]
    n = check.compare(model, file, rows, f"the {format} file of '{model.name}'")
    path = Path(path)
    atomic.write_bytes(path, file.SerializeToString())
    return Exported(path, format, n, tuple(writing.wraps), tuple(writing.unproven))


def _written(model: keras.Model, format: str, overflow: Overflow) -> tuple[_Writing, Any]:
    """Write the graph by the oldest of the format's opsets that has what the model needs."""
    from weft.onnx import qdq, qonnx

    dialect: ModuleType = {"qonnx": qonnx, "onnx-qdq": qdq}[format]
    *older, newest = dialect.OPSETS
    for opset in older:
        try:
            writing = _Writing(model, dialect, opset, overflow)
            return writing, writing.file()
        except UnsupportedError:  # the newest may have it, or says what it lacks
            continue
    writing = _Writing(model, dialect, newest, overflow)
    return writing, writing.file()


class _Writing:
    """One walk through a model that writes its graph.

    Attributes:
        ports: The format that each input is read in; None where none reads it as it is.
        wraps, unproven: See `Exported`.
    """

    def __init__(self, model: keras.Model, dialect: ModuleType, opset: int, overflow: Overflow) -> None:
        from weft.onnx.graph import Graph

        self._model, self._dialect, self._overflow = model, dialect, overflow
        self._graph: Graph = Graph(opset)
        self.ports: list[Number | None] = [None] * len(model.inputs)
        self.wraps: list[str] = []
        self.unproven: list[str] = []

    def file(self) -> Any:
        """Return the ONNX model."""
        from weft.onnx.ranges import anything
        from weft.quantize.graph import flow

        model, graph = self._model, self._graph
        for tensor in model.inputs:
            if None in tensor.shape[1:]:
                raise UnsupportedError(
                    f"input '{tensor.name}' of '{model.name}' has an axis of any size, {tuple(tensor.shape[1:])}; "
                    "build the model for fixed ones"
                )
        names = [graph.name(tensor.name) for tensor in model.inputs]
        values = [
            _Value(name, anything((1, *tensor.shape[1:])), i)
            for i, (name, tensor) in enumerate(zip(names, model.inputs, strict=True))
        ]
        ends = flow(model, values, self._visit)
        outputs = [graph.add("Identity", [end.name], f"output_{i}") for i, end in enumerate(ends)]
        batch = self._dialect.BATCH
        file = graph.model(
            {name: (batch, *tensor.shape[1:]) for name, tensor in zip(names, model.inputs, strict=True)},
            {name: (batch, *tensor.shape[1:]) for name, tensor in zip(outputs, model.outputs, strict=True)},
            self._notes(),
            model.name,
        )
        return self._dialect.completed(file)

    def _notes(self) -> Mapping[str, str]:
        said = {
            "wrap": "equals its Keras model on every input",
            "refuse": "equals its Keras model on every input within the format of the input quantisers",
            "saturate": "saturates where its Keras model wraps around",
        }
        return {"weft.equality": said[self._overflow]}

    def _visit(self, call: Call, values: list[_Value]) -> _Value:
        from weft.onnx import layers, table
        from weft.onnx.layers import refusal
        from weft.onnx.ranges import Interval, through
        from weft.quantize.operations import name_of

        layer = call.operation
        read, number = list(values), None
        for i, (value, quantizer) in enumerate(zip(values, self._quantizers(call), strict=True)):
            if quantizer is not None:
                read[i], number = self._quantized(value, quantizer, call)
        if name_of(layer) == "Quantizer":
            return read[0]
        if name_of(layer) == "AffinedUnaryFunctionLUT":
            raise refusal(call, "use QUnaryFunctionLUT")
        if name_of(layer) == "UnaryFunctionLUT":
            if number is None:
                raise refusal(call, "give it an input quantiser (enable_iq=True)")
            looked_up = table.table_of(call, number)
            name = table.write(self._graph, read[0].name, number, looked_up, call.place)
            shape = (1, *call.outputs[0].shape[1:])
            return _Value(name, Interval(np.full(shape, looked_up.min()), np.full(shape, looked_up.max())))
        name = layers.write(self._graph, call, [one.name for one in read], self._dialect.weights)
        made = _Value(name, through(call, [one.range for one in read]))
        if getattr(layer, "enable_oq", False):
            made, _ = self._quantized(made, layer.oq, call)
        return made

    @staticmethod
    def _quantizers(call: Call) -> Sequence[Any]:
        """Return the quantiser of each tensor that a call reads, or None."""
        from weft.quantize.operations import name_of

        layer, n = call.operation, len(call.inputs)
        if name_of(layer) == "Quantizer":
            return [layer]
        if not getattr(layer, "enable_iq", False) or not hasattr(layer, "_iq"):
            return [None] * n
        return list(layer.iq) if hasattr(layer.iq, "quantizers") else [layer.iq]

    def _quantized(self, value: _Value, quantizer: Any, call: Call) -> tuple[_Value, Number]:
        from weft.onnx import ranges
        from weft.onnx.number import number_of

        number = number_of(quantizer, value.range.low.ndim, call.place)
        if value.source >= 0 and self.ports[value.source] is None:
            self.ports[value.source] = number
        wraps = number.overflow_mode == "WRAP" and not ranges.fits(number, value.range)
        if wraps and self._overflow != "wrap":
            unknown = bool(np.isinf(value.range.low).any() or np.isinf(value.range.high).any())
            if self._overflow == "refuse" and not unknown:
                low, high = float(value.range.low.min()), float(value.range.high.max())
                raise UnsupportedError(
                    f"layer '{call.place}' wraps values around in {number}, and they may lie in [{low:g}, {high:g}], "
                    "where ONNX' quantisers saturate; give it more integer bits, export with --overflow wrap, which "
                    "writes the wrap-around as operations, or with --overflow saturate and --data"
                )
            if self._overflow == "saturate":
                self.unproven.append(call.place)
            wraps = False
        if wraps:
            self.wraps.append(call.place)
        name = self._dialect.quantize(self._graph, value.name, number, call.place, wraps=wraps)
        return _Value(name, ranges.quantized(number, value.range, wraps=wraps)), number

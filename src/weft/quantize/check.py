"""Find what is not quantised on the way through a model, and put quantisers there.

A value is quantised where it comes out of a quantiser; exact where its format follows from those of quantised values,
as that of a sum of products does; and float otherwise: the network's input, and what float layers and tables without a
quantiser give. Sums and choices need exact operands, products and tables quantised ones, since a multiplier or a table
grows with the width of what it reads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import keras
from hgq.quantizer import Quantizer

from weft.config.numbers import FixedNumbers, HgqNumbers, LayerSettings
from weft.quantize.counterparts import Kit, Read, copied
from weft.quantize.graph import Call, flow, graph_of, rebuild
from weft.quantize.operations import PIECEWISE, function_of, is_nonnegative, is_quantized, kind_of, name_of
from weft.quantize.selection import settings_of

FLOAT, EXACT, QUANTIZED = 0, 1, 2
_WORDS = ("in float", "not quantised")


@dataclass(frozen=True)
class Finding:
    """Something that is not quantised.

    Attributes:
        place: The layer or operation, with the names of the models around it; the output's name for an output.
        kind: `layer` if it computes in float itself, `input` if it reads something that is not quantised, `output` if
            the model gives out something that is in float.
        message: What was found, and what to do.
    """

    place: str
    kind: Literal["layer", "input", "output"]
    message: str


def check(model: keras.Model) -> list[Finding]:
    """List what is not quantised in a model, in the order of its layers; nothing if all of it is fixed point.

    Raises:
        UnsupportedError: The model's graph is not known.
    """
    return _Examination(model).findings


def insert_quantizers(
    model: keras.Model, numbers: FixedNumbers | HgqNumbers, layers: Mapping[str, LayerSettings] | None = None
) -> keras.Model:
    """Return a copy of a model with the quantisers that `check` finds missing; float layers are left to `convert`.

    Args:
        model: A built model; it is not changed.
        numbers: How the values are represented.
        layers: What single layers do differently, by name or pattern; their `input` counts for what they read.
    """
    examination, made, used = _Examination(model), [], {layer.name for layer in model._flatten_layers()}

    def copy(call: Call) -> Sequence[Any]:
        made.append(copied(call.operation))
        return made[-1].steps

    def quantizer(call: Call | None, tensor: Any) -> Quantizer | None:
        read = examination.missing.get((None if call is None else id(call.node), id(tensor)))
        if read is None:
            return None
        place = f"{tensor._keras_history.operation.name}_output" if call is None else call.place
        settings = settings_of(layers or {}, place)
        name = place if call is None else f"{call.operation.name}_input"
        while name in used:
            name += "_"
        used.add(name)
        return Quantizer(Kit(numbers, settings, reads=(read,)).input(), name=name)

    new = rebuild(model, copy, quantizer)
    for one in made:
        one.copy()
    return new


class _Examination:
    """One walk through a model: what was found, and which tensors lack a quantiser before which call."""

    def __init__(self, model: keras.Model) -> None:
        self.findings: list[Finding] = []
        self.missing: dict[tuple[int | None, int], Read] = {}
        graph = graph_of(model)
        ends = flow(model, [_Value(FLOAT, first=True, signed=True) for _ in graph.inputs], self._visit)
        for tensor, value in zip(graph.outputs, ends, strict=True):
            if value.state == FLOAT:
                name = tensor._keras_history.operation.name
                self._add(name, "output", "the model gives it out in float; quantise the output of that layer")
                self.missing[None, id(tensor)] = Read(tensor.shape, value.first, value.signed)

    def _visit(self, call: Call, values: list[_Value]) -> _Value:
        operation = call.operation
        kind, signed = kind_of(operation), not is_nonnegative(operation, [not value.signed for value in values])
        least = min((value.state for value in values), default=FLOAT)
        if kind == "moves":
            if len(values) > 1 or name_of(operation).startswith("ZeroPadding"):
                joined = [replace(value, state=value.state if value.table else QUANTIZED) for value in values]
                self._need(call, joined, EXACT)  # what was looked up has no format that others could be put beside
                values = [replace(value, state=QUANTIZED, table=False) if value.table else value for value in values]
            least = min(value.state for value in values)
            table = any(value.table for value in values)
            return _Value(least, any(value.first for value in values), signed, table)
        if is_quantized(operation):
            state = self._quantized(call, values)
            return _Value(state, first=False, signed=signed, table=state == FLOAT)
        if kind in ("adds", "selects", "multiplies"):
            products = kind == "multiplies" and len(values) > 1
            self._need(call, values, QUANTIZED if products else EXACT)
            return _Value(QUANTIZED if kind == "selects" and least == QUANTIZED else EXACT, first=False, signed=signed)
        if kind == "function" and function_of(operation) not in ("softmax", "log_softmax", "prelu"):
            self._need(call, values, QUANTIZED)  # a table, whose values the next quantiser rounds
        elif kind == "linear":
            self._add(call.place, "layer", f"{name_of(operation)} computes with float weights; use weft's convert")
        else:
            self._add(call.place, "layer", f"{name_of(operation)} computes in float; use weft's convert")
        return _Value(FLOAT, first=False, signed=signed, table=kind == "function")

    def _quantized(self, call: Call, values: list[_Value]) -> int:
        """Return the state of what a layer of HGQ2 gives."""
        layer, kind = call.operation, kind_of(call.operation)
        quantizers = [one for one in layer._flatten_layers() if isinstance(one, Quantizer)]
        if any(one.q_type == "dummy" for one in quantizers):
            self._add(call.place, "layer", "its quantisers change nothing, as those of a float network; convert that")
            return FLOAT
        if kind == "quantizer":
            return QUANTIZED
        if not getattr(layer, "enable_iq", False):
            steep = kind in ("linear", "multiplies", "function") and name_of(layer) != "Softmax"
            self._need(call, values, QUANTIZED if steep else EXACT)  # softmax has a quantiser before its table
        if getattr(layer, "enable_oq", False) or getattr(layer, "quantizes_output", False):
            return QUANTIZED
        looked_up = function_of(layer) not in PIECEWISE and name_of(layer) not in ("GRU", "Softmax")
        return FLOAT if looked_up else EXACT

    def _need(self, call: Call, values: list[_Value], state: int) -> None:
        for i, (tensor, value) in enumerate(zip(call.inputs, values, strict=True)):
            if value.state < state:
                what = f"{name_of(call.operation)} reads its operand {i} {_WORDS[value.state]}"
                self._add(call.place, "input", f"{what}; put a quantiser before it (weft.insert_quantizers does)")
                self.missing[id(call.node), id(tensor)] = Read(tensor.shape, value.first, value.signed)

    def _add(self, place: str, kind: Any, message: str) -> None:
        finding = Finding(place, kind, message)
        if finding not in self.findings:
            self.findings.append(finding)


@dataclass(frozen=True)
class _Value:
    state: int
    first: bool
    signed: bool
    table: bool = False

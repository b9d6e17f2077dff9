"""What a model holds, for replacing its layers: each operation, what its calls read, and which two become one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from weft.quantize.counterparts import Read, Rule, can_fuse, rule_of
from weft.quantize.graph import Call, calls, flow, graph_of, graphs
from weft.quantize.operations import (
    PIECEWISE,
    function_of,
    is_keras,
    is_nonnegative,
    is_pure,
    is_quantized,
    kind_of,
    name_of,
)
from weft.quantize.selection import matches


@dataclass
class Use:
    """An operation of the model, and all that is known of its calls.

    Attributes:
        place: Its name behind those of the models around it, at its first call.
        operation: The layer or pure operation.
        kept: Whether it was asked for that it stays in float.
        rule: How it is replaced, if it can be.
        calls: All calls of it; those in a nested model count each time that the model is called.
        reads: What is known of the tensors that each call reads.
        fused: The batch normalisation that becomes one with this layer.
        is_fused: Whether this is such a batch normalisation.
    """

    place: str
    operation: Any
    kept: bool
    rule: Rule | None
    calls: list[Call] = field(default_factory=list)
    reads: list[tuple[Read, ...]] = field(default_factory=list)
    fused: Any = None
    is_fused: bool = False

    @property
    def read(self) -> tuple[Read, ...]:
        """What it reads in any of its calls, one entry for each tensor."""
        alike = len({len(one) for one in self.reads}) == 1
        columns = zip(*self.reads, strict=True) if alike else [[read for one in self.reads for read in one]]
        return tuple(
            Read(column[0].shape, any(r.first for r in column), any(r.signed for r in column)) for column in columns
        )

    @property
    def replaced(self) -> bool:
        """Whether a quantised layer takes its place."""
        return self.rule is not None and not (self.kept or self.is_fused or is_quantized(self.operation))

    @property
    def parts(self) -> set[str]:
        """The settings that mean something for it, with the function that it ends with."""
        if self.rule is None or self.kept or self.is_fused:
            return set()
        if is_quantized(self.operation):
            return {"prune"} & set(self.rule.parts)
        function, parts = function_of(self.operation), set(self.rule.parts)
        if function != "relu":
            parts.discard("multiplier")
        if function not in ("tanh", "sigmoid"):
            parts.discard("hard")
        if function in PIECEWISE and name_of(self.operation) not in ("MultiHeadAttention", "SimpleRNN", "GRU"):
            parts.discard("table")
        return parts

    @property
    def prunable(self) -> bool:
        """Whether it has kernels that a method could prune."""
        return self.rule is not None and "prune" in self.rule.parts and not self.kept


class Survey:
    """The operations of a model, with what they read.

    Attributes:
        uses: The operations by identity.
        raw: What nothing has quantised yet where an operation without a quantiser reads it, by call and tensor.
        ends: Outputs of the model that hold its inputs as they came, by tensor.

    Args:
        model: The model.
        fuse_batch_norm: Whether to look for batch normalisations that become one with the layer before.
        keep: Names, places and patterns of operations that stay in float.

    Raises:
        UnsupportedError: The model's graph is not known.
    """

    def __init__(self, model: Any, fuse_batch_norm: bool = True, keep: Sequence[str] = ()) -> None:
        self.uses: dict[int, Use] = {}
        self.raw: dict[tuple[int, int], Read] = {}
        self._keep = keep
        start = [_Fact(first=True, raw=True, signed=True) for _ in graph_of(model).inputs]
        ends = zip(graph_of(model).outputs, flow(model, start, self._visit), strict=True)
        self.ends = {
            id(tensor): Read(tensor.shape, True, fact.signed) for tensor, fact in ends if fact.raw and fact.first
        }
        if fuse_batch_norm:
            for place, graph in graphs(model):
                self._fuse(place, graph)

    def _visit(self, call: Call, facts: list[_Fact]) -> _Fact:
        operation = call.operation
        use = self.uses.get(id(operation))
        if use is None:
            kept = any(matches(pattern, call.place) for pattern in self._keep)
            use = self.uses[id(operation)] = Use(call.place, operation, kept, rule_of(operation))
        use.calls.append(call)
        use.reads.append(tuple(Read(t.shape, f.first, f.signed) for t, f in zip(call.inputs, facts, strict=True)))
        moves = kind_of(operation) == "moves"
        signed = not is_nonnegative(operation, [not fact.signed for fact in facts])
        if moves and not use.kept:
            return _Fact(any(f.first for f in facts), any(f.raw for f in facts), signed)
        if not use.kept and _needs_quantizer(operation):
            for tensor, fact in zip(call.inputs, facts, strict=True):
                if fact.raw:
                    self.raw[id(call.node), id(tensor)] = Read(tensor.shape, fact.first, fact.signed)
        return _Fact(first=False, raw=use.kept, signed=signed)

    def _fuse(self, place: str, graph: Any) -> None:
        readers: dict[int, list[Call]] = {}
        for call in calls(graph, place):
            for tensor in call.inputs:
                readers.setdefault(id(tensor), []).append(call)
        ends = {id(tensor) for tensor in graph_of(graph).outputs}
        for call in calls(graph, place):
            use = self.uses.get(id(call.operation))
            if use is None or use.rule is None or use.rule.fuse is None or not self._is_single(use):
                continue
            found = readers.get(id(call.outputs[0]), [])
            norm = self.uses.get(id(found[0].operation)) if len(found) == 1 else None
            if norm is None or id(call.outputs[0]) in ends or not self._is_single(norm):
                continue
            if can_fuse(use.operation, found[0]):
                use.fused, norm.is_fused = norm.operation, True

    @staticmethod
    def _is_single(use: Use) -> bool:
        return not use.kept and is_keras(use.operation) and len({id(call.node) for call in use.calls}) == 1


def _needs_quantizer(operation: Any) -> bool:
    """Whether what takes the place of an operation does not quantise what it reads."""
    kind, function = kind_of(operation), function_of(operation)
    if kind == "function":
        return function == "softmax"
    return is_pure(operation) or (kind == "selects" and function != "linear")


@dataclass(frozen=True)
class _Fact:
    """What is known of a tensor: whether it is the network's input, is not quantised yet, may be negative."""

    first: bool
    raw: bool
    signed: bool

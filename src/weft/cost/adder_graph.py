"""LUTs, flip-flops and latency from the adder graph of the actual weights, pipelined for the target's clock.

The numbers are the compiler's own counts; nothing is fitted but their interval, which is that of what synthesis made of
the designs of our corpus (`weft.cost.learned.Spread`). The solver takes its time, so an estimate is kept under a digest
of kernels, formats, clock and how the graph is made (`weft.cost._cache`).
"""

from __future__ import annotations

from collections.abc import Sequence

from weft.cost import _cache
from weft.cost._base import CostInput, Target, register, require
from weft.cost.readout import difficulty, operations, unlike
from weft.types import Estimate, Quantity

TABLE_EXCESS = 2.6
"""The compiler's count of tables and of products of two variables was up to this many times that of Yosys."""


@register
class AdderGraphCost:
    """The compiler's own count for the graph that becomes firmware."""

    name = "adder_graph"
    provides = ("lut", "ff", "latency_cycles", "latency_ns", "ii_cycles")

    def supports(self, design: CostInput) -> str | None:
        from weft.adder_graph import objection

        if design.graph is not None:
            return None
        if design.model is None:
            return "it needs the Keras model or its adder graph, and neither was given"
        return objection(design.model)

    def estimate(self, designs: Sequence[CostInput], target: Target) -> list[Estimate]:
        return [self._estimate(design, target) for design in designs]

    def _estimate(self, design: CostInput, target: Target) -> Estimate:
        from weft.adder_graph import SOURCE

        require(self, design)
        clock = target.clock_period_ns
        if design.graph is not None:
            counted = _counted(design, clock)
        else:
            written = design.rtl and design.rtl.model_dump_json(exclude={"language", "shift_registers"})
            key = _cache.digest(design.model, SOURCE, _VERSION, clock, *([written] if written else []))
            counted = _cache.kept(key, lambda: _counted(design, clock))
        found = dict(counted.quantities)
        tables, narrow = (float(found.pop(name).value or 0) for name in (_TABLES, _NARROW))
        if design.graph is None or unlike(design.graph) is None:
            hard = difficulty({"narrow": narrow, "solver": float(found["lut"].value or 0)})
            found |= {"lut": _ranged("lut", found["lut"], hard, tables), "ff": _ranged("ff", found["ff"], hard, 0.0)}
        return Estimate(quantities=found, notes=counted.notes)


_TABLES = "table_lut"
"""The part of the LUT that is tables and products of variables."""

_NARROW = "narrow_bits"
"""The bits of narrow additions, by which the interval goes."""

_VERSION = 4
"""Counts up when `weft.adder_graph` gives other numbers for the same network."""


def _counted(design: CostInput, clock_period_ns: float) -> Estimate:
    """Return the compiler's counts; their intervals are no part of what is kept, a new corpus has others."""
    graph = design.traced
    found = graph.cost(clock_period_ns)
    notes = ("no output depends on any input",) if graph.is_constant else ()
    narrow = operations(graph)["narrow"] if unlike(graph) is None else 0.0
    beside = {_TABLES: graph.table_lut, _NARROW: narrow}
    kept = {name: found["lut"].model_copy(update={"value": value}) for name, value in beside.items()}
    return Estimate(quantities=found | kept, notes=notes)


def _ranged(name: str, quantity: Quantity, hard: float, tables: float) -> Quantity:
    """Return a count with the interval of what synthesis makes of it; its ends hold the count itself."""
    from weft.cost import learned

    shipped = learned.load()
    additions = float(quantity.value or 0) - tables
    low = high = additions
    if additions > 0:
        found = shipped.quantities[name].count.range(additions, hard)
        if found.low is None or found.high is None:
            return quantity.model_copy(update={"reason": f"no interval: {shipped.designs} designs are too few"})
        low, high = min(low, found.low), max(high, found.high)
    reason = f"90 % interval, from the synthesis of {shipped.designs} designs ({shipped.tools['synthesis']})"
    if tables:
        low, high = low + tables / TABLE_EXCESS, high + tables
        reason += f"; tables and products of variables ({tables:.0f} of the count) may be {TABLE_EXCESS} times smaller"
    return quantity.model_copy(update={"low": low, "high": high, "reason": reason})

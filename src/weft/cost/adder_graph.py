"""LUTs, flip-flops and latency from the adder graph of the actual weights, pipelined for the target's clock.

The numbers are the compiler's own counts; nothing is fitted but their interval, which is that of what synthesis made of
the designs of our corpus (`weft.cost.calibration`). The solver takes its time, so an estimate is kept under a digest of
kernels, formats and clock (`weft.cost._cache`).
"""

from __future__ import annotations

from collections.abc import Sequence

from weft.cost import _cache
from weft.cost._base import CostInput, Target, register, require
from weft.cost.readout import unlike
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
            key = _cache.digest(design.model, SOURCE, _VERSION, clock)
            counted = _cache.kept(key, lambda: _counted(design, clock))
        found = dict(counted.quantities)
        tables = float(found.pop(_TABLES).value or 0)
        if design.graph is None or unlike(design.graph) is None:
            found |= {"lut": _ranged("lut", found["lut"], tables), "ff": _ranged("ff", found["ff"], 0.0)}
        return Estimate(quantities=found, notes=counted.notes)


_TABLES = "table_lut"
"""The part of the LUT that is tables and products of variables."""

_VERSION = 3
"""Counts up when `weft.adder_graph` gives other numbers for the same network."""


def _counted(design: CostInput, clock_period_ns: float) -> Estimate:
    """Return the compiler's counts; their intervals are no part of what is kept, a new corpus has others."""
    graph = design.traced
    found = graph.cost(clock_period_ns)
    notes = ("no output depends on any input",) if graph.is_constant else ()
    return Estimate(
        quantities=found | {_TABLES: found["lut"].model_copy(update={"value": graph.table_lut})}, notes=notes
    )


def _ranged(name: str, quantity: Quantity, tables: float) -> Quantity:
    """Return a count with the interval of what synthesis makes of it; its ends hold the count itself."""
    from weft.cost import learned

    shipped = learned.load()
    additions = float(quantity.value or 0) - tables
    low = high = additions
    if additions > 0:
        found = shipped.quantities[name].count.calibration.range(additions)
        if found.low is None or found.high is None:
            return quantity.model_copy(update={"reason": f"no interval: {shipped.designs} designs are too few"})
        low, high = min(low, found.low), max(high, found.high)
    reason = f"90 % interval, from the synthesis of {shipped.designs} designs ({shipped.tools['synthesis']})"
    if tables:
        low, high = low + tables / TABLE_EXCESS, high + tables
        reason += f"; tables and products of variables ({tables:.0f} of the count) may be {TABLE_EXCESS} times smaller"
    return quantity.model_copy(update={"low": low, "high": high, "reason": reason})

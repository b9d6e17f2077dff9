"""LUTs, flip-flops and latency from the adder graph of the actual weights, pipelined for the target's clock.

The solver takes its time, so an estimate is kept under a digest of kernels, formats and clock (`weft.cost._cache`).
"""

from __future__ import annotations

from collections.abc import Sequence

from weft.cost import _cache
from weft.cost._base import CostInput, Target, register, require
from weft.types import Estimate


@register
class AdderGraphCost:
    """The compiler's own count for the graph that becomes firmware; nothing is fitted."""

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
            return _of(design, clock)
        return _cache.kept(_cache.digest(design.model, SOURCE, _VERSION, clock), lambda: _of(design, clock))


_VERSION = 1
"""Counts up when `weft.adder_graph` gives other numbers for the same network."""


def _of(design: CostInput, clock_period_ns: float) -> Estimate:
    from weft.adder_graph import AdderGraph

    graph = design.graph or AdderGraph.from_model(design.model)
    notes = ("no output depends on any input",) if graph.is_constant else ()
    return Estimate(quantities=graph.cost(clock_period_ns), notes=notes)

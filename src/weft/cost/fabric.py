"""DSP slices and block RAM of the RTL that weft writes: none, as long as networks multiply data with weights.

Weights are wired, so that such a product is shifts and additions in look-up tables, and there is nothing to store. Two
operations are left to synthesis as they are. Products of two variables (attention, gates, `Multiply`) go into a DSP
slice, one for each 27 by 18 bits, if both operands have 2 bits or more and the result has 9 or more. Tables (nonlinear
functions) go into block RAM from 11 bits of input on. That is what Yosys 0.70 made of such operations for UltraScale+
(`synth_xilinx`); a tool may take fewer, so the intervals begin at 0. For HLS projects ask `hls4ml`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from weft.cost._base import CostInput, Target, register, require
from weft.types import Estimate, Quantity

_SOURCE = "the operations that weft's RTL leaves to synthesis, by the rules of Yosys 0.70"
_SLICE = (26, 17)  # bits of both operands, without signs
_LEAST, _LEAST_RESULT = 2, 9
_LEAST_ADDRESS, _BLOCK = 11, 18 * 1024


@register
class Fabric:
    """DSP slices and block RAM, counted from what the RTL is made of."""

    name = "fabric"
    provides = ("dsp", "bram_18k")

    def supports(self, design: CostInput) -> str | None:
        from weft.adder_graph import objection

        if design.graph is not None:
            return None
        return design.objection or (objection(design.model) if _needs_its_graph(design) else None)

    def estimate(self, designs: Sequence[CostInput], target: Target) -> list[Estimate]:
        return [self._estimate(design) for design in designs]

    def _estimate(self, design: CostInput) -> Estimate:
        require(self, design)
        dsp = bram = 0
        steps = design.traced.steps()[0] if design.graph is not None or _needs_its_graph(design) else []
        for step in steps:
            widths = [sum(steps[number].kif) for number in step.operands]
            if step.kind == "multiply":
                dsp += slices(*widths)
            elif step.kind == "table":
                bram += blocks(widths[0], sum(step.kif))
        wired = "weights are wired: shifts and additions"
        return Estimate(
            quantities={
                "dsp": _quantity(dsp, "products of two variables" if dsp else wired),
                "bram_18k": _quantity(bram, "tables" if bram else f"{wired}; nothing is stored"),
            }
        )


def _needs_its_graph(design: CostInput) -> bool:
    """Return whether a model has products of two variables, or functions that become tables."""
    from weft.quantize.graph import walk
    from weft.quantize.operations import PIECEWISE, function_of, kind_of

    operations = [call.operation for call in walk(design.model)]
    looked_up = any(kind_of(one) == "function" or function_of(one) not in PIECEWISE for one in operations)
    return looked_up or any(product.second.values is None for product in design.products)


def slices(one: int, two: int) -> int:
    """Return how many DSP slices a product of two variables takes, by the widths of both in bits."""
    if min(one, two) < _LEAST or one + two < _LEAST_RESULT:
        return 0
    widths = sorted((one, two), reverse=True)
    return math.prod(math.ceil(width / size) for width, size in zip(widths, _SLICE, strict=True))


def blocks(address: int, width: int) -> int:
    """Return how many block RAMs of 18 kbit a table takes, by the bits that it reads and that it gives."""
    return math.ceil(2**address * width / _BLOCK) if address >= _LEAST_ADDRESS else 0


def _quantity(value: int, reason: str) -> Quantity:
    high = float(value)
    return Quantity(value=high, unit="count", stage="predicted", source=_SOURCE, low=0.0, high=high, reason=reason)

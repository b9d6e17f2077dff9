"""DSP slices and block RAM of the RTL that weft writes: none, as long as networks multiply data with weights.

Weights are wired, so that such a product is shifts and additions in look-up tables, and there is nothing to store. What
remains are products of two variables (attention, gates, `Multiply`), which the RTL writes as such: synthesis puts those
into a DSP slice whose operands have 2 bits or more and whose result has 9 or more (Yosys 0.70, `synth_xilinx`), one
slice for each 27 by 18 bits. A tool may take fewer, so the interval begins at 0. For HLS projects ask `hls4ml`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from weft.cost._base import CostInput, Target, register, require
from weft.types import Estimate, Quantity

_SOURCE = "the operators that weft's RTL consists of"
_WIDTHS = (26, 17)  # of a DSP slice, without signs
_LEAST, _LEAST_RESULT = 2, 9


@register
class Fabric:
    """DSP slices and block RAM, counted from what the RTL is made of."""

    name = "fabric"
    provides = ("dsp", "bram_18k")

    def supports(self, design: CostInput) -> str | None:
        return None if design.graph is not None else design.objection

    def estimate(self, designs: Sequence[CostInput], target: Target) -> list[Estimate]:
        return [self._estimate(design) for design in designs]

    def _estimate(self, design: CostInput) -> Estimate:
        require(self, design)
        dsp = sum(count * _slices(*widths) for count, widths in _variable(design))
        return Estimate(
            quantities={
                "dsp": _quantity(
                    dsp, "products of two variables" if dsp else "weights are wired: shifts and additions"
                ),
                "bram_18k": _quantity(0, "weights are wired, and tables are logic: nothing is stored"),
            }
        )


def _variable(design: CostInput) -> Iterator[tuple[float, tuple[float, float]]]:
    """Yield how many products of two variables there are of which widths, in bits."""
    if design.graph is not None:
        steps, _ = design.graph.steps()
        for step in steps:
            if step.kind == "multiply":
                one, two = (float(sum(steps[number].kif)) for number in step.operands)
                yield 1.0, (one, two)
        return
    for product in design.products:
        if product.second.values is None:
            live = product.form.weigh((product.alive & (product.first.width > 0)).astype(float), product.read)
            widths = float(np.max(product.first.width, initial=0)), float(np.max(product.second.width, initial=0))
            yield float(np.sum(live * product.second_alive)), widths


def _slices(one: float, two: float) -> int:
    """Return how many DSP slices a product of two widths takes."""
    if min(one, two) < _LEAST or one + two < _LEAST_RESULT:
        return 0
    return math.prod(
        math.ceil(width / size) for width, size in zip(sorted((one, two), reverse=True), _WIDTHS, strict=True)
    )


def _quantity(value: float, reason: str) -> Quantity:
    return Quantity(value=value, unit="count", stage="predicted", source=_SOURCE, low=0.0, high=value, reason=reason)

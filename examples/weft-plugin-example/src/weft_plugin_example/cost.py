"""A cost model: so many look-up tables for each effective bit operation."""

from __future__ import annotations

from collections.abc import Sequence

from weft.cost import CostInput, Target, find
from weft.errors import UnsupportedError
from weft.types import Estimate, Quantity

LUT_PER_EBOP = 0.8


class ProductLut:
    """Look-up tables as a constant times EBOPs: crude, and fast."""

    name = "product_lut"
    provides = ("lut",)

    def supports(self, design: CostInput) -> str | None:
        return find("ebops").supports(design)

    def estimate(self, designs: Sequence[CostInput], target: Target) -> list[Estimate]:
        return [self._one(design, target) for design in designs]

    def _one(self, design: CostInput, target: Target) -> Estimate:
        reason = self.supports(design)
        if reason is not None:
            raise UnsupportedError(f"cost model '{self.name}' cannot estimate this design: {reason}")
        ebops = design.ask(find("ebops"), target).quantities["ebops"].value
        lut = Quantity(value=LUT_PER_EBOP * ebops, unit="count", stage="predicted", source=f"{LUT_PER_EBOP} LUT a EBOP")
        return Estimate(quantities={"lut": lut})

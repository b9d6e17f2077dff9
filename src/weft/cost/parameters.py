"""Parameters: how many weights and biases a network has, zeros included."""

from __future__ import annotations

from collections.abc import Sequence

from weft.cost._base import CostInput, Target, register, require
from weft.cost.products import n_parameters
from weft.types import Estimate, Quantity


@register
class Parameters:
    """Weights and biases; normalisation that is folded into them does not count."""

    name = "parameters"
    provides = ("parameters",)

    def supports(self, design: CostInput) -> str | None:
        return design.objection

    def estimate(self, designs: Sequence[CostInput], target: Target) -> list[Estimate]:
        return [Estimate(quantities={"parameters": self._count(design)}) for design in designs]

    def _count(self, design: CostInput) -> Quantity:
        require(self, design)
        count = n_parameters(design.model)
        return Quantity(value=count, unit="count", stage="predicted", source="weights and biases of the model")

"""Parameters: how many weights and biases a network has, zeros included."""

from __future__ import annotations

from collections.abc import Sequence

from weft.cost._base import CostInput, Target, register, require
from weft.cost._layers import dense_layers, objection
from weft.types import Estimate, Quantity


@register
class Parameters:
    """Weights and biases of dense layers; normalisation is folded into them, so its own variables do not count."""

    name = "parameters"
    provides = ("parameters",)

    def supports(self, design: CostInput) -> str | None:
        return objection(design)

    def estimate(self, designs: Sequence[CostInput], target: Target) -> list[Estimate]:
        return [Estimate(quantities={"parameters": self._count(design)}) for design in designs]

    def _count(self, design: CostInput) -> Quantity:
        require(self, design)
        count = sum(layer.kernel.size + layer.bias.size for layer in dense_layers(design))
        return Quantity(value=count, unit="count", stage="predicted", source="weights and biases of the model")

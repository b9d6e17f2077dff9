"""A function of the user's own as a cost model: it takes a design and its target, and returns a number.

It is not registered: whoever asks for a quantity of such a name gets it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from weft.cost._base import CostInput, Target, require
from weft.errors import UnsupportedError
from weft.objectives import OBJECTIVES, load_function
from weft.types import Estimate, Quantity


class FunctionCost:
    """What a function returns, under the name that it has as an objective."""

    def __init__(self, name: str) -> None:
        self.name, self.provides = name, (name,)

    def supports(self, design: CostInput) -> str | None:
        return None if design.model is not None or design.graph is not None else "there is neither a model nor a graph"

    def estimate(self, designs: Sequence[CostInput], target: Target) -> list[Estimate]:
        return [Estimate(quantities={self.name: self._value(design, target)}) for design in designs]

    def _value(self, design: CostInput, target: Target) -> Quantity:
        require(self, design)
        try:
            found = load_function(self.name)(design, target)
        except Exception as error:
            error.add_note(f"in the objective '{self.name}'")
            raise
        try:
            value = float(found)
        except (TypeError, ValueError):
            value = math.nan
        if not math.isfinite(value):
            raise UnsupportedError(f"the objective '{self.name}' returned {found!r}, which is no finite number")
        spec = OBJECTIVES[self.name]
        return Quantity(value=value, unit=spec.unit or "count", stage="predicted", source=spec.doc)

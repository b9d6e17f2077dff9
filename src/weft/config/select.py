"""Section `select`: which designs of the front go on to compression."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from weft.config.constraint import Constraints, ObjectiveName
from weft.objectives import COSTS, OBJECTIVES
from weft.section import Section, refuse


def _alias(value: Any) -> Any:
    return "best_metric" if value == "best_accuracy" else value


Rule = Annotated[
    Literal["best_metric", "cheapest", "knee"],
    BeforeValidator(_alias, json_schema_input_type=Literal["best_metric", "best_accuracy", "cheapest", "knee"]),
]


class SelectConfig(Section):
    """The rule that picks designs from the Pareto front."""

    rule: Rule = Field(
        default="best_metric",
        description="best_metric (also written best_accuracy): the highest ranked by the metric; cheapest: the lowest "
        "`cost`; knee: the best compromise of all objectives.",
    )
    count: int = Field(default=2, ge=1, description="Designs to pick.")
    constraints: Constraints = Field(
        default={}, description='Bounds that a picked design meets, such as accuracy: ">= 0.7".'
    )
    cost: ObjectiveName = Field(default="lut", description="The cost that the rule `cheapest` compares.")

    @model_validator(mode="after")
    def _cost_is_a_cost(self) -> SelectConfig:
        if OBJECTIVES[self.cost].kind != "cost":
            refuse([(("cost",), f"'{self.cost}' is a metric, not a cost; use one of {', '.join(COSTS)}")])
        return self

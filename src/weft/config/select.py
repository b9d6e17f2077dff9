"""Section `select`: which designs of the front go on to compression."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from weft.blocks import NonNegative
from weft.config.constraint import Constraints, ObjectiveName
from weft.objectives import COSTS, OBJECTIVES
from weft.section import Found, Section, refuse


def _alias(value: Any) -> Any:
    return "best_metric" if value == "best_accuracy" else value


Rule = Annotated[
    Literal["best_metric", "cheapest", "knee", "lexicographic", "weighted", "hypervolume"],
    BeforeValidator(
        _alias,
        json_schema_input_type=Literal[
            "best_metric", "best_accuracy", "cheapest", "knee", "lexicographic", "weighted", "hypervolume"
        ],
    ),
]


class SelectConfig(Section):
    """The rule that picks designs from the Pareto front."""

    rule: Rule = Field(
        default="best_metric",
        description="best_metric (also written best_accuracy): the highest ranked by the metric; cheapest: the lowest "
        "`cost`; knee: the best compromise of all objectives; lexicographic: one objective after the other; weighted: "
        "the least weighted sum; hypervolume: those that together cover the front best.",
    )
    count: int = Field(default=2, ge=1, description="Designs to pick.")
    constraints: Constraints = Field(
        default={}, description='Bounds that a picked design meets, such as accuracy: ">= 0.7".'
    )
    cost: ObjectiveName = Field(default="lut", description="The cost that the rule `cheapest` compares.")

    order: list[ObjectiveName] = Field(
        default=[],
        description="What the rule `lexicographic` compares, the most important first; empty: the search's objectives.",
    )
    tolerances: dict[ObjectiveName, NonNegative] = Field(
        default={},
        description="Of the rule `lexicographic`: how far from the best counts as equal, in the objective's unit.",
    )
    weights: dict[ObjectiveName, NonNegative] = Field(
        default={},
        description="Of the rule `weighted`: how much an objective counts; empty: each of the search's alike.",
    )

    @property
    def compared(self) -> tuple[str, ...]:
        """What the rule compares, as far as this section names it."""
        named = {"cheapest": (self.cost,), "lexicographic": tuple(self.order), "weighted": tuple(self.weights)}
        return named.get(self.rule, ())

    @model_validator(mode="after")
    def _rule_has_what_it_needs(self) -> SelectConfig:
        found: Found = []
        for name, rule in (("order", "lexicographic"), ("tolerances", "lexicographic"), ("weights", "weighted")):
            if getattr(self, name) and self.rule != rule:
                found.append(((name,), f"belongs to the rule {rule}; rule is {self.rule}; remove it"))
        if len(set(self.order)) < len(self.order):
            found.append((("order",), f"an objective is listed twice in {self.order}; list each once"))
        found += [
            (("tolerances", name), f"is not in order: {self.order}; add it there")
            for name in self.tolerances
            if self.order and name not in self.order
        ]
        if self.weights and not any(self.weights.values()):
            found.append((("weights",), "are all 0, so that nothing counts; give one of them more"))
        refuse(found)
        return self

    @model_validator(mode="after")
    def _cost_is_a_cost(self) -> SelectConfig:
        if OBJECTIVES[self.cost].kind != "cost":
            refuse([(("cost",), f"'{self.cost}' is a metric, not a cost; use one of {', '.join(COSTS)}")])
        return self

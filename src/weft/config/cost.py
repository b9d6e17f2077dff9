"""Section `cost`: which cost models estimate a design."""

from __future__ import annotations

from pydantic import Field, model_validator

from weft.section import Section, refuse


class CostConfig(Section):
    """The cost models that are asked, several at once. The first that gives a quantity decides; all are logged."""

    models: list[str] = Field(
        default=["adder_graph", "ebops", "bops", "parameters"],
        min_length=1,
        description="Names of cost models in the order in which they decide; docs/cost.md lists them.",
    )

    @model_validator(mode="after")
    def _each_once(self) -> CostConfig:
        twice = [name for i, name in enumerate(self.models) if name in self.models[:i]]
        if twice:
            refuse([(("models",), f"'{twice[0]}' is listed twice; list each cost model once")])
        return self

"""A bound on one objective, written as an operator and a number: `lut: "<= 10000"`."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from weft.errors import ConfigError
from weft.objectives import OBJECTIVES
from weft.section import Section, did_you_mean, got, refuse

Operator = Literal["<=", ">=", "<", ">"]

_FORM = re.compile(r"\s*(<=|>=|<|>)\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*")


class Constraint(Section):
    """`value op bound`, in the unit of the objective."""

    op: Operator = Field(description="How the value compares to the bound.")
    bound: float = Field(description="The bound, in the unit of the objective.")

    @classmethod
    def parse(cls, text: Any) -> Constraint:
        """Read `"<= 10000"`.

        Raises:
            ConfigError: `text` is not an operator and a finite number.

        Example:
            >>> Constraint.parse("<= 10000").violation(10250)
            250.0
        """
        match = _FORM.fullmatch(text) if isinstance(text, str) else None
        if match is None or not math.isfinite(float(match[2])):
            raise ConfigError(
                f"cannot read the constraint {got(text)}; "
                "write an operator (<=, >=, <, >) and a number, as in '<= 10000'"
            )
        return cls.model_validate({"op": match[1], "bound": float(match[2])})

    def violation(self, value: float) -> float:
        """Return by how much `value` misses the bound, in its unit: <= 0 is feasible; not a number never is."""
        if math.isnan(value):
            return math.inf
        if self.op in ("<=", "<"):
            return value - (self.bound if self.op == "<=" else math.nextafter(self.bound, -math.inf))
        return (self.bound if self.op == ">=" else math.nextafter(self.bound, math.inf)) - value

    def __str__(self) -> str:
        return f"{self.op} {self.bound:g}"


def parse_constraints(constraints: dict[str, str]) -> dict[str, Constraint]:
    """Read the constraints of a section, by objective."""
    return {name: Constraint.parse(text) for name, text in constraints.items()}


def _known_objective(name: str) -> str:
    if name not in OBJECTIVES:
        hint = did_you_mean(name, OBJECTIVES) or f"; the objectives are {', '.join(OBJECTIVES)}"
        raise ValueError(f"unknown objective '{name}'{hint}")
    return name


def _readable(value: Any) -> Any:
    Constraint.parse(value)
    return value


def _reachable(constraints: dict[str, str]) -> dict[str, str]:
    refuse(
        [
            (
                (name,),
                f"{name} is a fraction between 0 and 1; got the bound {constraint.bound:g}; divide percentages by 100",
            )
            for name, constraint in parse_constraints(constraints).items()
            if OBJECTIVES[name].unit == "fraction" and not 0 <= constraint.bound <= 1
        ]
    )
    return constraints


ObjectiveName = Annotated[
    str, AfterValidator(_known_objective), WithJsonSchema({"type": "string", "enum": list(OBJECTIVES)})
]
"""The name of an objective, a key of `weft.objectives.OBJECTIVES`."""

ConstraintText = Annotated[str, BeforeValidator(_readable)]

Constraints = Annotated[dict[ObjectiveName, ConstraintText], AfterValidator(_reachable)]
"""Bounds by objective, as text; `parse_constraints` reads them."""

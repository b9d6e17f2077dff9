"""A bound on one objective, written as an operator and a number: `lut: "<= 10000"`.

A unit may follow the number, as in `latency_ns: "<= 0.05 us"`, and after a share the part that it is a share of, as in
`lut_fraction: "<= 5 % of xcvu13p"`. A section holds its bounds in the unit of the objective, whatever was written.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

from pydantic import AfterValidator, BeforeValidator, Field, Tag, ValidationInfo, WithJsonSchema

from weft.config.parts import find_part
from weft.errors import ConfigError
from weft.objectives import OBJECTIVES, function_text, is_function, load_function
from weft.section import Found, Section, by_shape, did_you_mean, got, refuse

Operator = Literal["<=", ">=", "<", ">"]

_FORM = re.compile(
    r"\s*(<=|>=|<|>)\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(%|[^\W\d_]\w*)?\s*(?:\bof\s+([\w.-]+))?\s*"
)

_UNITS: dict[str, dict[str, float]] = {
    "ns": {"ns": 1.0, "ps": 1e-3, "us": 1e3, "µs": 1e3, "ms": 1e6, "s": 1e9},
    "cycles": {"cycles": 1.0, "cycle": 1.0},
    "fraction": {"%": 0.01},
    "percent": {"%": 1.0, "percent": 1.0},
    "nJ": {"nJ": 1.0, "pJ": 1e-3, "uJ": 1e3, "µJ": 1e3, "mJ": 1e6},
}
"""What one of a unit is in the unit of an objective."""


class Constraint(Section):
    """`value op bound`, in the unit of the objective."""

    op: Operator = Field(description="How the value compares to the bound.")
    bound: float = Field(description="The bound, in the unit of the objective.")
    part: str | None = Field(default=None, description="The part that the bound is a share of; null: the target's.")

    @classmethod
    def parse(cls, text: Any, name: str | None = None) -> Constraint:
        """Read `"<= 10000"`, or with the name of an objective a bound in other units of it.

        Raises:
            ConfigError: `text` is not an operator and a finite number; or its unit is not one of the objective.

        Example:
            >>> Constraint.parse("<= 10000").violation(10250)
            250.0
            >>> Constraint.parse("<= 0.05 us", "latency_ns").bound
            50.0
        """
        match = _match(text)
        scale = 1.0 if match[3] is None else _scale(match[3], name, text)
        if match[4] is not None and name is not None and not OBJECTIVES[name].of_part:
            shares = ", ".join(spec.name for spec in OBJECTIVES.values() if spec.of_part)
            raise ConfigError(f"{name} is no share of a part; leave 'of {match[4]}' out, or bound one of {shares}")
        if match[4] is not None:
            find_part(match[4])
        bound = float(f"{float(match[2]) * scale:.12g}") if match[3] else float(match[2])
        return cls.model_validate({"op": match[1], "bound": bound, "part": match[4]})

    def violation(self, value: float) -> float:
        """Return by how much `value` misses the bound, in its unit: <= 0 is feasible; not a number never is."""
        if math.isnan(value):
            return math.inf
        if self.op in ("<=", "<"):
            return value - (self.bound if self.op == "<=" else math.nextafter(self.bound, -math.inf))
        return (self.bound if self.op == ">=" else math.nextafter(self.bound, math.inf)) - value

    def __str__(self) -> str:
        return f"{self.op} {self.bound:g}" + (f" of {self.part}" if self.part else "")


def _match(text: Any) -> re.Match[str]:
    match = _FORM.fullmatch(text) if isinstance(text, str) else None
    if match is None or not math.isfinite(float(match[2])):
        raise ConfigError(
            f"cannot read the constraint {got(text)}; write an operator (<=, >=, <, >) and a number, as in '<= 10000'"
        )
    return match


def _scale(unit: str, name: str | None, text: str) -> float:
    """Return what one of a unit is in the unit of an objective."""
    if name is None:
        raise ConfigError(f"cannot read the constraint {got(text)} in '{unit}' without its objective")
    own, unit = OBJECTIVES[name].unit, unit.replace("\u03bc", "µ")  # the Greek letter means the same
    if own == "count" and unit.lower() in (name, f"{name}s"):
        return 1.0
    units = _UNITS.get(own, {own: 1.0} if is_function(name) and own else {})
    if unit not in units:
        hint = f"write it in {', '.join(units)}" if units else "write the number alone"
        also = "" if own != "fraction" else ", or as a number between 0 and 1"
        raise ConfigError(f"{name} is measured in {own or 'no unit'}, and {got(text)} is in '{unit}'; {hint}{also}")
    return units[unit]


def parse_constraints(constraints: dict[str, str]) -> dict[str, Constraint]:
    """Read the constraints of a section, by objective."""
    return {name: Constraint.parse(text) for name, text in constraints.items()}


USER_CODE = "user_code"
"""The key of the validation context that says whether functions of the user's own are imported, to be checked."""


def _known_objective(name: str, info: ValidationInfo) -> str:
    if name not in OBJECTIVES:
        hint = did_you_mean(name, OBJECTIVES) or (
            f"; the objectives are {', '.join(OBJECTIVES)}, and functions of your own, as my_module:my_cost"
        )
        raise ValueError(f"unknown objective '{name}'{hint}")
    if is_function(name) and cast("dict[str, Any]", info.context or {}).get(USER_CODE):
        load_function(name)
    return name


def _readable(value: Any) -> Any:
    _match(value)
    return value


def _in_their_units(constraints: dict[str, str]) -> dict[str, str]:
    """Return the bounds in the units of their objectives; a text without a unit stays as it is."""
    found: Found = []
    texts = dict(constraints)
    for name, text in constraints.items():
        try:
            constraint = Constraint.parse(text, name)
        except ConfigError as error:
            found.append(((name,), str(error)))
            continue
        if _match(text)[3] is not None:
            of_part = f" of {constraint.part}" if constraint.part else ""
            texts[name] = f"{constraint.op} {constraint.bound:.12g}{of_part}"
        if OBJECTIVES[name].unit == "fraction" and not 0 <= constraint.bound <= 1:
            message = f"{name} is a fraction between 0 and 1; got the bound {constraint.bound:g}"
            found.append(((name,), f"{message}; divide percentages by 100"))
    refuse(found)
    return texts


class FunctionObjective(Section):
    """A function of your own as an objective: `f(design, target)` returns a number for a finalised design."""

    function: str = Field(description="Module and function, as my_module:my_cost.")
    direction: Literal["min", "max"] = Field(default="min", description="Whether less of it is better, or more.")
    unit: str = Field(default="", pattern=r"^[^\[\]]*$", description="The unit of what it returns.")


def _text_of(value: FunctionObjective, info: ValidationInfo) -> str:
    return _known_objective(function_text(value.function, value.direction, value.unit), info)


_NAMES = {"anyOf": [{"type": "string", "enum": list(OBJECTIVES)}, {"type": "string", "pattern": r"^[A-Za-z_][\w.]*:"}]}

ObjectiveName = Annotated[str, AfterValidator(_known_objective), WithJsonSchema(_NAMES)]
"""The name of an objective, a key of `weft.objectives.OBJECTIVES`."""

if TYPE_CHECKING:
    Objective = str
else:
    Objective = Annotated[
        Annotated[ObjectiveName, Tag("(scalar)")]
        | Annotated[FunctionObjective, AfterValidator(_text_of), Tag("(mapping)")],
        by_shape,
    ]
"""An objective in a list of them: its name, which is also what a `FunctionObjective` becomes."""

ConstraintText = Annotated[str, BeforeValidator(_readable)]

Constraints = Annotated[dict[ObjectiveName, ConstraintText], AfterValidator(_in_their_units)]
"""Bounds by objective, as text in the objectives' units; `parse_constraints` reads them."""

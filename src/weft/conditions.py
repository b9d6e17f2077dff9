"""Choices that are made only for some values of others: `when` of a block, and of other sections of a space.

What a condition names depends on nothing itself, so that there are no circles. Where a condition does not hold, a
choice takes its default; a sampler is asked for it all the same, since crossover needs one space for all trials.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Self

from pydantic import Field, model_validator

from weft.choice import Categorical, Range, allows
from weft.section import Found, Section, did_you_mean, refuse

When = dict[str, dict[str, list[Any]]]
"""A choice, the others that it depends on, and the values of these for which it is made."""


def holds(conditions: Mapping[str, Collection[Any]], values: Mapping[str, Any]) -> bool:
    """Say whether others have the values that a choice depends on."""
    return all(values.get(other) in allowed for other, allowed in conditions.items())


def choices_of(section: Section) -> dict[str, Any]:
    """Return the fields that are choices, and the lists of choices."""
    found = {name: getattr(section, name) for name in type(section).model_fields}
    return {name: value for name, value in found.items() if _is_choice(value)}


def problems(when: When, choices: Mapping[str, Any], free: Collection[str], optional: Collection[str]) -> Found:
    """Return what is wrong with conditions.

    Args:
        when: The conditions.
        choices: By name.
        free: Choices that a condition may name, and that depend on nothing.
        optional: Choices that may depend on others, since they have a default.
    """
    found: Found = []
    for name, others in when.items():
        for where, known in ((("when", name), optional), *((("when", name, other), free) for other in others)):
            if where[-1] not in known:
                hint = did_you_mean(where[-1], known) or f"; it can name {', '.join(known) or 'none here'}"
                found.append((where, f"'{where[-1]}' is no choice that a condition can name here{hint}"))
        for other, values in others.items():
            strange = [value for value in values if other in free and not allows(choices[other], value)]
            if strange or not values:
                taken = f"never takes {strange[0]!r}" if strange else "needs values"
                found.append((("when", name, other), f"'{other}' {taken}; list values that it may have"))
    return found


class Conditional(Section):
    """A section of choices, of which some are made only for some values of others."""

    when: When = Field(
        default={},
        description="Choices that are made only for some values of others here, such as b: {a: [1, 2]}; for other "
        "values of a, b takes its default.",
    )

    @property
    def choices(self) -> dict[str, Any]:
        """The fields that are choices."""
        return choices_of(self)

    def active(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return those of the values whose conditions hold."""
        return {name: value for name, value in values.items() if holds(self.when.get(name, {}), values)}

    def decided(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Return what values for all choices mean: the default where a condition does not hold."""
        defaults = {name: type(self).model_fields[name].default for name in self.when}
        return {**asked, **{name: _only(value) for name, value in defaults.items()}, **self.active(asked)}

    @model_validator(mode="after")
    def _conditions_name_choices(self) -> Self:
        choices, fields = self.choices, type(self).model_fields
        optional = [name for name in choices if not fields[name].is_required()]
        refuse(problems(self.when, choices, [name for name in choices if name not in self.when], optional))
        return self


def _is_choice(value: Any) -> bool:
    return isinstance(value, Categorical | Range) or (isinstance(value, list) and bool(value) and _is_choice(value[0]))


def _only(choice: Any) -> Any:
    """Return the value of a choice that leaves none; null is no choice."""
    return choice.bounds[0] if isinstance(choice, Categorical) else choice

"""The samplers by name, and what each of them asks of the choices that it draws from."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, cast

from pydantic import BaseModel

from weft.choice import Categorical, Choice, Range
from weft.section import Found, KeyPath

SamplerName = Literal["grid", "random", "tpe", "cmaes", "gp", "nsga2", "nsga3", "qmc", "bruteforce"]

EXHAUSTIVE = ("grid", "bruteforce")
"""The samplers that try every combination, and therefore need countable choices."""


def count(choice: Choice[Any]) -> int | None:
    """Return how many values a choice has; None where they cannot be counted."""
    if isinstance(choice, Categorical):
        return len(choice.values)
    low, high, step = choice.low, choice.high, choice.step
    if step is None:
        return int(high) - int(low) + 1 if isinstance(low, int) and isinstance(high, int) else None
    return math.floor((float(high) - float(low)) / float(step) + 1e-9) + 1


def choices_below(value: Any, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Choice[Any]]]:
    """Yield every choice inside a section, a list or a mapping, with its path."""
    if isinstance(value, Categorical | Range):
        yield path, cast(Choice[Any], value)
        return
    items: Iterable[tuple[str | int, Any]] = ()
    if isinstance(value, BaseModel):
        items = ((name, getattr(value, name)) for name in type(value).model_fields)
    elif isinstance(value, Mapping):
        items = cast(Mapping[str, Any], value).items()
    elif isinstance(value, list | tuple):
        items = enumerate(cast(Sequence[Any], value))
    for name, inner in items:
        yield from choices_below(inner, (*path, name))


def endless(sampler: str, choices: Iterable[tuple[KeyPath, Choice[Any]]]) -> Found:
    """Return the ranges that a sampler cannot try every value of."""
    if sampler not in EXHAUSTIVE:
        return []
    message = f"{sampler} tries every value, and a range has no end of them; list values, or give a step"
    return [(path, message) for path, choice in choices if count(choice) is None]


def unfit(sampler: str, objectives: Sequence[str], choices: Iterable[Choice[Any]], what: str) -> Found:
    """Return what a sampler cannot do for the section that names it; `what` says where its choices are."""
    if sampler != "cmaes":
        return []
    found: Found = []
    if len(objectives) > 1:
        found.append((("sampler",), "cmaes takes one objective; name one, or take tpe, gp, nsga2 or nsga3 for several"))
    if not any(isinstance(choice, Range) for choice in choices):
        found.append((("sampler",), f"cmaes needs a range among {what}; take tpe or bruteforce for lists"))
    return found

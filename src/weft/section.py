"""The rules that every section of an experiment file shares: unknown keys, coercions and surprises are refused.

Checks between fields call `refuse(...)`, whose error carries the path of each problem, so that the loader can point at
the line of the file that causes it.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, cast

from pydantic import BaseModel, ConfigDict, Discriminator
from pydantic_core import PydanticCustomError

KeyPath = tuple[str | int, ...]
"""Keys and list positions that lead to a value, from the section that reports the problem."""

Found = list[tuple[KeyPath, str]]
"""Problems: where, and what to say."""

PROBLEMS = "weft_problems"
"""The pydantic error type of `refuse`."""


class Section(BaseModel):
    """A frozen part of the configuration: no unknown keys, no silent conversions, defaults checked like values."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, validate_default=True, allow_inf_nan=False, populate_by_name=True
    )


def refuse(pairs: Sequence[tuple[KeyPath, str]]) -> None:
    """Raise one error that carries all (path, message) pairs, in a validator; no pairs, no error."""
    if not pairs:
        return
    text = "; ".join(f"{'.'.join(map(str, path))}: {message}" if path else message for path, message in pairs)
    raise PydanticCustomError(PROBLEMS, "{text}", {"text": text, "problems": list(pairs)})


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that `word` most likely means, or None."""
    by_lower = {name.lower(): name for name in known}
    close = get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[close[0]] if close else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean '...'?`, or nothing where no known word is near."""
    found = nearest(word, known)
    return f"; did you mean '{found}'?" if found else ""


_short = reprlib.Repr()
_short.maxstring = _short.maxother = 80
_short.maxlevel, _short.maxlist = 2, 4


def got(value: Any) -> str:
    """Return `value` for a message: short, and never the text of a whole section."""
    if value is None:
        return "nothing (the key has no value)"
    if isinstance(value, bool):
        return str(value).lower()
    return "a mapping" if isinstance(value, Mapping) else _short.repr(value)


def shape_of(value: Any) -> str:
    """Return `mapping`, `list` or `scalar`."""
    if isinstance(value, Mapping | BaseModel):
        return "mapping"
    return "list" if isinstance(value, list | tuple) else "scalar"


by_shape = Discriminator(lambda value: f"({shape_of(value)})")
"""Tells apart union members tagged `(scalar)`, `(list)` and `(mapping)`."""


def with_default_tag(key: str, tag: str | None = None) -> Callable[[Any], Any]:
    """Return a validator that reads a bare word as `{key: word}`, and adds `key: tag` where a mapping lacks it."""

    def add(value: Any) -> Any:
        if isinstance(value, str):
            return {key: value}
        if tag is not None and isinstance(value, Mapping) and key not in value:
            return {key: tag, **cast(Mapping[str, Any], value)}
        return cast(Any, value)

    return add

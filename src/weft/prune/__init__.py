"""Pruning methods, one file each: a configuration and pure functions on one kernel.

A new method is a new module here with a `Method` subclass, or a class that a package offers under the entry point
`weft.prune`.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from typing import Any

from weft.errors import ConfigError
from weft.plugins import offered, owner, usable
from weft.prune._base import Clock, Geometry, Method, Seen, Slot, State
from weft.section import did_you_mean

__all__ = ["Clock", "Geometry", "Method", "Seen", "Slot", "State", "method_of", "methods"]


@cache
def methods() -> dict[str, type[Method]]:
    """Return all pruning methods by name."""
    names = [info.name for info in pkgutil.iter_modules(__path__) if not info.name.startswith("_")]
    modules = [importlib.import_module(f"{__name__}.{name}") for name in names]
    found = [item for module in modules for item in vars(module).values() if _is_method(item)]
    own: dict[str, type[Method]] = {item.model_fields["method"].default: item for item in found}
    return own | {name: _checked(name, item) for name, item in usable("weft.prune", own).items()}


def _checked(name: str, item: Any) -> type[Method]:
    if not _is_method(item) or item.model_fields["method"].default != name:
        whose = owner(offered("weft.prune")[name])
        raise ConfigError(
            f"pruning method '{name}' of {whose} must be a subclass of weft.prune.Method whose field 'method' has the "
            f"default '{name}'; got {item!r}"
        )
    return item


def method_of(name: str) -> type[Method]:
    """Return the class of a method.

    Raises:
        ValueError: There is no such method; the message names the nearest.
    """
    known = methods()
    if name not in known:
        raise ValueError(
            f"there is no pruning method '{name}' (there are {', '.join(sorted(known))}){did_you_mean(name, known)}"
        )
    return known[name]


def _is_method(item: Any) -> bool:
    named = isinstance(item, type) and issubclass(item, Method) and "method" in item.__annotations__
    return named and item is not Method

"""Plug-ins: what other packages offer under weft's entry points, found by name and imported when asked for.

A plug-in that cannot be imported is warned of and left out where all are needed, and is an error where it is asked for.
"""

from __future__ import annotations

import warnings
from collections.abc import Container
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from weft.errors import ConfigError, PluginWarning

GROUPS = {
    "weft.prune": "pruning method",
    "weft.cost_models": "cost model",
    "weft.blocks": "block",
    "weft.data": "data set",
    "weft.readers": "reader of data files",
    "weft.firmware": "export target",
}
"""The entry points, and what stands under each."""


@cache
def offered(group: str) -> dict[str, EntryPoint]:
    """Return what is offered under an entry point, by name; nothing is imported.

    Raises:
        ConfigError: Two packages offer the same name.
    """
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=group):
        if point.name in found:
            raise ConfigError(
                f"{owner(point)} offers a {GROUPS[group]} '{point.name}', and so does {owner(found[point.name])}; "
                "uninstall one"
            )
        found[point.name] = point
    return found


def load(group: str, name: str) -> Any:
    """Import a plug-in.

    Raises:
        ConfigError: It cannot be imported; the message names the package that offers it.
    """
    point = offered(group)[name]
    try:
        return point.load()
    except Exception as error:
        raise ConfigError(
            f"{GROUPS[group]} '{name}' of {owner(point)} ({point.value}) cannot be loaded: {type(error).__name__}: "
            f"{error}; repair that package, or uninstall it"
        ) from error


def usable(group: str, taken: Container[str] = ()) -> dict[str, Any]:
    """Return all plug-ins of a group that can be imported, by name; of others a `PluginWarning` says why not.

    Args:
        group: A key of `GROUPS`.
        taken: Names of weft's own, which no plug-in can have.
    """
    found: dict[str, Any] = {}
    for name, point in offered(group).items():
        if name in taken:
            _warn(f"{owner(point)} offers a {GROUPS[group]} '{name}', which is weft's own; it is left out: rename it")
            continue
        try:
            found[name] = load(group, name)
        except ConfigError as error:
            _warn(f"left out: {error}")
    return found


def owner(point: EntryPoint) -> str:
    """Return the package that offers a plug-in, and its version."""
    return "an unknown package" if point.dist is None else f"{point.dist.name} {point.dist.version}"


def _warn(text: str) -> None:
    warnings.warn(text, PluginWarning, stacklevel=3)

"""Older experiment files, brought to the present version one step at a time, and fields under their old names."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping
from typing import Any, cast

from weft.config.experiment import VERSION
from weft.errors import ConfigError, RenamedWarning
from weft.section import got

Raw = dict[str, Any]

MIGRATIONS: dict[int, Callable[[Raw], Raw]] = {}
"""By version: the function that turns a file of that version into one of the next, without changing its argument."""


RENAMED: dict[str, str] = {}
"""Fields that have another name or place by now: old path to new, as `search.n_trials` to `search.trials`.

They go on working, with a warning, for as long as docs/stability.md says. A path has the keys of mappings alone.
"""


def renamed(raw: Raw, names: Mapping[str, str] | None = None) -> Raw:
    """Return `raw` with fields under their new names; each old one is a `RenamedWarning`.

    Raises:
        ConfigError: A field is there under both names.
    """
    result = raw
    for old, new in (RENAMED if names is None else names).items():
        *way, key = old.split(".")
        place = _place(result, way)
        if place is None or key not in place:
            continue
        if result is raw:
            result = copy.deepcopy(raw)
        value = cast(Raw, _place(result, way)).pop(key)
        *way, key = new.split(".")
        target = result
        for part in way:
            target = target.setdefault(part, {})
        if key in target:
            raise ConfigError(f"'{old}' is the old name of '{new}', and both are given; remove '{old}'")
        target[key] = value
        warnings.warn(f"'{old}' is called '{new}' now; write that, the old name will not work for ever",
                      RenamedWarning, stacklevel=2)  # fmt: skip
    return result


def _place(raw: Raw, way: list[str]) -> Raw | None:
    """Return the mapping at a path, or None if there is none."""
    found: Any = raw
    for part in way:
        found = cast(Raw, found).get(part) if isinstance(found, dict) else None
    return cast(Raw, found) if isinstance(found, dict) else None


def migrate(raw: Raw, migrations: Mapping[int, Callable[[Raw], Raw]] = MIGRATIONS) -> Raw:
    """Return `raw` as a file of the present version.

    Raises:
        ConfigError: `version` is missing, is no whole number, or is none that this weft can read.
    """
    if "version" not in raw:
        raise ConfigError(f"is missing; write 'version: {VERSION}' as the first line")
    version = raw["version"]
    if not isinstance(version, int) or isinstance(version, bool):
        raise ConfigError(f"must be a whole number; got {got(version)}; this weft writes version {VERSION}")
    if version > VERSION:
        raise ConfigError(f"this weft reads files up to version {VERSION}; got {version}; upgrade weft")
    while version < VERSION:
        if version not in migrations:
            raise ConfigError(f"this weft cannot read version {version}; write 'version: {VERSION}'")
        raw = {**migrations[version](raw), "version": version + 1}
        version += 1
    return raw

"""Older experiment files, brought to the present version one step at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from weft.config.experiment import VERSION
from weft.errors import ConfigError
from weft.section import got

Raw = dict[str, Any]

MIGRATIONS: dict[int, Callable[[Raw], Raw]] = {}
"""By version: the function that turns a file of that version into one of the next, without changing its argument."""


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

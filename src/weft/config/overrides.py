"""Changes given beside the file, as `search.trials=5` or `space.blocks.0.depth=[2, 3]`."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any, cast

from weft.config._base import KeyPath, got
from weft.config.document import DocumentError, parse


class OverrideError(Exception):
    """An override cannot be applied."""


def apply(data: dict[str, Any], overrides: Iterable[str]) -> tuple[dict[str, Any], dict[KeyPath, str]]:
    """Return a copy of `data` with the overrides in place, and which override made each path that it set or created.

    Raises:
        OverrideError: an override has no `=`, no readable value, or leads through something that has no such part.
    """
    data, made = copy.deepcopy(data), dict[KeyPath, str]()
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals or not all(key.split(".")):
            raise OverrideError(f"override '{text}': must be KEY=VALUE with a dotted key, as in search.trials=5")
        try:
            read = parse(value).data
        except DocumentError as error:
            raise OverrideError(f"override '{text}': the value {error}") from error
        _set(data, key.strip().split("."), read, text, made)
    return data, made


def _set(data: Any, parts: list[str], value: Any, text: str, made: dict[KeyPath, str]) -> None:
    path: KeyPath = ()
    for part in parts[:-1]:
        index = _index(data, part, path, text)
        path = (*path, index)
        if isinstance(index, str) and data.get(index) is None:
            data[index] = {}
            made[path] = text
        data = data[index]
    index = _index(data, parts[-1], path, text)
    data[index] = value
    made[(*path, index)] = text


def _index(data: Any, part: str, path: KeyPath, text: str) -> str | int:
    """Return `part` as a key of the mapping or a position of the list `data`."""
    where = ".".join(map(str, path))
    if isinstance(data, dict):
        return part
    if not isinstance(data, list):
        raise OverrideError(
            f"override '{text}': {where} is {got(data)}, which has no part '{part}'; set {where} itself"
        )
    size = len(cast(list[Any], data))
    if not (part.isascii() and part.isdigit() and int(part) < size):
        positions = f"the positions 0 to {size - 1}" if size else "no entries"
        raise OverrideError(f"override '{text}': {where} is a list with {positions}; got '{part}'")
    return int(part)

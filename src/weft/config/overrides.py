"""Changes given beside the file, as `search.trials=5` or `space.blocks.0.depth=[2, 3]`."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import Any, cast

from weft.config.document import DocumentError, parse
from weft.section import KeyPath, got


class OverrideError(Exception):
    """An override cannot be applied."""


class NoSuchPart(Exception):
    """A dotted key leads through something that has no such part; the message says what stands in the way."""


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
            made |= dict.fromkeys(put(data, key.strip().split("."), parse(value).data), text)
        except DocumentError as error:
            raise OverrideError(f"override '{text}': the value {error}") from error
        except NoSuchPart as error:
            raise OverrideError(f"override '{text}': {error}") from error
    return data, made


def put(data: Any, parts: Sequence[str], value: Any) -> list[KeyPath]:
    """Set the value at a path in nested mappings and lists, in place, and return each path that was set or created.

    Raises:
        NoSuchPart: the path leads through something that has no such part.
    """
    path: KeyPath = ()
    made: list[KeyPath] = []
    for part in parts[:-1]:
        index = _index(data, part, path)
        path = (*path, index)
        if isinstance(index, str) and data.get(index) is None:
            data[index] = {}
            made.append(path)
        data = data[index]
    index = _index(data, parts[-1], path)
    data[index] = value
    return [*made, (*path, index)]


def _index(data: Any, part: str, path: KeyPath) -> str | int:
    """Return `part` as a key of the mapping or a position of the list `data`."""
    where = ".".join(map(str, path))
    if isinstance(data, dict):
        return part
    if not isinstance(data, list):
        raise NoSuchPart(f"{where} is {got(data)}, which has no part '{part}'; set {where} itself")
    size = len(cast(list[Any], data))
    if not (part.isascii() and part.isdigit() and int(part) < size):
        positions = f"the positions 0 to {size - 1}" if size else "no entries"
        raise NoSuchPart(f"{where} is a list with {positions}; got '{part}'")
    return int(part)

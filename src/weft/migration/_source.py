"""The configuration to be converted, which knows what of it has been read: the rest is what was lost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

Path = tuple[str, ...]

_MISSING = object()


class Source:
    """A nested mapping whose values are taken one by one.

    Args:
        raw: The mapping, as its file has it.
    """

    def __init__(self, raw: Mapping[str, Any]) -> None:
        self._raw = raw
        self._left = dict(_leaves(raw, ()))
        self.lost: list[str] = []
        self.changed: list[str] = []

    def has(self, *path: str) -> bool:
        """Return whether there is a value."""
        return self._find(path) is not _MISSING

    def take(self, *path: str, default: Any = None) -> Any:
        """Return a value, all below it counting as read; `default` where there is none."""
        found = self._find(path)
        self._read(path)
        return default if found is _MISSING else found

    def lose(self, why: str, *path: str) -> None:
        """Say that a value has no counterpart, if it is there."""
        found = self._find(path)
        if found is not _MISSING and found not in (None, [], {}):
            self.lost.append(f"{'.'.join(path)} = {found}: {why}")
        self._read(path)

    def note(self, text: str) -> None:
        """Say what means something else now."""
        self.changed.append(text)

    def finish(self) -> list[str]:
        """Return what has no counterpart: what was said so, and what was never asked for."""
        unasked = [f"{'.'.join(path)} = {value}: weft has no such setting" for path, value in self._left.items()]
        return [*self.lost, *unasked]

    def _find(self, path: Path) -> Any:
        found: Any = self._raw
        for key in path:
            if not isinstance(found, Mapping) or key not in found:
                return _MISSING
            found = cast("Mapping[str, Any]", found)[key]
        return found

    def _read(self, path: Path) -> None:
        for known in [known for known in self._left if known[: len(path)] == path]:
            del self._left[known]


def _leaves(raw: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    if isinstance(raw, Mapping) and raw:
        for key, value in cast("Mapping[Any, Any]", raw).items():
            yield from _leaves(value, (*path, str(key)))
    elif path and raw not in ({}, []):
        yield path, raw

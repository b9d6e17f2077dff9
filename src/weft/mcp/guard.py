"""An experiment as an agent gives it: every path in it is checked and replaced, every way to code or out is refused.

The YAML is looked through before it is validated, since validation itself reads files, and what came of it once more
afterwards: a field that is added to the configuration and forgotten here is then caught by its type.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel

from weft.config import Experiment, dump, loads
from weft.config.document import DocumentError, parse
from weft.errors import AccessError, ConfigError
from weft.mcp import contents
from weft.mcp.sandbox import Sandbox
from weft.objectives import is_function
from weft.section import KeyPath

FILES: dict[str, tuple[str, ...]] = {
    "data.files.all": contents.DATA,
    "data.files.train": contents.DATA,
    "data.files.validation": contents.DATA,
    "data.files.test": contents.DATA,
    **{f"data.files.{split}.{axis}": (".npy",) for split in ("all", "train", "validation", "test") for axis in "xy"},
    "compress.layers": contents.CONFIGS,
    "compress.distil.teacher": contents.MODELS,
}
"""The fields that are files, and what each may end in."""

RUNS = ("search.warm_start", "search.warm_start.runs")
"""The fields that are runs: here by name, as everywhere in this room."""

CODE = ("builder", "function")
"""Keys, wherever they stand, whose value is a function of the user's own."""

PLACES = {"search.workers": "machines", "tune.workers": "machines", "tracking.uri": "a tracking store"}
"""Fields that send work or data elsewhere."""

_LARGEST = 1 << 18
_NODES = 50_000


def experiment(sandbox: Sandbox, text: str, source: str = "experiment.yaml", changes: Sequence[str] = ()) -> Experiment:
    """Return the experiment of a YAML text, with each of its files replaced by a checked one of the write root.

    Args:
        sandbox: What may be read.
        text: As a caller gives it.
        source: Its name in messages.
        changes: The server's own, such as `search.trials=5`.

    Raises:
        AccessError: it asks for what it may not have; says which key.
        ConfigError: it has problems, one line for each.
    """
    if len(text) > _LARGEST:
        raise AccessError(f"{source} is longer than {_LARGEST} characters; no experiment is")
    try:
        raw: Any = parse(text).data
    except DocumentError as error:
        raise ConfigError("\n".join(f"{source}:{line}: {message}" for line, message in error.found)) from error
    _bounded(raw, {})
    overrides = [f"{'.'.join(map(str, path))}={json.dumps(value)}" for path, value in _replaced(sandbox, raw)]
    found = loads(text, source, [*overrides, *changes])
    check(sandbox, found)
    return found


def check(sandbox: Sandbox, found: Experiment) -> None:
    """Refuse a validated experiment that reads what was not checked, or names code or places it may not.

    Raises:
        AccessError: says which key.
    """
    for path, value in _values(found, ()):
        dotted = ".".join(map(str, path))
        if isinstance(value, Path) or _field(path) in FILES:
            runs = (
                {sandbox.write_root / name for name in sandbox.runs()} if dotted.startswith("search.") else set[Path]()
            )
            if isinstance(value, str | Path) and not (sandbox.is_staged(Path(value)) or Path(value) in runs):
                raise AccessError(f"{dotted}: this path was not checked; give the experiment again, with its own paths")
        _harmless(sandbox, path, value)


def text_of(found: Experiment) -> str:
    """Return an experiment as YAML, the form that a job reads."""
    return dump(found)


def _replaced(sandbox: Sandbox, raw: Any) -> Iterator[tuple[KeyPath, str]]:
    """Yield (key, value to put there) for each path in a raw experiment; refuse code on the way."""
    for path, value in _values(raw, ()):
        _harmless(sandbox, path, value)
        dotted = ".".join(map(str, path))
        above = ".".join(map(str, path[:-1]))
        try:
            if (field := _field(path)) in FILES and isinstance(value, str):
                yield path, str(sandbox.stage(value, FILES[field]))
            elif (dotted in RUNS or above in RUNS) and isinstance(value, str) and path[-1] != "trials":
                yield path, str(_existing_run(sandbox, value))
        except AccessError as error:
            raise AccessError(f"{dotted}: {error}") from error


def _existing_run(sandbox: Sandbox, name: str) -> Path:
    if sandbox.run(name).name not in sandbox.runs():
        raise AccessError(f"there is no run '{name}'; the runs are: {', '.join(sandbox.runs()[:20]) or 'none yet'}")
    return sandbox.run(name)


def _harmless(sandbox: Sandbox, path: KeyPath, value: Any) -> None:
    """Refuse a value that names code, another machine or a network address."""
    dotted, key = ".".join(map(str, path)), str(path[-1]) if path else ""
    words = [word for word in (key, value) if isinstance(word, str)]
    if not sandbox.allow_code and (
        (key in CODE and value is not None) or (dotted.startswith(_NAMED_BY) and any(map(is_function, words)))
    ):
        raise AccessError(
            f"{dotted}: names a function of your own, and this server runs none; it was not started with --allow-code"
        )
    place = next((what for field, what in PLACES.items() if dotted == field or dotted.startswith(f"{field}.")), None)
    if place is not None and not (value is None or value == "auto" or isinstance(value, int)):
        raise AccessError(f"{dotted}: sends work or data to {place} elsewhere; leave it out")
    if dotted.startswith("tune.parameters.") and _is_path_field(path[2:]):
        raise AccessError(f"{dotted}: tunes a path; paths are given once, and checked")
    openml = dotted == "data.openml" or (dotted == "data.name" and str(value).lower().startswith("openml"))
    if openml and value is not None and not sandbox.allow_network:
        raise AccessError(
            f"{dotted}: loads data from OpenML, and this server uses no network: it was started without --allow-network"
        )


_NAMED_BY = ("search.", "select.", "tune.", "cost.")
"""Sections in which a text of the form `module:name` is an objective, that is a function."""


def _is_path_field(parts: KeyPath) -> bool:
    """Return whether the name of a tuned parameter, in any spelling, is that of a field with a path."""
    name = _field(re.sub(r'["\s]', "", ".".join(map(str, parts))).lower().split("."))
    return any(name == field or field.startswith(f"{name}.") for field in FILES)


def _field(path: Sequence[str | int]) -> str:
    """Return the field that a path leads to; that of one recipe of several, or of a step, is one of `compress`."""
    parts = list(map(str, path))
    while len(parts) > 2 and parts[0] == "compress" and parts[1] in ("recipes", "steps"):
        del parts[1:3]
    return ".".join(parts)


def _values(value: Any, path: KeyPath) -> Iterator[tuple[KeyPath, Any]]:
    """Yield every value below `value` with the path that leads to it, containers included."""
    if path:
        yield path, value
    if isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _values(getattr(value, name), (*path, name))
    elif isinstance(value, Mapping):
        for key, inner in cast(Mapping[Any, Any], value).items():
            yield from _values(inner, (*path, str(key)))
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(cast(list[Any], value)):
            yield from _values(inner, (*path, index))


def _bounded(value: Any, sizes: dict[int, int]) -> int:
    """Return how many values there are with every alias written out; refuse too many, and a value within itself."""
    if not isinstance(value, dict | list):
        return 1
    key = id(cast(Any, value))
    if key in sizes:
        if sizes[key] < 0:
            raise AccessError("the YAML holds an alias to something that it is a part of; write it out")
        return sizes[key]
    sizes[key] = -1
    inner = cast(dict[Any, Any], value).values() if isinstance(value, dict) else cast(list[Any], value)
    size = 1 + sum(_bounded(one, sizes) for one in inner)
    if size > _NODES:
        raise AccessError(f"the YAML stands for more than {_NODES} values, once its aliases are written out")
    sizes[key] = size
    return size

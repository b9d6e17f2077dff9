"""One file of another package as a file of weft: which package it is of, the conversion, the list of what is lost."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from weft.config.document import DocumentError, parse, write
from weft.config.load import loads
from weft.errors import ConfigError
from weft.migration import pquantml, snac_pack
from weft.migration._source import Source
from weft.section import got

Raw = dict[str, Any]


@dataclass(frozen=True)
class Format:
    """A package whose files are read: its name, the keys that tell its files, and the conversion."""

    title: str
    keys: frozenset[str]
    convert: Callable[[Source, bool], Raw]


FORMATS = {
    "snac-pack": Format("SNAC-Pack", frozenset(snac_pack.KEYS), snac_pack.convert),
    "pquantml": Format("PQuantML", frozenset(pquantml.KEYS), pquantml.convert),
}
"""The packages whose configuration is read, by the name that `weft migrate --from` takes."""


@dataclass(frozen=True)
class Migrated:
    """A converted file.

    Attributes:
        text: YAML with comments: an experiment; or the section `compress` alone where the file says nothing of data.
        format: Key of `FORMATS`.
        whole: Whether it is an experiment that `weft run` takes.
        lost: What has no counterpart, with its value and the reason.
        changed: What means something else now, and what was taken for granted.
    """

    text: str
    format: str
    whole: bool
    lost: tuple[str, ...]
    changed: tuple[str, ...]


def migrate_file(path: Path, format: str | None = None, data: str | None = None) -> Migrated:
    """Convert a configuration file of another package, YAML or JSON.

    Args:
        path: The file.
        format: Key of `FORMATS`; None tells it by the keys of the file.
        data: Your data file for the experiment, in place of the data set that the file names.

    Raises:
        ConfigError: the file cannot be read, is of no known package, or says what weft cannot be told at all.
    """
    raw = _read(path)
    format = format or _told(raw, path)
    if format not in FORMATS:
        raise ConfigError(f"weft migrates files of {', '.join(FORMATS)}; got '{format}'")
    source = Source(raw)
    made = FORMATS[format].convert(source, data is not None)
    if data is not None:
        source.note(f"data.files: yours, {data}")
        made["data"] = {"files": {"all": data}, **{k: v for k, v in made.get("data", {}).items() if k in _OF_ANY_DATA}}
    whole = "data" in made
    made.setdefault("name", path.stem)
    experiment = {"version": 1, "data": {"name": "jets-hlf"}, **made}
    lost, changed = tuple(source.finish()), tuple(source.changed)
    title = FORMATS[format].title
    head = [f"Converted from {path.name} of {title}."]
    if not whole:
        head.append("It says nothing of data and network: give this section to weft.compress(model, section), or put")
        head.append("it into an experiment; with --data FILE it becomes one.")
    head += [f"NO COUNTERPART: {line}" for line in lost]
    head += [f"CHANGED: {line}" for line in changed]
    kept = {"version": 1, "name": experiment["name"], **made} if whole else {"compress": made["compress"]}
    text = "".join(f"# {' '.join(line.split())}\n" for line in head) + "".join(_section(*item) for item in kept.items())
    try:
        loads(write(experiment), f"{path} as an experiment")
    except ConfigError as error:
        error.add_note(f"{path} says this in the words of {title}; change it there, or write the experiment by hand")
        raise
    return Migrated(text, format, whole, lost, changed)


_OF_ANY_DATA = ("folds", "scale", "rows", "seed")


def _section(name: str, value: Any) -> str:
    value = json.loads(json.dumps(value))  # equal lists are written out, not as references
    block = write({name: value}).rstrip("\n")
    return (block if isinstance(value, dict) else block[1:-1]) + "\n"


def _read(path: Path) -> Raw:
    try:
        raw: Any = parse(path.read_text("utf-8-sig")).data
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read '{path}': {error}; name a YAML or JSON file") from error
    except DocumentError as error:
        raise ConfigError("\n".join(f"{path}:{line}: {message}" for line, message in error.found)) from error
    if not isinstance(raw, Mapping):
        raise ConfigError(f"{path}: must be a mapping of sections; got {got(raw)}")
    return dict(cast("Mapping[str, Any]", raw))


def _told(raw: Raw, path: Path) -> str:
    shared = {name: len(kind.keys & raw.keys()) for name, kind in FORMATS.items()}
    best = max(shared, key=lambda name: shared[name])
    if not shared[best]:
        if {"version", "data"} <= raw.keys():
            raise ConfigError(f"{path} is an experiment of weft already; 'weft validate {path}' checks it")
        raise ConfigError(
            f"{path} has no key of {' or '.join(kind.title for kind in FORMATS.values())}; its keys are "
            f"{', '.join(list(raw)[:10])}; say --from, or see docs/migrate-qkeras.md for models of QKeras"
        )
    return best

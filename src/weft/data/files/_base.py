"""What a file holds, seen the same way for every format; and the readers by suffix.

A reader is a function `(path) -> Content`, registered for its suffixes; that of ROOT files also takes a tree's name.
It interprets nothing: which column is the label is decided in `weft.data.roles`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from weft.errors import DataError
from weft.plugins import load, offered

Reader = Callable[..., "Content"]
READERS: dict[str, Reader] = {}


@dataclass(frozen=True)
class Content:
    """The named arrays of one file, read when asked for.

    Attributes:
        path: The file.
        shapes: Shape of each array, in the order of the file.
        get: Returns one array by its name: numbers, or strings (dtype kind U). In a table a missing cell is NaN in a
            column of numbers and "" in one of strings.
        table: Whether every array is one column (n,) of the same rows.
    """

    path: Path
    shapes: Mapping[str, tuple[int, ...]]
    get: Callable[[str], np.ndarray]
    table: bool

    @staticmethod
    def of_columns(path: Path, columns: Mapping[str, np.ndarray]) -> Content:
        """Return the content of a table that has been read whole."""
        return Content(path, {name: column.shape for name, column in columns.items()}, columns.__getitem__, table=True)


def reader(*suffixes: str) -> Callable[[Reader], Reader]:
    """Register a reader for files whose names end in one of `suffixes` (with the dot, lower case)."""

    def register(function: Reader) -> Reader:
        READERS.update(dict.fromkeys(suffixes, function))
        return function

    return register


def read(path: Path, tree: str | None = None) -> Content:
    """Read the file at `path` with the reader of its suffix; of a ROOT file the tree of that name.

    Raises:
        DataError: the file does not exist, is empty or damaged, has no such tree, or no reader knows its suffix.
    """
    suffix = path.suffix.lower()
    if tree is not None and suffix != ".root":
        raise DataError(f"{path} has no tree '{tree}': only .root files have trees")
    if suffix not in READERS and suffix[1:] in offered("weft.readers"):
        must_exist(path)
        return load("weft.readers", suffix[1:])(path)
    if suffix not in READERS:
        raise DataError(
            f"cannot read {path}: no reader knows the suffix '{path.suffix}'; "
            f"convert it to one of {', '.join(sorted(READERS))}"
        )
    must_exist(path)
    return READERS[suffix](path) if tree is None else READERS[suffix](path, tree)


def must_exist(path: Path) -> None:
    """Refuse a path that is no file, or an empty one."""
    if not path.is_file():
        raise DataError(
            f"cannot read {path}: there is no such file; paths in data.files are relative to the experiment file"
        )
    if path.stat().st_size == 0:
        raise DataError(f"cannot read {path}: the file is empty (0 bytes)")


def looks_like_columns(shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Return whether named arrays are the columns of a table: two or more, all (n,) with one n, none of them `x`."""
    return (
        len(shapes) > 1
        and len(set(shapes.values())) == 1
        and all(len(shape) == 1 for shape in shapes.values())
        and not any(name.lower() == "x" or name.lower().startswith("x_") for name in shapes)
    )


def unique_names(names: list[str], path: Path) -> None:
    """Refuse a table that has two columns of one name."""
    double = sorted({name for name in names if names.count(name) > 1})
    if double:
        raise DataError(f"{path}: the column name '{double[0]}' appears {names.count(double[0])} times; rename one")

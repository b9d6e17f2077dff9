"""ROOT files (.root): the flat branches of a tree (TTree or RNTuple), read by uproot.

A branch of one number an entry is a column, one of a fixed number of them an array of that shape. A branch whose length
differs from entry to entry has to be padded first: weft does not choose how.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from weft.data.files._base import Content, reader
from weft.errors import DataError, ToolNotFoundError

_PAD = (
    "pad it to one length first, for instance with awkward: ak.to_numpy(ak.fill_none(ak.pad_none(a, N, clip=True), 0))"
)


@reader(".root")
def read_root(path: Path, tree: str | None = None) -> Content:
    """List the branches of a tree; each is read when asked for.

    Args:
        path: The file.
        tree: Its name, with the folders that it lies in; None takes the only one.

    Raises:
        ToolNotFoundError: uproot is not installed.
        DataError: The file is damaged, there is no such tree, or there are several and none is named.
    """
    try:
        import uproot
    except ImportError:
        raise ToolNotFoundError(f"reading {path} needs uproot: pip install 'weft[root]'") from None
    try:
        with uproot.open(path) as file:
            name = _named(path, file, tree)
            held = file[name]
            shapes = {key: (int(held.num_entries), *_inner(held[key])) for key in held.keys(recursive=False)}
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"cannot read {path}: it is not a sound ROOT file ({_line(error)}); write it again") from error

    def get(key: str) -> np.ndarray:
        where = f"{path}, branch '{key}' of '{name}'"
        try:
            with uproot.open(path) as file:
                array = file[name][key].array(library="np")
        except Exception as error:
            raise DataError(f"cannot read {where}: it is damaged ({_line(error)}); write it again") from error
        return _plain(array, where)

    return Content(path, shapes, get, table=all(len(shape) == 1 for shape in shapes.values()))


def _named(path: Path, file: Any, wanted: str | None) -> str:
    trees = sorted(set(file.keys(filter_classname=["TTree", "ROOT::RNTuple"], cycle=False)))
    if wanted is not None:
        if wanted not in trees:
            raise DataError(f"{path} has no tree '{wanted}' (data.tree); it holds {', '.join(trees) or 'none'}")
        return wanted
    if not trees:
        raise DataError(f"{path} holds no tree")
    if len(trees) > 1:
        known = ", ".join(trees)
        raise DataError(f"{path} holds {len(trees)} trees ({known}); say which one with data.tree (weft init --tree)")
    return trees[0]


def _inner(branch: Any) -> tuple[int, ...]:
    """Return the shape of one entry; of a branch that cannot be read nothing, and reading it will say why."""
    try:
        return branch.array(entry_stop=1, library="np").shape[1:]
    except Exception:  # noqa: BLE001 - of files written by anything
        return ()


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


def _plain(array: np.ndarray, where: str) -> np.ndarray:
    if array.dtype.kind in "biuf":
        return array
    if len(array) and all(isinstance(item, str) for item in array):
        return array.astype(str)
    raise DataError(f"{where}: its entries differ in length or are no numbers; {_PAD}")

"""Pairs of NumPy files (.npy): features in one, labels in the other; pickled objects are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from weft.data.files._base import Content, must_exist, reader
from weft.errors import DataError


@reader(".npy")
def read_npy(path: Path) -> Content:
    """Refuse a single .npy file, which holds features or labels but not both."""
    raise DataError(
        f"cannot read features and labels from {path}: an .npy file holds one array; name two, "
        f"as {{x: {path.name}, y: labels.npy}}"
    )


def read_pair(x: Path, y: Path) -> Content:
    """Return the arrays `x` and `y` of two .npy files.

    Raises:
        DataError: a file does not exist, is no .npy file, or holds pickled objects.
    """
    arrays = {"x": _load(x), "y": _load(y)}
    return Content(x, {name: array.shape for name, array in arrays.items()}, arrays.__getitem__, table=False)


def _load(path: Path) -> np.ndarray:
    if path.suffix.lower() != ".npy":
        raise DataError(
            f"cannot read {path}: a pair {{x, y}} is made of .npy files; name a file of another format without x and y"
        )
    must_exist(path)
    try:
        return np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        if "allow_pickle" in str(error):
            raise DataError(
                f"{path}: holds pickled Python objects, which can run code when read (or is no .npy file at all); "
                f"save it as an array of numbers"
            ) from error
        raise DataError(f"cannot read {path}: it is not a sound .npy file ({error}); write it again") from error

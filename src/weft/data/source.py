"""What every source of data, a file or a named set, hands to the loader."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from weft.data.roles import Rows
from weft.data.scale import Scaler

_BLOCK = 1 << 20  # bytes hashed together


@dataclass(frozen=True)
class Source:
    """Rows and where they come from.

    Attributes:
        name: Name of the data set.
        text: One sentence for people.
        parts: Checked rows by split: `all`, or `train` and perhaps `validation` and `test`.
        sha256: Hash of the files or arrays.
        seeded: Whether the rows themselves depend on the seed.
        notes: What to know about the rows.
        scaler: A scaler that belongs to the data, or None to fit one.
    """

    name: str
    text: str
    parts: Mapping[str, Rows]
    sha256: str
    seeded: bool = False
    notes: tuple[str, ...] = ()
    scaler: Scaler | None = None


def sha256_of_files(paths: Iterable[Path]) -> str:
    """Return the hash of the bytes of files, one after the other."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    return digest.hexdigest()


def sha256_of_arrays(*arrays: np.ndarray) -> str:
    """Return the hash of the values of arrays, one after the other."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()

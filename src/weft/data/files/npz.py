"""NumPy archives (.npz): arrays `x`, `y` or `x_train`, `y_train`, `x_validation`, ...; pickled objects are refused."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np

from weft.data.files._base import Content, looks_like_columns, reader
from weft.errors import DataError

_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError)


@reader(".npz")
def read_npz(path: Path) -> Content:
    """List the arrays of an archive; each is read when asked for."""
    try:
        with zipfile.ZipFile(path) as archive:
            shapes = {name.removesuffix(".npy"): _shape(archive, name, path) for name in archive.namelist()}
    except _DAMAGE as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"cannot read {path}: it is not a sound .npz archive ({error}); write it again") from error

    def get(name: str) -> np.ndarray:
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return arrays[name]
        except _DAMAGE as error:
            raise DataError(f"cannot read array '{name}' of {path}: it is damaged ({error}); write it again") from error

    return Content(path, shapes, get, looks_like_columns(shapes))


def _shape(archive: zipfile.ZipFile, name: str, path: Path) -> tuple[int, ...]:
    with archive.open(name) as member:
        version = np.lib.format.read_magic(member)
        read_header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }.get(version)
        if read_header is None:
            raise DataError(
                f"{path}, array '{name.removesuffix('.npy')}': is in the npy format {version[0]}.{version[1]}, and "
                "weft reads 1.0 and 2.0; save each field as an array of its own, named in plain letters"
            )
        shape, _, dtype = read_header(member)
    if dtype.hasobject:
        raise DataError(
            f"{path}, array '{name.removesuffix('.npy')}': holds pickled Python objects, which can run code when read; "
            f"save it as numbers or as strings of dtype 'U'"
        )
    return shape

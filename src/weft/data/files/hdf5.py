"""HDF5 files (.h5, .hdf5): data sets `x`, `y`, `x_train`, ... or `train/x`, ..., or columns.

Whatever leads out of the file (external links, external and virtual storage) is refused.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from weft.data.files._base import Content, looks_like_columns, reader
from weft.errors import DataError

_SPLITS = ("train", "validation", "val", "test")


@reader(".h5", ".hdf5")
def read_hdf5(path: Path) -> Content:
    """List the data sets of a file; each is read when asked for.

    A group named after a split is spelled the other way: `train/x` is `x_train`. One data set of records is a table.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            found = dict(_walk(file, "", path))
            shapes = {name: file[address].shape for name, address in found.items()}
            records = {name: file[address].dtype.names for name, address in found.items() if file[address].dtype.names}
    except OSError as error:
        raise DataError(f"cannot read {path}: it is not a sound HDF5 file ({error}); write it again") from error
    if records:
        return _table_of_records(path, found, records)

    def get(name: str) -> np.ndarray:
        try:
            with h5py.File(path, "r") as file:
                return _plain(file[found[name]], f"{path}, data set '{name}'")
        except OSError as error:
            raise DataError(f"cannot read data set '{name}' of {path}: it is damaged ({error})") from error

    return Content(path, shapes, get, looks_like_columns(shapes))


def _walk(group, prefix: str, path: Path):
    """Yield (name, address) of every data set below `group`; refuse whatever leads out of the file."""
    import h5py

    for key in group:
        address = prefix + key
        link = group.get(key, getlink=True)
        if isinstance(link, h5py.ExternalLink):
            raise DataError(
                f"{path}: '{address}' is an external link to '{link.filename}', and weft reads nothing outside the "
                f"file; copy its data in"
            )
        if isinstance(link, h5py.SoftLink):
            continue  # an alias: its data set is found where it lies
        item = group[key]
        if isinstance(item, h5py.Group):
            yield from _walk(item, f"{address}/", path)
        elif isinstance(item, h5py.Dataset):
            if item.external or item.is_virtual:
                raise DataError(
                    f"{path}: the values of '{address}' lie in other files, and weft reads nothing outside the file; "
                    f"copy them in"
                )
            yield (f"{key}_{prefix[:-1]}" if prefix[:-1] in _SPLITS else address), address


def _plain(dataset, where: str) -> np.ndarray:
    import h5py

    if h5py.check_string_dtype(dataset.dtype) is not None:
        return np.asarray(dataset.asstr()[()], dtype=str)
    if dataset.dtype.hasobject:
        raise DataError(f"{where}: holds {dataset.dtype} values, neither numbers nor strings; save it as numbers")
    return np.asarray(dataset[()])


def _table_of_records(path: Path, found: dict[str, str], records: dict[str, tuple[str, ...]]) -> Content:
    import h5py

    if len(found) > 1:
        raise DataError(
            f"{path}: holds records in '{next(iter(records))}' beside {len(found) - 1} other data sets, and weft "
            f"cannot tell which to read; keep one data set of records in the file"
        )
    (name, address), fields = next(iter(found.items())), next(iter(records.values()))
    with h5py.File(path, "r") as file:
        table = file[address][()]
    columns = {field: table[field] for field in fields}
    for field, column in columns.items():
        if column.ndim != 1 or column.dtype.kind not in "biufS":
            raise DataError(
                f"{path}, field '{field}' of '{name}': holds {column.dtype} of shape {column.shape}; "
                f"a table needs one number or short string in each row"
            )
    return Content.of_columns(path, {k: v.astype(str) if v.dtype.kind == "S" else v for k, v in columns.items()})

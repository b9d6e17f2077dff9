"""Parquet tables (.parquet): every column of plain numbers, booleans or strings; a null is a missing cell."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from weft.data.files._base import Content, reader, unique_names
from weft.errors import DataError


@reader(".parquet", ".pq")
def read_parquet(path: Path) -> Content:
    """List the columns of a table; each is read when asked for."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            rows, names = file.metadata.num_rows, file.schema_arrow.names
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"cannot read {path}: it is not a sound Parquet file ({error}); write it again") from error
    unique_names(names, path)

    def get(name: str) -> np.ndarray:
        try:
            with pq.ParquetFile(path) as file:
                column = file.read([name])[name]
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"cannot read column '{name}' of {path}: it is damaged ({error})") from error
        return _plain(column, f"{path}, column '{name}'")

    return Content(path, dict.fromkeys(names, (rows,)), get, table=True)


def _plain(column, where: str) -> np.ndarray:
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if pa.types.is_boolean(kind):
        column = pc.cast(column, pa.uint8())
    elif pa.types.is_decimal(kind):
        column = pc.cast(column, pa.float64())
    elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        if pa.types.is_nested(kind):
            raise DataError(f"{where}: has the type {kind}; weft reads one number or string in each row: flatten it")
        return np.array(pc.fill_null(pc.cast(column, pa.string()), "").to_pylist(), dtype=str)
    return column.to_numpy()

"""Text tables (.csv, .tsv, .txt): separated by comma, semicolon, tab or bar, with or without a line of column names.

The separator is the one that cuts the first lines into the most, equally many cells. The first line names the columns
unless one of its cells is a number; then the columns are `c0`, `c1`, ...
"""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np

from weft.data.files._base import Content, reader, unique_names
from weft.errors import DataError

_SEPARATORS = (",", ";", "\t", "|")
_SNIFFED_BYTES = 1 << 18
_SNIFFED_LINES = 20


@reader(".csv", ".tsv", ".txt")
def read_csv(path: Path) -> Content:
    """Read a text table; a column is numbers if every cell is one, otherwise strings.

    Raises:
        DataError: a row has too many or too few cells, a column name appears twice, or there are no rows.
    """
    lines, blank_before = _first_lines(path)
    separator = _separator(lines)
    first = next(csv.reader(io.StringIO(lines[0]), delimiter=separator))
    first = [cell.strip() for cell in first]
    has_names = not any(_is_number(cell) for cell in first)
    names = first if has_names else [f"c{i}" for i in range(len(first))]
    unique_names(names, path)
    if "" in names:
        raise DataError(f"{path}: column {names.index('') + 1} of {len(names)} has no name in the first line; name it")
    table = _read(path, names, separator, skip=blank_before + 1 if has_names else 0)
    if table.num_rows == 0:
        raise DataError(f"cannot read {path}: the file is empty below its line of column names")
    return Content.of_columns(path, {name: _column(table[name]) for name in names})


def _first_lines(path: Path) -> tuple[list[str], int]:
    with path.open("rb") as file:
        text = file.read(_SNIFFED_BYTES).decode("utf-8-sig", errors="replace")
    lines = text.splitlines()
    if len(text) >= _SNIFFED_BYTES and len(lines) > 1:
        lines.pop()  # it may be cut
    blank_before = next((i for i, line in enumerate(lines) if line.strip()), None)
    if blank_before is None:
        raise DataError(f"cannot read {path}: the file is empty (only blank lines)")
    return [line for line in lines if line.strip()][:_SNIFFED_LINES], blank_before


def _separator(lines: list[str]) -> str:
    def cells(separator: str) -> tuple[int, int]:
        widths = [len(row) for row in csv.reader(lines, delimiter=separator)]
        return (sum(width == widths[0] for width in widths) if widths[0] > 1 else 0, widths[0])

    return max(_SEPARATORS, key=cells)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _read(path: Path, names: list[str], separator: str, skip: int):
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    wrong = []

    def note(row) -> str:
        wrong.append(row)
        return "error"

    try:
        return arrow_csv.read_csv(
            path,
            read_options=arrow_csv.ReadOptions(column_names=names, skip_rows=skip, use_threads=False),
            parse_options=arrow_csv.ParseOptions(delimiter=separator, invalid_row_handler=note),
            convert_options=arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
            ),
        )
    except pa.ArrowInvalid as error:
        if wrong:
            row = wrong[0]
            raise DataError(
                f"{path}, row {row.number - skip}: has {row.actual_columns} cells where the first line has "
                f"{row.expected_columns}, separated by {separator!r}: {row.text[:80]!r}; complete or remove the row"
            ) from error
        if "Empty CSV" in str(error):
            raise DataError(f"cannot read {path}: the file is empty below its line of column names") from error
        raise DataError(f"cannot read {path}: {error}; save it as UTF-8 text, one row a line") from error


def _column(column) -> np.ndarray:
    import pyarrow as pa
    import pyarrow.compute as pc

    trimmed = pc.utf8_trim_whitespace(column)
    try:
        return pc.cast(trimmed, pa.float64()).to_numpy()
    except pa.ArrowInvalid:
        return np.array(trimmed.to_pylist(), dtype=str)

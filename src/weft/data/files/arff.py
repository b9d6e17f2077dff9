"""ARFF tables (.arff), the format of Weka and OpenML: numeric, nominal and string attributes in dense rows.

Source: "Attribute-Relation File Format (ARFF)", Weka manual 3.8, chapter 9. Sparse rows, relational attributes and
instance weights are refused; `?` is a missing cell.
"""

from __future__ import annotations

import math
import re
from array import array
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from weft.data.files._base import Content, reader, unique_names
from weft.errors import DataError

_QUOTED = r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\""
_ATTRIBUTE = re.compile(rf"@attribute\s+({_QUOTED}|[^\s{{]+)\s*(\{{.*\}}|\S.*)$", re.IGNORECASE)
_CELL = re.compile(rf"\s*({_QUOTED}|[^,]*?)\s*(?:,|$)")
_BLOCK = 4096  # rows turned into columns together
_NUMERIC = ("numeric", "real", "integer")


@dataclass
class _Attribute:
    name: str
    values: frozenset[str] | None  # of a nominal attribute
    cells: array | list[str] = field(default_factory=list)

    def add(self, cells: tuple[str | None, ...]) -> None:
        """Append cells, None where one is missing; raises ValueError if one does not fit."""
        if isinstance(self.cells, array):
            self.cells.extend([math.nan if cell is None else float(cell) for cell in cells])
        else:
            if self.values is not None:
                for cell in set(cells) - self.values - {None}:
                    raise ValueError(f"{cell!r} is none of the declared values {', '.join(sorted(self.values))[:80]}")
            self.cells.extend(["" if cell is None else cell for cell in cells])

    def column(self) -> np.ndarray:
        return np.array(self.cells, dtype=float if isinstance(self.cells, array) else str)


@reader(".arff")
def read_arff(path: Path) -> Content:
    """Read a dense ARFF table; nominal attributes become strings.

    Raises:
        DataError: the header is not understood, the rows are sparse, or a row or a cell does not fit its attribute.
    """
    attributes: list[_Attribute] = []
    in_data, row, block = False, 0, []
    try:
        with path.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, 1):
                line = line.strip()
                if not line or line.startswith("%"):
                    continue
                if in_data:
                    row += 1
                    block.append(_row(attributes, line, f"{path}, row {row}"))
                    if len(block) == _BLOCK:
                        _add(attributes, block, path, row)
                        block = []
                elif line.lower().startswith("@data"):
                    in_data = True
                elif line.lower().startswith("@attribute"):
                    attributes.append(_attribute(line, f"{path}, line {number}"))
                elif not line.lower().startswith("@relation"):
                    raise DataError(
                        f"{path}, line {number}: {line[:60]!r} is no ARFF declaration; expected @attribute or @data"
                    )
        _add(attributes, block, path, row)
    except UnicodeDecodeError as error:
        raise DataError(f"cannot read {path}: it is not UTF-8 text ({error}); save it as UTF-8") from error
    if not in_data or not attributes:
        raise DataError(
            f"cannot read {path}: it declares {len(attributes)} attributes and {'a' if in_data else 'no'} @data "
            f"section; is it cut short?"
        )
    if row == 0:
        raise DataError(f"cannot read {path}: the file is empty below @data")
    unique_names([attribute.name for attribute in attributes], path)
    return Content.of_columns(path, {attribute.name: attribute.column() for attribute in attributes})


def _attribute(line: str, where: str) -> _Attribute:
    match = _ATTRIBUTE.match(line)
    if match is None:
        raise DataError(f"{where}: cannot read {line[:60]!r}; expected '@attribute NAME TYPE'")
    name, kind = _unquoted(match[1]), match[2].strip()
    if kind.startswith("{"):
        return _Attribute(name, frozenset(cell for cell in _cells(kind[1:-1]) if cell is not None))
    word = kind.split()[0].lower()
    if word in _NUMERIC:
        return _Attribute(name, None, array("d"))
    if word in ("string", "date"):
        return _Attribute(name, None)
    raise DataError(f"{where}: attribute '{name}' has the type '{kind}'; weft reads numeric, nominal, string and date")


def _row(attributes: list[_Attribute], line: str, where: str) -> list[str | None]:
    if line.startswith("{"):
        raise DataError(f"{where}: is sparse ({line[:40]!r}), and weft reads dense ARFF only; convert the file")
    cells = _cells(line)
    if len(cells) != len(attributes):
        raise DataError(
            f"{where}: has {len(cells)} cells for {len(attributes)} attributes: {line[:80]!r}; "
            f"complete or remove the row"
        )
    return cells


def _add(attributes: list[_Attribute], block: list[list[str | None]], path: Path, last_row: int) -> None:
    """Append a block of rows, of which the last is `last_row`, to the columns."""
    for attribute, cells in zip(attributes, zip(*block, strict=True), strict=False):
        try:
            attribute.add(cells)
        except ValueError:
            _refuse(attribute, cells, path, last_row - len(block))


def _refuse(attribute: _Attribute, cells: tuple[str | None, ...], path: Path, before: int) -> None:
    for row, cell in enumerate(cells, before + 1):
        try:
            attribute.add((cell,))
        except ValueError as error:
            what = f"{cell!r} is not a number" if isinstance(attribute.cells, array) else error
            raise DataError(f"{path}, row {row}, column '{attribute.name}': {what}; correct the cell") from None


def _cells(text: str) -> list[str | None]:
    """Cut a row into cells, without their quotes; an unquoted `?` is None."""
    found: list[str | None]
    if "'" not in text and '"' not in text:
        found = [cell.strip() for cell in text.split(",")]
        return [None if cell == "?" else cell for cell in found] if "?" in text else found
    found, at = [], 0
    while True:
        match = _CELL.match(text, at)
        assert match is not None  # it matches any text
        found.append(None if match[1] == "?" else _unquoted(match[1]))
        at = match.end()
        if not match[0].endswith(","):
            return found


def _unquoted(text: str) -> str:
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "'\"":
        return re.sub(r"\\(.)", r"\1", text[1:-1])
    return text

"""A data set by name, and a reader of files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from weft.data import Content, Rows, Source, sha256_of_arrays
from weft.errors import DataError

if TYPE_CHECKING:
    from weft.config import DataConfig


def two_rings(config: DataConfig) -> Source:
    """Return 600 points of two rings around the origin, with their squares: (600, 4); the label is the ring."""
    rng = np.random.default_rng(config.seed)
    label = np.arange(600) % 2
    angle, radius = rng.uniform(0, 2 * np.pi, 600), 1 + label + rng.normal(0, 0.1, 600)
    point = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    x = np.concatenate([point, point**2], axis=1)
    rows = Rows(x, label, None, "two-rings", "label", ("x", "y", "xx", "yy"), ("inner", "outer"))
    return Source("two-rings", "two rings, simulated", {"all": rows}, sha256_of_arrays(x, label), seeded=True)


def read_dat(path: Path) -> Content:
    """Read a table of numbers separated by blanks; the first line, behind a #, names the columns."""
    lines = path.read_text("utf-8").splitlines()
    if not lines or not lines[0].startswith("#"):
        raise DataError(f"cannot read {path}: the first line must be '#' and the names of the columns")
    names = lines[0].removeprefix("#").split()
    table = np.loadtxt(lines[1:], ndmin=2)
    return Content.of_columns(path, {name: table[:, i] for i, name in enumerate(names)})

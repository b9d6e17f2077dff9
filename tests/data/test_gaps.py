"""Rows with gaps are refused, or left out where the experiment says so; labels that are values, and not numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from weft.config import loads
from weft.data import load
from weft.data.files._base import Content
from weft.data.labels import encode
from weft.data.roles import assign
from weft.errors import ConfigError, DataError


def table(**columns) -> Content:
    return Content.of_columns(Path("a.csv"), {name: np.asarray(column) for name, column in columns.items()})


HOLES = {
    "a": ["1", "", "3", "N/A", "5", "6"],
    "b": [1.0, 2.0, np.nan, 4.0, 5.0, np.inf],
    "label": ["x", "y", "x", "y", "", "x"],
}


def test_rows_with_a_gap_are_left_out():
    rows = assign(table(**HOLES), missing="drop")["all"]
    np.testing.assert_array_equal(rows.x, [[1, 1]])
    assert (rows.y.tolist(), rows.dropped) == (["x"], 5)


def test_weights_go_with_their_rows():
    rows = assign(table(a=[1.0, np.nan, 3.0], w=["1", "2", "nan"], label=[0, 1, 1]), weight="w", missing="drop")["all"]
    assert (rows.x.tolist(), rows.weight.tolist(), rows.dropped) == ([[1.0]], [1.0], 2)


def test_a_word_that_is_no_gap_is_refused_all_the_same():
    with pytest.raises(DataError, match=r"row 2: 'three' is not a number; correct it, or leave the column out of data"):
        assign(table(a=["1", "three"], label=["x", "y"]), missing="drop")


def test_a_gap_is_refused_with_the_way_out():
    with pytest.raises(DataError, match=r"row 2: the cell is empty, a missing value.*data\.missing: drop"):
        assign(table(a=["1", ""], label=["x", "y"]))
    with pytest.raises(DataError, match=r"row 2: 'N/A' is not a number, a missing value.*data\.missing: drop"):
        assign(table(a=["1", "N/A"], label=["x", "y"]))
    with pytest.raises(DataError, match=r"row 2: the value is NaN.*or set data\.missing: drop"):
        assign(table(a=[1.0, np.nan], label=["x", "y"]))


def test_a_table_of_gaps_is_refused():
    with pytest.raises(DataError, match=r"every row has a gap, so data\.missing: drop leaves none"):
        assign(table(a=[np.nan, np.nan], label=[0, 1]), missing="drop")


def test_values_are_classes_where_the_experiment_says_so():
    parts = assign(table(a=[1.0, 2, 3, 4], label=[-1, 7, 7, 30]))
    labels = encode(parts, "auto", "values")
    assert labels.class_names == ("-1", "7", "30")
    assert labels.y["all"].tolist() == [0, 1, 1, 2]
    with pytest.raises(DataError, match="row 1: the label -1 is out of range"):
        encode(parts, "auto")


def test_a_missing_label_is_no_class():
    parts = assign(table(a=[1.0, 2], label=[3.0, np.nan]))
    with pytest.raises(DataError, match="row 2: the label is NaN, a missing value"):
        encode(parts, "classification", "values")


@pytest.mark.parametrize("key", ["missing: drop", "classes: values"])
def test_named_data_have_no_gaps(key):
    with pytest.raises(ConfigError, match=r"says nothing about jets-hlf, which is complete"):
        loads(f"version: 1\nname: a\ndata: {{name: jets-hlf, {key}}}")


def test_the_provenance_says_how_many_rows_were_left_out(tmp_path):
    rng = np.random.default_rng(0)
    rows = [f"{a},{'' if i % 10 == 0 else b},{i % 2 + 3}" for i, (a, b) in enumerate(rng.normal(size=(100, 2)))]
    (tmp_path / "a.csv").write_text("\n".join(["a,b,label", *rows]))
    text = "version: 1\nname: a\ndata: {files: {all: a.csv}, missing: drop, classes: values}"
    data = load(loads(text).data, tmp_path)
    assert "10 rows with a gap left out (all)" in data.provenance.notes
    assert data.class_names == ("3", "4")

"""A look into a file: the label, the task, the features and the gaps, as the loader then reads them."""

from __future__ import annotations

import numpy as np
import pytest

from weft.config import loads
from weft.data import load
from weft.draft import Request, draft_config, look_at
from weft.errors import DataError

KINDS = ("electron", "muon", "pion")


def write(path, header, rows, separator=","):
    path.write_text("\n".join(separator.join(map(str, row)) for row in [header, *rows]) + "\n")
    return path


def events(n=300, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, n)
    return np.round(rng.normal(size=(n, 3)) + y[:, None], 3), y


def loaded(look, folder):
    """Return the data set of the experiment that is drafted from a look."""
    text = draft_config(look.fill(Request(files=look.path)), {"data": look.notes})
    return load(loads(text).data, folder)


def test_a_table_with_quirks_becomes_a_data_set(tmp_path):
    x, y = events()
    rows = [
        [i + 7, *row, "tracker", "", 1.5, kind, label]
        for i, (row, kind, label) in enumerate(zip(x.tolist(), np.array(["a", "b", "c"])[y], y + 1, strict=True))
    ]
    rows[3][1], rows[5][2], rows[8][3], rows[9][1] = "", "N/A", "inf", "nan"
    header = ["Event", "pt", "eta [rad]", "phi", "detector", "note", "weight", "kind id", "particle"]
    path = write(tmp_path / "my events.csv", header, rows, ";")
    look = look_at(path, "particle")
    assert (look.task, look.class_names, look.classes) == ("classification", ("1", "2", "3"), "values")
    assert look.features == ("pt", "eta [rad]", "phi")
    assert look.missing == "drop"
    said = "\n".join(look.notes)
    for words in (
        "300 rows, 9 columns",
        "The label is 'particle', as you said: 3 classes: 1, 2, 3",
        "each different value is a class",
        "'Event', it looks like a number of the row",
        "'detector', it never changes",
        "'note', it is empty",
        "'weight', it never changes",
        "'kind id', text (a, b, c)",
        "4 of 300 rows have a gap (pt 2, eta [rad] 1, phi 1) and are left out",
    ):
        assert words in said
    data = loaded(look, tmp_path)
    assert len(data.train) + len(data.validation) + len(data.test()) == 296
    assert data.class_names == ("1", "2", "3")
    assert any("4 rows with a gap left out" in note for note in data.provenance.notes)


@pytest.mark.parametrize(
    ("header", "label", "why"),
    [
        (["a", "b", "c", "Label"], "Label", "by its name"),
        (["a", "kind", "c", "d"], "kind", "by its name"),
        (["a", "b", "c", "d"], "d", "the last column, of 3 different whole numbers"),
    ],
)
def test_the_label_is_found(tmp_path, header, label, why):
    x, y = events()
    columns = [*x.T[:3], y]
    columns.insert(header.index(label), columns.pop())
    look = look_at(write(tmp_path / "a.csv", header, zip(*columns, strict=True)))
    assert look.label == label
    assert why in look.notes[1]


def test_a_column_of_words_is_the_label(tmp_path):
    x, y = events()
    look = look_at(write(tmp_path / "a.csv", "abcd", [[KINDS[k], *row] for k, row in zip(y, x, strict=True)]))
    assert (look.label, look.class_names) == ("a", KINDS)
    assert look.features == ()  # all
    assert loaded(look, tmp_path).class_names == KINDS


def test_a_label_that_cannot_be_told_is_not_guessed(tmp_path):
    x, y = events()
    look = look_at(write(tmp_path / "a.csv", "abc", x))
    assert (look.label, look.task) == (None, None)
    assert look.notes[-1] == "no column looks like the label more than another"
    look = look_at(write(tmp_path / "b.csv", ["label", "y", "c"], zip(y, y, x[:, 0], strict=True)))
    assert look.label is None
    assert "'label' and 'y' could both be the label" in look.notes[-1]


def test_a_column_that_gives_the_answer_away_is_left_out(tmp_path):
    x, y = events()
    rows = [[*row, 10 - 3 * k, KINDS[k]] for row, k in zip(x, y, strict=True)]
    look = look_at(write(tmp_path / "a.csv", ["a", "b", "c", "code", "label"], rows))
    assert look.features == ("a", "b", "c")
    assert "gives the answer away" in "\n".join(look.notes)


def test_numbers_are_a_regression_and_two_values_a_binary_task(tmp_path):
    x, y = events()
    look = look_at(write(tmp_path / "a.csv", "abc", x), "c")
    assert look.task == "regression"
    assert loaded(look, tmp_path).task == "regression"
    look = look_at(
        write(tmp_path / "b.csv", ["a", "b", "y"], [[*r[:2], 2 * (k > 0) - 1] for r, k in zip(x, y, strict=True)])
    )
    assert (look.task, look.class_names, look.classes) == ("binary", ("-1", "1"), "values")
    assert loaded(look, tmp_path).class_names == ("-1", "1")


def test_few_rows_of_a_class_are_said(tmp_path):
    x, y = events()
    y[:] = 0
    y[:5] = 1
    look = look_at(write(tmp_path / "a.csv", "abcd", [[*r, KINDS[k]] for r, k in zip(x, y, strict=True)]), "d")
    said = "\n".join(look.notes)
    assert "Few rows: muon (5)" in said
    assert "class_weights: balanced" in said


def test_arrays_are_looked_into_as_well(tmp_path):
    x, y = events()
    x[4, 1] = np.nan
    np.savez(tmp_path / "a.npz", x=x, y=y + 1)
    look = look_at(tmp_path / "a.npz")
    assert (look.task, look.classes, look.missing, look.columns) == ("classification", "values", "drop", ())
    assert "300 rows (all) of shape (3,); the labels are 'y', 3 classes: 1, 2, 3" in look.notes[0]
    assert len(loaded(look, tmp_path).train) == 299 - 60 - 45
    import h5py

    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["x_train"], file["target_train"] = np.nan_to_num(x), x[:, 0].astype(float) * 0 + np.arange(300) / 7
        file["x_test"], file["target_test"] = np.nan_to_num(x), np.arange(300) / 3
    look = look_at(tmp_path / "b.h5")
    assert (look.task, look.rows, look.missing) == ("regression", 600, "refuse")


def test_a_parquet_table_is_looked_into(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    x, y = events()
    kinds = [None if i == 3 else KINDS[k] for i, k in enumerate(y)]
    pq.write_table(pa.table({"a": x[:, 0], "b": x[:, 1], "species": kinds}), tmp_path / "a.parquet")
    look = look_at(tmp_path / "a.parquet")
    assert (look.label, look.class_names, look.missing) == ("species", KINDS, "drop")
    assert loaded(look, tmp_path).class_names == KINDS


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"label": "knid"}, r"a\.csv has no column 'knid'; did you mean 'kind'\?; it has 'a', 'b', 'kind'"),
        ({"label": "kind", "features": ["c"]}, r"has no column 'c'"),
    ],
)
def test_a_column_that_is_not_there_is_refused(tmp_path, given, message):
    path = write(tmp_path / "a.csv", ["a", "b", "kind"], [[1, 2, "x"], [3, 5, "y"]])
    with pytest.raises(DataError, match=message):
        look_at(path, **given)


def test_a_table_without_features_is_refused(tmp_path):
    path = write(tmp_path / "a.csv", ["note", "kind"], [["foo", "x"], ["bar", "y"]])
    with pytest.raises(DataError, match=r"no column is left to learn from beside the label 'kind'"):
        look_at(path, "kind")

"""Labels become class numbers or targets, and say what they cannot become."""

from __future__ import annotations

import numpy as np
import pytest

from weft.data.labels import encode
from weft.data.roles import Rows
from weft.errors import DataError


def rows(y, class_names=()) -> Rows:
    y = np.asarray(y)
    return Rows(np.ones((len(y), 1)), y, None, "a.csv", "kind", ("x0",), tuple(class_names))


def encode_one(y, task="auto", class_names=()):
    return encode({"all": rows(y, class_names)}, task)


def test_strings_are_classes_in_alphabetical_order():
    found = encode_one(["w", "g", "q", "g"])
    assert (found.task, found.class_names) == ("classification", ("g", "q", "w"))
    np.testing.assert_array_equal(found.y["all"], [2, 0, 1, 0])
    assert found.y["all"].dtype == np.int32


def test_two_classes_are_a_binary_task_unless_told():
    assert encode_one(["g", "q"]).task == "binary"
    assert encode_one([0, 1, 1]).task == "binary"
    assert encode_one([True, False]).task == "binary"
    assert encode_one([0, 1, 1], "classification").task == "classification"


def test_splits_share_one_numbering():
    found = encode({"train": rows(["b", "a", "c"]), "test": rows(["c", "b"])}, "auto")
    np.testing.assert_array_equal(found.y["test"], [2, 1])
    mixed = encode({"train": rows(["1", "2", "x"]), "test": rows(["1", "2"])}, "auto")
    assert mixed.class_names == ("1", "2", "x")


def test_numbers_in_strings_and_whole_floats_are_class_numbers():
    assert encode_one(["0", "2", "1"]).class_names == ("0", "1", "2")
    np.testing.assert_array_equal(encode_one([0.0, 2.0, 1.0]).y["all"], [0, 2, 1])


def test_one_hot_rows_are_classes_and_say_so():
    found = encode_one(np.eye(3)[[2, 0, 1]])
    np.testing.assert_array_equal(found.y["all"], [2, 0, 1])
    assert found.notes == ("one-hot labels were read as class numbers",)


def test_other_numbers_are_targets():
    found = encode_one([0.5, 1.5])
    assert (found.task, found.class_names) == ("regression", ())
    assert found.y["all"].shape == (2, 1)
    assert found.y["all"].dtype == np.float32
    assert encode_one([[0.5, 1], [2, 3]]).y["all"].shape == (2, 2)
    assert encode_one([0, 1, 2], "regression").task == "regression"
    assert encode_one(np.eye(2), "regression").y["all"].shape == (2, 2)


def test_stated_class_names_are_kept():
    assert encode_one([0, 1, 0], class_names=["g", "q"]).class_names == ("g", "q")


@pytest.mark.parametrize(
    ("y", "task", "names", "message"),
    [
        (
            [0, 1, -1],
            "auto",
            (),
            r"a\.csv, column 'kind', row 3: the label -1 is out of range 0\.\.1000000; number the",
        ),
        ([0, 1, 2], "auto", ("g", "q"), r"a\.csv, column 'kind', row 3: the label 2 is out of range 0\.\.1"),
        (
            [0, 0.5, 1],
            "classification",
            (),
            r"row 2: the label 0\.5 is no whole number; .* or set data\.task to regression",
        ),
        ([0, 1, np.nan], "classification", (), r"row 3: the label is NaN, a missing value; correct or remove the row"),
        (["g", "", "q"], "auto", (), r"a\.csv, column 'kind', row 2: the label is missing"),
        (range(101), "auto", (), r"a\.csv: 'kind' holds 101 different whole numbers, .* set data\.task to"),
        (
            [f"w{i}" for i in range(101)],
            "auto",
            (),
            r"a\.csv: 'kind' holds 101 different strings, .* check data\.label",
        ),
        (
            [[0, 2], [1, 1]],
            "classification",
            (),
            r"labels 'kind' of shape \(2, 2\) are no classes; give one class a row",
        ),
        (["g", "g"], "auto", (), r"a classification task needs 2 or more classes, but 'kind' holds 1: g"),
        ([0, 1, 2], "binary", (), r"a binary task needs 2 classes, but 'kind' holds 3: 0, 1, 2; check data\.label and"),
        (["g", "1"], "regression", (), r"a\.csv, column 'kind', row 1: 'g' is not a number"),
        ([0.5, np.nan], "auto", (), r"a\.csv, column 'kind', row 2: the value is NaN, a missing value"),
        ([[0.5, 1], [1, np.inf]], "auto", (), r"a\.csv, column 'kind\[1\]', row 2: the value is inf"),
    ],
)
def test_unusable_labels_are_named(y, task, names, message):
    with pytest.raises(DataError, match=message):
        encode_one(list(y), task, names)

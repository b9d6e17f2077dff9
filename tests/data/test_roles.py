"""Which columns and arrays become features, labels and weights; and the checks of what they hold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.data.files import read
from weft.data.files._base import Content
from weft.data.roles import assign, choose_features, default_names
from weft.errors import DataError


def table(**columns) -> Content:
    from pathlib import Path

    return Content.of_columns(Path("a.csv"), {name: np.asarray(column) for name, column in columns.items()})


def arrays(**named) -> Content:
    from pathlib import Path

    named = {name: np.asarray(array) for name, array in named.items()}
    return Content(Path("a.npz"), {k: v.shape for k, v in named.items()}, named.__getitem__, table=False)


X, Y = np.arange(8.0).reshape(4, 2), np.array([0, 1, 0, 1])


# tables


@pytest.mark.parametrize("name", ["label", "target", "class", "y", "Class"])
def test_the_label_is_guessed_by_its_name(name):
    rows = assign(table(a=[1.0, 2], **{name: [0, 1]}))["all"]
    assert rows.label == name
    assert rows.feature_names == ("a",)
    np.testing.assert_array_equal(rows.x, [[1], [2]])


def test_the_label_is_not_guessed_among_several_or_none():
    with pytest.raises(DataError, match=r"a\.csv: .*label: y and class could both be; set data\.label; found 'a', 'y'"):
        assign(table(a=[1.0], y=[0], **{"class": [1]}))
    with pytest.raises(DataError, match=r"none is called label, target, class, y; set data\.label; found 'a', 'b'"):
        assign(table(a=[1.0], b=[0]))


def test_features_are_taken_in_the_order_asked_for():
    rows = assign(table(a=[1, 2], b=[3, 4], c=[5, 6], label=[0, 1]), features=["c", "a"])["all"]
    assert rows.feature_names == ("c", "a")
    np.testing.assert_array_equal(rows.x, [[5, 1], [6, 2]])


@given(st.permutations(["a", "b", "c", "label", "w"]))
def test_the_order_of_the_columns_changes_nothing(order):
    columns = {"a": [1, 2], "b": [3, 4], "c": [5, 6], "label": [0, 1], "w": [0.5, 2]}
    rows = assign(table(**{name: columns[name] for name in order}), features=["a", "b", "c"], weight="w")["all"]
    np.testing.assert_array_equal(rows.x, [[1, 3, 5], [2, 4, 6]])
    np.testing.assert_array_equal(rows.y, [0, 1])
    np.testing.assert_array_equal(rows.weight, [0.5, 2])


def test_weights_ignored_columns_and_the_label_are_no_features():
    rows = assign(table(a=[1], w=[2.0], id=[7], label=[0]), weight="w", ignore=["id"])["all"]
    assert rows.feature_names == ("a",)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"label": "lable"},
            r"a\.csv: data\.label names the column 'lable', which does not exist; did you mean 'label'\?",
        ),
        ({"weight": "w"}, r"data\.sample_weight names the column 'w', which does not exist; found 'mass', 'label'"),
        ({"features": ["mas"]}, r"data\.features names the column 'mas', .* did you mean 'mass'\?"),
        ({"features": ["mass", "label"]}, r"data\.features lists the label 'label', so the answer is an input"),
        ({"features": ["mass", "mass"]}, r"data\.features lists 'mass' more than once"),
        ({"ignore": ["mass"]}, r"a\.csv: has no column beside the label 'label'; found 'mass', 'label'"),
    ],
)
def test_a_wrong_name_is_answered_with_the_columns(options, message):
    with pytest.raises(DataError, match=message):
        assign(table(mass=[1.0], label=[0]), **options)


def test_many_columns_are_listed_shortly():
    with pytest.raises(DataError, match=r"'c19' and 10 more$"):
        assign(table(**{f"c{i}": [1.0] for i in range(30)}))


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (
            ["1", "2", "three"],
            r"a\.csv, column 'a', row 3: 'three' is not a number; correct it, or leave the column out",
        ),
        (["1", "", "3"], r"a\.csv, column 'a', row 2: the cell is empty, a missing value"),
        (
            [1.0, 2.0, np.nan],
            r"a\.csv, column 'a', row 3: the value is NaN, a missing value; correct or remove the row",
        ),
        ([1.0, -np.inf, 0.0], r"a\.csv, column 'a', row 2: the value is -inf, which is not finite in float32"),
        ([1.0, 2.0, 1e39], r"a\.csv, column 'a', row 3: the value is 1e\+39, which is not finite in float32"),
        ([1j, 2j, 3j], r"a\.csv, column 'a': holds complex128 values; weft reads real numbers and strings"),
    ],
)
def test_an_unusable_cell_is_named_by_file_column_and_row(cells, message):
    with pytest.raises(DataError, match=message):
        assign(table(b=[1, 2, 3], a=cells, label=[0, 1, 0]))


def test_a_bad_cell_outside_the_features_does_no_harm():
    assert assign(table(a=[1, 2], note=["x", ""], label=[0, 1]), features=["a"])["all"].x.shape == (2, 1)


def test_numbers_written_in_unusual_ways_are_read():
    np.testing.assert_array_equal(assign(table(a=["+1", " 2e1"], label=[0, 1]))["all"].x, [[1], [20]])


def test_the_row_is_found_beyond_the_first_block():
    x = np.zeros((70_000, 2), np.float32)
    x[66_000, 1] = np.nan
    with pytest.raises(DataError, match=r"column 'x1', row 66001"):
        assign(arrays(x=x, y=np.zeros(70_000)))


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1.0, -0.5], r"a\.csv, sample weight of row 2: is -0\.5; weights must be finite and >= 0"),
        ([np.nan, 1.0], r"a\.csv, sample weight of row 1: is nan; weights must be finite"),
        ([0.0, 0.0], r"a\.csv: every sample weight is 0, so no row counts"),
        (["x", "1"], r"a\.csv, column 'w', row 1: 'x' is not a number"),
    ],
)
def test_weights_are_finite_and_not_negative(weights, message):
    with pytest.raises(DataError, match=message):
        assign(table(a=[1.0, 2], w=weights, label=[0, 1]), weight="w")


# arrays


def test_arrays_of_one_set_and_of_three_splits_are_found():
    assert set(assign(arrays(x=X, y=Y))) == {"all"}
    parts = assign(arrays(x_train=X, y_train=Y, X_val=X, Y_val=Y, x_test=X, y_test=Y))
    assert set(parts) == {"train", "validation", "test"}
    assert parts["train"].feature_names == ("x0", "x1")


def test_arrays_may_name_features_classes_labels_and_weights():
    content = arrays(
        x=X, state=Y, w=np.ones(4), feature_names=np.array(["pt", "eta"]), class_names=np.array([b"g", b"q"])
    )
    rows = assign(content, label="state", weight="w", features=["eta"])["all"]
    assert rows.feature_names == ("eta",)
    assert rows.class_names == ("g", "q")
    np.testing.assert_array_equal(rows.x, X[:, 1:])


@pytest.mark.parametrize(
    ("named", "options", "message"),
    [
        (
            {"x": X},
            {},
            r"a\.npz: cannot tell which array holds the labels, since none of label, target, class, y exist",
        ),
        ({"x": X, "y": Y, "label": Y}, {}, r"since several of label, target, class, y exist; set data\.label"),
        ({"z": X, "y": Y}, {}, r"a\.npz: holds no array 'x' or 'x_train'; rename the features; found 'z', 'y'"),
        ({"x_train": X, "y_train": Y, "x_test": X}, {}, r"a\.npz: the labels 'y_test' are missing"),
        ({"x": X, "y": Y}, {"weight": "w"}, r"a\.npz: the weights 'w' are missing"),
        ({"x": X, "y": Y, "x_train": X, "y_train": Y}, {}, r"a\.npz: holds 'x' beside 'x_train'"),
        ({"x_test": X, "y_test": Y}, {"label": "y"}, r"a\.npz: holds test rows but no 'x_train'"),
        (
            {"x_val": X, "y_val": Y, "x_validation": X, "y_validation": Y},
            {"label": "y"},
            r"a\.npz: holds the validation split under two names",
        ),
        ({"x": X, "y": Y[:3]}, {}, r"array 'x': 4 rows of features of shape \(2,\), but 3 labels in 'y'"),
        ({"x": X[:, 0], "y": Y}, {}, r"array 'x': the features have the shape \(4,\); expected \(rows, features\)"),
        ({"x": X[:0], "y": Y[:0]}, {}, r"array 'x': the file is empty, it has no rows"),
        ({"x": X, "y": np.ones((4, 2, 2))}, {}, r"the labels 'y' have the shape \(4, 2, 2\); expected \(rows,\) or"),
        ({"x": X.astype(str), "y": Y}, {}, r"array 'x': the features hold <U32 values; weft reads real numbers"),
        ({"x": X, "y": Y, "feature_names": ["a"]}, {}, r"holds 1 feature_names for 2 features; give each one name"),
        ({"x": X, "y": Y, "w": X}, {"weight": "w"}, r"the sample weights have the shape \(4, 2\) and type float64"),
    ],
)
def test_arrays_that_do_not_fit_are_named(named, options, message):
    with pytest.raises(DataError, match=message):
        assign(arrays(**named), **options)


def test_features_of_several_axes_have_names_and_cannot_be_chosen():
    assert default_names((2, 2)) == ("x0_0", "x0_1", "x1_0", "x1_1")
    rows = assign(arrays(x=np.ones((4, 2, 3)), y=Y))["all"]
    with pytest.raises(
        DataError, match=r"cannot choose data\.features from a\.npz, array 'x': its rows have .* \(2, 3\)"
    ):
        choose_features(rows, ["x0_0"])


def test_half_precision_features_are_checked_without_overflow(tmp_path):
    np.savez(tmp_path / "a.npz", x=X.astype(np.float16), y=Y)
    assert assign(read(tmp_path / "a.npz"))["all"].x.dtype == np.float16

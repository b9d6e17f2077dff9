"""Every reader: what it reads, and what it says about what it cannot."""

from __future__ import annotations

import csv as csv_module
import io
import zipfile

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.data.files import READERS, read, read_pair
from weft.data.files.arff import _cells
from weft.errors import DataError


def columns(path):
    content = read(path)
    return {name: content.get(name) for name in content.shapes}


def write(path, text):
    path.write_text(text)
    return path


# every format


def test_every_suffix_has_a_reader():
    assert set(READERS) == {".npz", ".npy", ".h5", ".hdf5", ".csv", ".tsv", ".txt", ".parquet", ".pq", ".arff", ".root"}


def test_an_unknown_suffix_lists_the_known_ones(tmp_path):
    with pytest.raises(DataError, match=r"a\.xlsx: no reader knows the suffix '\.xlsx'; convert it to one of .*\.csv"):
        read(tmp_path / "a.xlsx")


@pytest.mark.parametrize("suffix", sorted(READERS.keys() - {".npy"}))
def test_a_missing_an_empty_and_a_damaged_file_are_named(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    with pytest.raises(DataError, match=rf"a\{suffix}: there is no such file; paths in data.files are relative"):
        read(path)
    path.write_bytes(b"")
    with pytest.raises(DataError, match=rf"a\{suffix}: the file is empty \(0 bytes\)"):
        read(path)


@pytest.mark.parametrize("suffix", [".npz", ".h5", ".parquet"])
def test_bytes_of_another_format_are_refused(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"this is not what the name says" * 10)
    with pytest.raises(DataError, match=rf"a\{suffix}: it is not a sound .* write it again"):
        read(path)


# csv


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_csv_separators_are_found(tmp_path, separator):
    rows = [["pt", "eta", "label"], ["1.5", "-2", "0"], ["2e3", "+4", "1"]]
    found = columns(write(tmp_path / "a.csv", "\n".join(separator.join(row) for row in rows) + "\n"))
    assert list(found) == ["pt", "eta", "label"]
    np.testing.assert_array_equal(found["pt"], [1.5, 2000])
    np.testing.assert_array_equal(found["label"], [0, 1])


def test_csv_without_names_numbers_its_columns(tmp_path):
    found = columns(write(tmp_path / "a.csv", "5.1,3.5,setosa\n4.9,3.0,virginica\n"))
    assert list(found) == ["c0", "c1", "c2"]
    assert found["c2"].tolist() == ["setosa", "virginica"]


def test_csv_skips_blank_lines_and_a_byte_order_mark(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"\xef\xbb\xbf\n a , label\r\n\r\n1,2\r\n\r\n3,4\r\n")
    found = columns(path)
    assert list(found) == ["a", "label"]
    np.testing.assert_array_equal(found["a"], [1, 3])


def test_csv_reads_quoted_cells(tmp_path):
    found = columns(write(tmp_path / "a.csv", '"a, b",label\n1,"x, ""y"""\n2,z\n'))
    assert list(found) == ["a, b", "label"]
    assert found["label"].tolist() == ['x, "y"', "z"]


@pytest.mark.parametrize(("bad", "count"), [("3", 1), ("3,4,5", 3)])
def test_csv_row_of_another_width_is_named(tmp_path, bad, count):
    path = write(tmp_path / "a.csv", f"a,label\n1,2\n{bad}\n5,6\n")
    with pytest.raises(
        DataError, match=rf"a\.csv, row 2: has {count} cells where the first line has 2, separated by ','"
    ):
        read(path)


def test_csv_row_of_another_width_is_named_without_names_too(tmp_path):
    with pytest.raises(DataError, match=r"a\.csv, row 3: has 1 cells"):
        read(write(tmp_path / "a.csv", "1,2\n3,4\n5\n"))


@pytest.mark.parametrize("text", ["a,label\n", "\n\n\n", "a,label\n\n"])
def test_csv_without_rows_is_empty(tmp_path, text):
    with pytest.raises(DataError, match=r"a\.csv: the file is empty"):
        read(write(tmp_path / "a.csv", text))


def test_csv_names_must_exist_and_differ(tmp_path):
    with pytest.raises(DataError, match=r"a\.csv: the column name 'a' appears 2 times; rename one"):
        read(write(tmp_path / "a.csv", "a,a,label\n1,2,3\n"))
    with pytest.raises(DataError, match=r"a\.csv: column 2 of 3 has no name in the first line; name it"):
        read(write(tmp_path / "a.csv", "a,,label\n1,2,3\n"))


def test_csv_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"a,label\n\xff\xfe,1\n")
    with pytest.raises(DataError, match=r"a\.csv: .*UTF8.*; save it as UTF-8 text, one row a line"):
        columns(path)


@given(
    st.lists(st.tuples(st.floats(allow_nan=False, allow_infinity=False), st.text("abc \",';é", min_size=1)), min_size=1)
)
def test_csv_gives_back_what_was_written(tmp_path_factory, rows):
    text = io.StringIO()
    csv_module.writer(text).writerows([["number", "word"], *rows])
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    path.write_text(text.getvalue())
    found = columns(path)
    np.testing.assert_array_equal(found["number"], [number for number, _ in rows])
    assert found["word"].tolist() == [word.strip() for _, word in rows]


# parquet


def test_parquet_reads_numbers_booleans_strings_and_dictionaries(tmp_path):
    pq.write_table(
        pa.table(
            {
                "i": pa.array([1, 2], pa.int16()),
                "f": pa.array([0.5, 1.5], pa.float32()),
                "b": [True, False],
                "d": pa.array(["1.5", "2.25"]).cast(pa.decimal128(5, 2)),
                "s": pa.array(["g", "q"]).dictionary_encode(),
            }
        ),
        tmp_path / "a.parquet",
    )
    found = columns(tmp_path / "a.parquet")
    assert {name: column.dtype.kind for name, column in found.items()} == {
        "i": "i",
        "f": "f",
        "b": "u",
        "d": "f",
        "s": "U",
    }
    assert found["s"].tolist() == ["g", "q"]
    np.testing.assert_array_equal(found["d"], [1.5, 2.25])


def test_parquet_nulls_are_missing_cells(tmp_path):
    pq.write_table(pa.table({"i": pa.array([1, None]), "s": ["a", None]}), tmp_path / "a.parquet")
    found = columns(tmp_path / "a.parquet")
    assert np.isnan(found["i"][1])
    assert found["s"].tolist() == ["a", ""]


def test_parquet_lists_are_refused_when_they_are_read(tmp_path):
    pq.write_table(pa.table({"jet": [[1.0, 2.0]], "label": [1]}), tmp_path / "a.parquet")
    content = read(tmp_path / "a.parquet")
    assert content.get("label").tolist() == [1]
    with pytest.raises(DataError, match=r"a\.parquet, column 'jet': has the type list<.*>; weft reads one number"):
        content.get("jet")


def test_parquet_that_was_cut_short_is_refused(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"a": np.arange(1000.0), "label": np.arange(1000)}), path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"a\.parquet: it is not a sound Parquet file"):
        read(path)


# npz and npy


def test_npz_reads_arrays_and_columns(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", x=np.ones((3, 2)), y=np.arange(3))
    assert not read(tmp_path / "a.npz").table
    np.savez(tmp_path / "b.npz", pt=np.ones(3), label=np.arange(3))
    assert read(tmp_path / "b.npz").table


def test_npz_refuses_pickled_objects(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.array([{}, {}], dtype=object), y=np.arange(2))
    with pytest.raises(
        DataError, match=r"a\.npz, array 'x': holds pickled Python objects, which can run code when read"
    ):
        read(tmp_path / "a.npz")


def test_npz_with_a_strange_member_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", "no array")
    with pytest.raises(DataError, match=r"a\.npz: it is not a sound \.npz archive"):
        read(tmp_path / "a.npz")


def test_npz_whose_fields_bear_names_beyond_latin_is_refused(tmp_path):
    with pytest.warns(UserWarning, match="can only be read by NumPy"):
        np.savez(tmp_path / "a.npz", x=np.zeros(2, dtype=[("質量", "f4")]))
    message = r"a\.npz, array 'x': is in the npy format 3\.0, and weft reads 1\.0 and 2\.0; save each field as an array"
    with pytest.raises(DataError, match=message):
        read(tmp_path / "a.npz")


def test_npz_with_a_flipped_bit_is_refused(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, x=np.zeros((10_000, 4)), y=np.zeros(10_000))
    damaged = bytearray(path.read_bytes())
    damaged[200_000] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(DataError, match=r"cannot read array 'x' of .*a\.npz: it is damaged"):
        read(path).get("x")


def test_npy_pair_reads_both(tmp_path):
    np.save(tmp_path / "x.npy", np.ones((3, 2)))
    np.save(tmp_path / "y.npy", np.arange(3))
    content = read_pair(tmp_path / "x.npy", tmp_path / "y.npy")
    assert content.shapes == {"x": (3, 2), "y": (3,)}


def test_npy_alone_asks_for_its_partner(tmp_path):
    np.save(tmp_path / "x.npy", np.ones((3, 2)))
    with pytest.raises(
        DataError, match=r"x\.npy: an \.npy file holds one array; name two, as \{x: x\.npy, y: labels\.npy\}"
    ):
        read(tmp_path / "x.npy")


def test_npy_pair_refuses_what_it_cannot_read(tmp_path):
    good, bad = tmp_path / "x.npy", tmp_path / "y.npy"
    np.save(good, np.ones((3, 2)))
    with pytest.raises(DataError, match=r"y\.npy: there is no such file"):
        read_pair(good, bad)
    np.save(bad, np.array([{}], dtype=object))
    with pytest.raises(DataError, match=r"y\.npy: holds pickled Python objects"):
        read_pair(good, bad)
    bad.write_bytes(good.read_bytes()[:-9])
    with pytest.raises(DataError, match=r"y\.npy: it is not a sound \.npy file"):
        read_pair(good, bad)
    with pytest.raises(DataError, match=r"y\.csv: a pair \{x, y\} is made of \.npy files"):
        read_pair(good, tmp_path / "y.csv")


# hdf5


def test_hdf5_reads_arrays_groups_columns_and_strings(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["train/x"], file["train/y"] = np.ones((3, 2)), np.arange(3)
        file["deep/er/z"] = np.ones(3)
        file["feature_names"] = ["pt", "eta"]
    content = read(tmp_path / "a.h5")
    assert set(content.shapes) == {"x_train", "y_train", "deep/er/z", "feature_names"}
    assert content.get("feature_names").tolist() == ["pt", "eta"]
    assert content.get("x_train").shape == (3, 2)
    with h5py.File(tmp_path / "b.hdf5", "w") as file:
        file["pt"], file["label"] = np.ones(3), [b"g", b"q", b"g"]
    assert read(tmp_path / "b.hdf5").table
    assert read(tmp_path / "b.hdf5").get("label").tolist() == ["g", "q", "g"]


def test_hdf5_reads_a_table_of_records(tmp_path):
    table = np.array([(1.0, 2, b"g"), (3.0, 4, b"q")], dtype=[("pt", "f4"), ("n", "i4"), ("label", "S1")])
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["table"] = table
    found = columns(tmp_path / "a.h5")
    assert list(found) == ["pt", "n", "label"]
    assert found["label"].tolist() == ["g", "q"]
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["table"] = np.zeros(2, dtype=[("pt", "f4", (3,)), ("label", "i4")])
    with pytest.raises(
        DataError, match=r"b\.h5, field 'pt' of 'table': holds float32 of shape \(2, 3\); a table needs one"
    ):
        read(tmp_path / "b.h5")
    with h5py.File(tmp_path / "c.h5", "w") as file:
        file["table"], file["x"] = table, np.ones(3)
    with pytest.raises(DataError, match=r"c\.h5: holds records in 'table' beside 1 other data sets"):
        read(tmp_path / "c.h5")


def test_hdf5_refuses_to_leave_the_file(tmp_path):
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["x"] = np.ones((3, 2))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = h5py.ExternalLink("secret.h5", "/x")
    with pytest.raises(
        DataError, match=r"a\.h5: 'x' is an external link to 'secret\.h5', and weft reads nothing outside"
    ):
        read(tmp_path / "a.h5")
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file.create_group("train").create_dataset("x", (4,), "u1", external=[(str(tmp_path / "raw"), 0, 4)])
    with pytest.raises(DataError, match=r"b\.h5: the values of 'train/x' lie in other files"):
        read(tmp_path / "b.h5")
    with h5py.File(tmp_path / "c.h5", "w") as file:
        layout = h5py.VirtualLayout((3, 2), "f8")
        layout[:] = h5py.VirtualSource(str(tmp_path / "secret.h5"), "x", (3, 2))
        file.create_virtual_dataset("x", layout)
    with pytest.raises(DataError, match=r"c\.h5: the values of 'x' lie in other files"):
        read(tmp_path / "c.h5")


def test_hdf5_skips_aliases(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"], file["y"] = np.ones((3, 2)), np.arange(3)
        file["again"] = h5py.SoftLink("/x")
        file["nowhere"] = h5py.SoftLink("/gone")
    assert set(read(tmp_path / "a.h5").shapes) == {"x", "y"}


def test_hdf5_refuses_ragged_values(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", (2,), h5py.vlen_dtype(np.float32))
        file["y"] = np.ones((2, 1))
    with pytest.raises(DataError, match=r"a\.h5, data set 'x': holds object values, neither numbers nor strings"):
        read(tmp_path / "a.h5").get("x")


# arff


ARFF = """% a comment
@RELATION 'two words'

@attribute 'jet mass' NUMERIC
@Attribute n integer
@attribute "kind of" {g, 'light quark' ,"top"}
@attribute note string
@attribute class {0,1}
@DATA
% another comment
1.5, 2, 'light quark', 'it\\'s, fine', 0

-3e2,4,g,"plain",1
"""


def test_arff_reads_quotes_comments_and_nominal_attributes(tmp_path):
    found = columns(write(tmp_path / "a.arff", ARFF))
    assert list(found) == ["jet mass", "n", "kind of", "note", "class"]
    np.testing.assert_array_equal(found["jet mass"], [1.5, -300])
    assert found["kind of"].tolist() == ["light quark", "g"]
    assert found["note"].tolist() == ["it's, fine", "plain"]
    assert found["class"].tolist() == ["0", "1"]


def test_arff_question_marks_are_missing_cells(tmp_path):
    text = "@relation a\n@attribute m real\n@attribute k {g,q}\n@data\n?,g\n2,?\n"
    found = columns(write(tmp_path / "a.arff", text))
    assert np.isnan(found["m"][0])
    assert found["k"].tolist() == ["g", ""]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "@attribute m real\n@data\n{0 1.5}\n",
            r"a\.arff, row 1: is sparse \('\{0 1\.5\}'\), and weft reads dense ARFF only",
        ),
        (
            "@attribute m real\n@data\n1\n2,3\n",
            r"a\.arff, row 2: has 2 cells for 1 attributes: '2,3'; complete or remove the row",
        ),
        ("@attribute m real\n@data\n1\n% c\nx\n", r"a\.arff, row 2, column 'm': 'x' is not a number; correct the cell"),
        ("@attribute m {a,b}\n@data\na\nb\nc\n", r"row 3, column 'm': 'c' is none of the declared values a, b"),
        ("@attribute m relational\n@data\n1\n", r"a\.arff, line 1: attribute 'm' has the type 'relational'"),
        ("@attribute m\n@data\n1\n", r"a\.arff, line 1: cannot read '@attribute m'; expected '@attribute NAME TYPE'"),
        ("hello\n@data\n1\n", r"a\.arff, line 1: 'hello' is no ARFF declaration; expected @attribute or @data"),
        ("@attribute m real\n", r"a\.arff: it declares 1 attributes and no @data section; is it cut short\?"),
        ("@data\n", r"a\.arff: it declares 0 attributes and a @data section"),
        ("@attribute m real\n@data\n", r"a\.arff: the file is empty below @data"),
        ("@attribute m real\n@attribute m real\n@data\n1,2\n", r"a\.arff: the column name 'm' appears 2 times"),
    ],
)
def test_arff_says_what_is_wrong_and_where(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        read(write(tmp_path / "a.arff", text))


def test_arff_names_the_row_far_down(tmp_path):
    rows = "\n".join(["1"] * 5000 + ["bad"] + ["2"] * 5000)
    with pytest.raises(DataError, match=r"a\.arff, row 5001, column 'm'"):
        read(write(tmp_path / "a.arff", f"@attribute m real\n@data\n{rows}\n"))


def test_arff_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "a.arff").write_bytes(b"@attribute m {\xff\xfe}\n@data\n")
    with pytest.raises(DataError, match=r"a\.arff: it is not UTF-8 text"):
        read(tmp_path / "a.arff")


@given(st.lists(st.text("ab ,'\"\\?é", min_size=1), min_size=1, max_size=5))
def test_arff_cells_survive_quoting(cells):
    quoted = ",".join("'" + cell.replace("\\", "\\\\").replace("'", "\\'") + "'" for cell in cells)
    assert _cells(quoted) == cells

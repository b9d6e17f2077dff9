"""ROOT files, written by uproot: which branches are columns, arrays or refused, and which tree is read."""

from __future__ import annotations

import sys

import awkward as ak
import numpy as np
import pytest
import uproot
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from weft.config.data import DataConfig
from weft.data import load
from weft.data.files import read
from weft.data.files.root import read_root
from weft.draft.look import look_at
from weft.errors import DataError, ToolNotFoundError

from ..conftest import blobs


def tree_of(path, name="Events", rntuple=False, **branches):
    with uproot.recreate(path) as file:
        add(file, name, branches, rntuple)
    return path


def add(file, name, branches, rntuple=False):
    if rntuple:
        file.mkrntuple(name, branches)
    else:
        kinds = {key: ak.type(value).content if isinstance(value, ak.Array) else (value.dtype, value.shape[1:])
                 for key, value in branches.items()}  # fmt: skip
        file.mktree(name, kinds).extend(branches)


def events(path, n=400, name="Events"):
    x, y = blobs(n)
    return tree_of(path, name, **{f"f{i}": x[:, i] for i in range(6)}, kind=y), x, y


@given(
    values=hnp.arrays(
        st.sampled_from([np.float32, np.float64, np.int32, np.int64, np.uint8, np.bool_]), st.integers(1, 40)
    ),
    rntuple=st.booleans(),
)
def test_a_flat_branch_is_read_as_it_was_written(tmp_path_factory, values, rntuple):
    path = tree_of(tmp_path_factory.mktemp("root") / "a.root", rntuple=rntuple, a=values, b=np.arange(len(values)))
    content = read(path)
    assert content.table and list(content.shapes) == ["a", "b"]
    np.testing.assert_array_equal(content.get("a"), values)


def test_a_branch_of_fixed_length_is_an_array(tmp_path):
    x = np.random.default_rng(1).normal(size=(30, 8, 3)).astype(np.float32)
    content = read(tree_of(tmp_path / "a.root", x=x, y=np.arange(30) % 2))
    assert content.shapes == {"x": (30, 8, 3), "y": (30,)} and not content.table
    np.testing.assert_array_equal(content.get("x"), x)


def test_a_branch_of_varying_length_is_refused_with_the_way_out(tmp_path):
    path = tree_of(tmp_path / "a.root", pt=ak.Array([[1.0, 2.0], [3.0], []]), y=np.arange(3))
    content = read(path)
    np.testing.assert_array_equal(content.get("y"), np.arange(3))
    with pytest.raises(DataError, match=r"branch 'pt' of 'Events': its entries differ in length.*ak\.pad_none"):
        content.get("pt")


def test_flat_branches_are_a_table_whatever_their_names(tmp_path):
    content = read(tree_of(tmp_path / "a.root", x=np.arange(5.0), y=np.arange(5.0), kind=np.arange(5) % 2))
    assert content.table and list(content.shapes) == ["x", "y", "kind"]


def test_a_tree_becomes_a_data_set(tmp_path):
    _, x, y = events(tmp_path / "a.root")
    config = DataConfig(files={"all": "a.root"}, label="kind", scale="none", classes="numbered")
    dataset = load(config, tmp_path)
    rows = np.concatenate([dataset.train.x, dataset.validation.x, dataset.test().x])
    assert sorted(map(tuple, rows)) == sorted(map(tuple, x))
    assert dataset.task == "classification" and len(set(y)) == 3


def test_weft_init_looks_into_one(tmp_path):
    path, *_ = events(tmp_path / "a.root")
    found = look_at(path)
    assert found.rows == 400 and found.label == "kind" and len(found.columns) == 7


def test_of_several_trees_one_is_named(tmp_path):
    path, x, _ = events(tmp_path / "a.root")
    with uproot.update(path) as file:
        add(file, "Runs", {"run": np.arange(3)}, rntuple=True)
        add(file, "deep/Events", {"a": np.arange(5)})
    with pytest.raises(
        DataError,
        match=r"holds 3 trees \(Events, Runs, deep/Events\); say which one with data\.tree \(weft init --tree\)",
    ):
        read(path)
    assert read_root(path, "deep/Events").shapes == {"a": (5,)}
    with pytest.raises(DataError, match=r"has no tree 'Event' \(data\.tree\); it holds Events, Runs, deep/Events"):
        read_root(path, "Event")
    config = DataConfig(files={"all": "a.root"}, tree="Events", label="kind")
    assert len(load(config, tmp_path).train.x) < len(x)


def test_what_is_no_root_file_or_holds_no_tree_is_named(tmp_path):
    (tmp_path / "a.root").write_bytes(b"root" * 30)
    with pytest.raises(DataError, match=r"a\.root: it is not a sound ROOT file \(.*\); write it again"):
        read(tmp_path / "a.root")
    with pytest.raises(DataError, match="there is no such file"):
        read(tmp_path / "b.root")
    (tmp_path / "c.root").touch()
    with pytest.raises(DataError, match=r"the file is empty \(0 bytes\)"):
        read(tmp_path / "c.root")
    with uproot.recreate(tmp_path / "d.root") as file:
        file["h"] = np.histogram([1.0, 2.0])
    with pytest.raises(DataError, match=r"d\.root holds no tree"):
        read(tmp_path / "d.root")


def test_a_file_that_breaks_off_is_no_silent_zero(tmp_path):
    path = tree_of(tmp_path / "a.root", a=np.random.default_rng(0).normal(size=200_000), b=np.arange(200_000))
    whole = path.read_bytes()
    for kept in (0.02, 0.5, 0.9):
        path.write_bytes(whole[: int(kept * len(whole))])
        with pytest.raises(DataError, match=r"not a sound ROOT file|it is damaged"):
            np.sum([read(path).get(key) for key in ("a", "b")])  # at 0.9 the first of them is still whole


def test_a_tree_of_other_files_is_refused():
    with pytest.raises(ValueError, match=r"names a tree of ROOT files, and the data are no \.root files; remove it"):
        DataConfig(files={"all": "a.csv"}, tree="Events")


def test_a_tree_of_a_file_of_another_format_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"a\.csv has no tree 'Events': only \.root files have trees"):
        read(tmp_path / "a.csv", "Events")


def test_without_uproot_the_package_is_named(tmp_path, monkeypatch):
    path, *_ = events(tmp_path / "a.root")
    monkeypatch.setitem(sys.modules, "uproot", None)
    with pytest.raises(ToolNotFoundError, match=r"a\.root needs uproot: pip install 'weft\[root\]'"):
        read(path)

"""From the configuration to a data set: files, splits, limits, provenance; and the bundled jets."""

from __future__ import annotations

import hashlib

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.config.data import XY, DataConfig, FilesConfig, RowsConfig
from weft.data import load
from weft.errors import DataError

RANDOM = np.random.default_rng(0)
Y = np.arange(200) % 4
X = (RANDOM.normal(size=(200, 3)) + Y[:, None]).astype(np.float32)
NAMES = ["a", "b", "c"]


def csv_text(order=("a", "b", "c", "label"), rows=slice(None), label=Y):
    columns = {**{name: X[:, i].tolist() for i, name in enumerate(NAMES)}, "label": list(label)}
    lines = zip(*([repr(v) if isinstance(v, float) else str(v) for v in columns[name]] for name in order), strict=True)
    return "\n".join([",".join(order), *(",".join(line) for line in list(lines)[rows])]) + "\n"


def files(base, **options):
    config = DataConfig(
        files=FilesConfig(**{k: options.pop(k) for k in list(options) if k in FilesConfig.model_fields}), **options
    )
    return load(config, base)


@pytest.fixture
def every_format(tmp_path):
    (tmp_path / "a.csv").write_text(csv_text())
    np.savez(tmp_path / "a.npz", x=X, y=Y, feature_names=NAMES)
    np.save(tmp_path / "x.npy", X), np.save(tmp_path / "y.npy", Y)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"], file["y"] = X, Y
    pq.write_table(pa.table({**{name: X[:, i] for i, name in enumerate(NAMES)}, "label": Y}), tmp_path / "a.parquet")
    header = (
        "@relation a\n" + "".join(f"@attribute {name} real\n" for name in NAMES) + "@attribute label {0,1,2,3}\n@data\n"
    )
    (tmp_path / "a.arff").write_text(header + csv_text().split("\n", 1)[1])
    return tmp_path


def test_every_format_gives_the_same_data_set(every_format):
    expected = files(every_format, all="a.npz")
    assert (len(expected.train), len(expected.validation), len(expected.test())) == (130, 30, 40)
    for entry in ("a.csv", "a.h5", "a.parquet", "a.arff", XY(x="x.npy", y="y.npy")):
        found = files(every_format, all=entry)
        np.testing.assert_array_equal(found.train.y, expected.train.y)
        np.testing.assert_allclose(found.train.x, expected.train.x, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(found.test().x, expected.test().x, rtol=1e-6, atol=1e-6)
        assert found.class_names == ("0", "1", "2", "3")


def test_splits_are_stratified_and_set_by_the_seed(every_format):
    first, again, other = (files(every_format, all="a.npz", seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.train.x, again.train.x)
    assert not np.array_equal(first.train.y, other.train.y)
    for part in (first.train, first.validation, first.test()):
        counts = np.bincount(part.y)
        assert counts.max() - counts.min() <= 1
    assert (first.provenance.seed, other.provenance.seed) == (3, 4)


def test_fractions_are_shares_of_all_rows(every_format):
    data = files(every_format, all="a.npz", validation_fraction=0.25, test_fraction=0.5)
    assert (len(data.train), len(data.validation), len(data.test())) == (50, 50, 100)


def test_only_missing_splits_are_split_off(tmp_path):
    np.savez(tmp_path / "train.npz", x=X[:160], y=Y[:160])
    np.savez(tmp_path / "test.npz", x=X[160:], y=Y[160:])
    data = files(tmp_path, train="train.npz", test="test.npz")
    assert (len(data.train), len(data.validation), len(data.test())) == (136, 24, 40)
    np.testing.assert_array_equal(data.test().y, Y[160:])
    np.savez(tmp_path / "validation.npz", x=X[160:], y=Y[160:])
    data = files(tmp_path, train="train.npz", validation="validation.npz")
    assert (len(data.train), len(data.validation), len(data.test())) == (128, 40, 32)


def test_one_file_can_hold_all_splits_and_keeps_their_order(tmp_path):
    np.savez(tmp_path / "a.npz", x_train=X[:100], y_train=Y[:100], x_validation=X[100:140], y_validation=Y[100:140],
             x_test=X[140:], y_test=Y[140:])  # fmt: skip
    data = files(tmp_path, all="a.npz", seed=5, scale="none")
    np.testing.assert_array_equal(data.train.x, X[:100])
    np.testing.assert_array_equal(data.test().y, Y[140:])
    assert data.provenance.seed is None
    with pytest.raises(
        DataError, match=r"holds the splits .*, but is given as data\.files\.train; give it as data\.files\.all"
    ):
        files(tmp_path, train="a.npz")


@given(st.permutations(["a", "b", "c", "label"]))
def test_columns_of_another_order_in_another_file_are_put_in_order(tmp_path_factory, order):
    base = tmp_path_factory.mktemp("order")
    (base / "train.csv").write_text(csv_text(rows=slice(0, 160)))
    (base / "test.csv").write_text(csv_text(order, rows=slice(160, 200)))
    data = files(base, train="train.csv", test="test.csv", scale="none")
    np.testing.assert_array_equal(data.test().x, X[160:])
    assert data.feature_names == ("a", "b", "c")


def test_files_with_other_columns_or_shapes_are_refused(tmp_path):
    (tmp_path / "train.csv").write_text(csv_text())
    (tmp_path / "test.csv").write_text(csv_text(("a", "b", "label")))
    with pytest.raises(
        DataError, match=r"test\.csv: its features differ from those of .*train\.csv: .* missing \['c'\]"
    ):
        files(tmp_path, train="train.csv", test="test.csv")
    with pytest.raises(DataError, match=r"train\.csv: its features differ .* additional \['c'\]"):
        files(tmp_path, train="test.csv", test="train.csv")


def test_rows_limit_each_split_before_the_scaler_is_fitted(every_format):
    data = files(every_format, all="a.npz", rows=RowsConfig(train=50, validation=10, test=20))
    full = files(every_format, all="a.npz")
    assert (len(data.train), len(data.validation), len(data.test())) == (50, 10, 20)
    np.testing.assert_allclose(data.train.x.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_array_equal(data.train.y, full.train.y[:50])
    assert data.provenance.notes == ("rows limited to train: first 50, validation: first 10, test: first 20",)
    with pytest.raises(
        DataError, match=r"data\.rows\.test=41 asks for more rows than the test split has, 40; lower it"
    ):
        files(every_format, all="a.npz", rows=RowsConfig(test=41))
    with pytest.raises(DataError, match=r"class '\d' .* has no rows in the validation split of 2 rows"):
        files(every_format, all="a.npz", rows=RowsConfig(validation=2))


def test_weights_follow_their_rows(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.column_stack([np.arange(200.0), -np.arange(200.0)]), y=Y, w=np.arange(200))
    data = files(tmp_path, all="a.npz", sample_weight="w", scale="none")
    for part in (data.train, data.validation, data.test()):
        assert part.weight.dtype == np.float32
        np.testing.assert_array_equal(part.weight, part.x[:, 0])
        np.testing.assert_array_equal(part.weight % 4, part.y)


def test_chosen_features_and_label_reach_the_data_set(every_format):
    data = files(every_format, all="a.csv", label="label", features=["c", "a"])
    assert (data.feature_names, data.n_in) == (("c", "a"), 2)


def test_a_regression_is_split_and_folded(tmp_path):
    np.savez(tmp_path / "a.npz", x=X, y=X @ np.array([[1.0, 0], [0, 2], [1, 1]]))
    data = files(tmp_path, all="a.npz")
    assert (data.task, data.n_outputs, data.train.y.shape) == ("regression", 2, (130, 2))
    assert sum(len(validation) for _, validation in data.folds(3)) == 160


def test_the_hash_is_that_of_the_files(every_format):
    text = (every_format / "a.csv").read_bytes()
    assert files(every_format, all="a.csv").provenance.sha256 == hashlib.sha256(text).hexdigest()
    pair = (every_format / "x.npy").read_bytes() + (every_format / "y.npy").read_bytes()
    data = files(every_format, all=XY(x="x.npy", y="y.npy"))
    assert data.provenance.sha256 == hashlib.sha256(pair).hexdigest()
    assert data.provenance.source == "the files x.npy, y.npy"


def test_a_missing_file_says_what_paths_are_relative_to(tmp_path):
    with pytest.raises(
        DataError, match=r"nothing\.csv: there is no such file; paths in data\.files are relative to the"
    ):
        files(tmp_path, all="nothing.csv")


# the bundled jets


def test_jets_hlf_loads_whole_and_balanced():
    data = load(DataConfig(name="jets-hlf"))
    assert (data.train.x.shape, data.validation.x.shape, data.test().x.shape) == (
        (70_000, 16),
        (10_000, 16),
        (20_000, 16),
    )
    assert (data.task, data.n_outputs, data.class_names) == ("classification", 5, ("g", "q", "t", "w", "z"))
    assert (data.feature_names[0], data.feature_names[-1]) == ("zlogz", "multiplicity")
    for part in (data.train, data.validation, data.test()):
        np.testing.assert_allclose(np.bincount(part.y) / len(part), 0.2, atol=0.01)
        assert np.isfinite(part.x).all()
    np.testing.assert_allclose(data.train.x.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(data.train.x.std(axis=0, dtype=float), 1, rtol=1e-5)
    assert "simulated with Pythia 8" in data.provenance.source
    assert "OpenML" not in data.provenance.source


def test_jets_hlf_takes_a_choice_of_observables():
    data = load(DataConfig(name="jets-hlf", features=["mass_mmdt", "multiplicity"], rows=RowsConfig(train=500)))
    assert data.train.x.shape == (500, 2)
    with pytest.raises(
        DataError, match=r"jets_hlf\.npz: data\.features names the column 'mass', .*did you mean 'mass_mmdt'"
    ):
        load(DataConfig(name="jets-hlf", features=["mass"]))


@pytest.mark.parametrize("count", [None, 8, 16])
def test_jets_constituents_are_sorted_particles_with_a_fixed_scaling(count):
    data = load(DataConfig(name="jets-constituents", constituents=count, rows=RowsConfig(train=1000)))
    assert data.train.x.shape == (1000, count or 8, 3)
    assert data.feature_names[:4] == ("pt_0", "deta_0", "dphi_0", "pt_1")
    assert len(data.feature_names) == data.n_in
    assert (np.diff(data.train.x[:, :, 0]) <= 0).all()  # hardest first
    raw = data._raw["train"].x.astype(np.float32)
    np.testing.assert_allclose(data.train.x, raw / np.float32([300, 0.2, 0.2]), rtol=1e-6)
    assert "fixed scaling: pT / 300 GeV, angles / 0.2" in data.provenance.notes[0]
    train, _ = data.folds(2)[0]
    assert train.x.max() < 5


def test_jets_constituents_refuse_another_scaling_and_a_choice_of_features():
    with pytest.raises(
        DataError, match=r"jets-constituents has a fixed scaling .* data\.scale=minmax would replace; remove"
    ):
        load(DataConfig(name="jets-constituents", scale="minmax"))
    with pytest.raises(
        DataError, match=r"cannot choose data\.features from jets_constituents\.npz: its rows have the shape"
    ):
        load(DataConfig(name="jets-constituents", features=["pt_0"]))


def test_both_jet_sets_hold_the_same_jets():
    hlf, constituents = (load(DataConfig(name=name)) for name in ("jets-hlf", "jets-constituents"))
    np.testing.assert_array_equal(hlf.train.y, constituents.train.y)
    np.testing.assert_array_equal(hlf.test().y, constituents.test().y)


def test_loading_data_imports_no_framework():
    import subprocess
    import sys

    code = (
        "import sys\n"
        "from weft.config.data import DataConfig\n"
        "from weft.data import load\n"
        "assert not {'pyarrow', 'h5py'} & set(sys.modules), 'readers are imported when a file needs them'\n"
        "load(DataConfig(name='jets-hlf'))\n"
        "bad = {'jax', 'keras', 'torch', 'tensorflow', 'matplotlib', 'optuna'} & set(sys.modules)\n"
        "assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

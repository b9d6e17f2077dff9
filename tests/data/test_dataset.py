"""A data set scales by its training rows, folds without the test rows, and logs when those are opened."""

from __future__ import annotations

import json
import logging
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.config.data import DataConfig
from weft.data import Dataset, Provenance, Scaler, Split
from weft.errors import DataError, NoEffectWarning

JETS = "jets-hlf"


def split(n, seed, *, classes=3, weighted=False, shift=0.0) -> Split:
    random = np.random.default_rng(seed)
    y = (np.arange(n) % classes).astype(np.int32)
    x = random.normal(shift, 2, (n, 4)).astype(np.float32)
    return Split(x, y, random.random(n).astype(np.float32) if weighted else None)


def dataset(**changes) -> Dataset:
    options = {
        "name": "toy",
        "task": "classification",
        "class_names": ("a", "b", "c"),
        "provenance": Provenance("toy", "made up", "0" * 64),
    } | changes
    raw = options.pop("raw", None) or {
        "train": split(60, 0, weighted=True),
        "validation": split(30, 1, weighted=True, shift=5.0),
        "test": split(21, 2, weighted=True, shift=-5.0),
    }
    return Dataset.build(raw, **options)


def test_the_scaler_is_fitted_on_the_training_rows_only():
    data = dataset()
    np.testing.assert_allclose(data.train.x.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(data.train.x.std(axis=0), 1, rtol=1e-6)
    assert (data.validation.x.mean(axis=0) > 1).all()
    assert (data.test().x.mean(axis=0) < -1).all()
    assert data.train.x.dtype == data.validation.x.dtype == data.test().x.dtype == np.float32


def test_opening_the_test_split_is_logged_and_nothing_else_opens_it(caplog):
    data = dataset()
    with caplog.at_level(logging.INFO, "weft.data"):
        data.summary(), data.folds(3), data.class_weights(DataConfig(name=JETS, class_weights="balanced"))
        assert not caplog.records
        assert len(data.test()) == 21
    assert [record.getMessage() for record in caplog.records] == ["the test split of toy was opened: 21 rows"]


@given(st.integers(2, 8), st.integers(0, 1000))
def test_folds_use_every_row_but_the_test_rows_once_and_scale_by_their_training_part(k, seed):
    data = dataset()
    raw = np.concatenate([data._raw["train"].x, data._raw["validation"].x])
    seen = []
    for train, validation in data.folds(k, seed):
        assert len(train) + len(validation) == 90
        np.testing.assert_allclose(train.x.mean(axis=0), 0, atol=1e-5)
        np.testing.assert_allclose(train.x.std(axis=0), 1, rtol=1e-5)
        counts = np.bincount(validation.y)
        assert counts.max() - counts.min() <= 1
        seen.append(validation.weight)
    weights = np.concatenate([data._raw["train"].weight, data._raw["validation"].weight])
    np.testing.assert_array_equal(np.sort(np.concatenate(seen)), np.sort(weights))
    assert len(raw) == 90


def test_features_labels_and_weights_stay_together_in_folds():
    ids = np.arange(90, dtype=np.float32)
    raw = {
        name: Split(i[:, None] * np.ones(2, np.float32), (i % 3).astype(np.int32), i + 1)
        for name, i in {"train": ids[:60], "validation": ids[60:], "test": ids}.items()
    }
    for train, validation in dataset(raw=raw, scale="none").folds(4, 7):
        for part in (train, validation):
            np.testing.assert_array_equal(part.x[:, 0] % 3, part.y)
            np.testing.assert_array_equal(part.x[:, 0] + 1, part.weight)


def test_folds_of_rows_of_which_only_some_have_weights_are_refused():
    data = dataset(raw={name: split(60, 0, weighted=name == "train") for name in ("train", "validation", "test")})
    with pytest.raises(DataError, match="of training and validation rows only one has weights; give weights to both"):
        data.folds(3, seed=0)


def test_one_fold_is_the_fixed_split():
    data = dataset()
    assert data.folds(1) == [(data.train, data.validation)]


def test_folds_of_a_fixed_scaler_keep_it():
    data = dataset(scale=Scaler.fixed(np.full(4, 10.0)))
    train, _ = data.folds(2)[0]
    np.testing.assert_allclose(train.x.std(), data._raw["train"].x.std() / 10, rtol=0.5)


@pytest.mark.parametrize(
    ("k", "message"),
    [
        (31, r"class 'a' has 30 rows outside the test split, too few for 31 folds; lower data\.folds to 30"),
        (91, r"90 rows are too few for 91 folds; lower data\.folds"),
        (0, r"cannot split rows into folds=0 parts; use 2 or more"),
    ],
)
def test_too_few_rows_for_the_folds_are_named(k, message):
    with pytest.raises(DataError, match=message):
        dataset().folds(k)


def test_a_class_or_all_rows_missing_from_a_split_are_named():
    raw = {"train": split(60, 0), "validation": split(2, 1), "test": split(3, 2)}
    with pytest.raises(
        DataError, match=r"class 'c' \(number 2 of 0\.\.2\) has no rows in the validation split of 2 rows"
    ):
        dataset(raw=raw)
    with pytest.raises(DataError, match=r"the test split has no rows; raise data\.test_fraction or give it a file"):
        dataset(raw=raw | {"validation": split(3, 1), "test": split(0, 2)})


def test_a_constant_feature_is_warned_of_scaled_to_zero_and_noted():
    raw = {"train": split(60, 0), "validation": split(30, 1), "test": split(3, 2)}
    for part in raw.values():
        part.x[:, 2] = 7.5
    with pytest.warns(
        NoEffectWarning, match=r"1 of 4 features are constant in the 60 training rows .*: pt; leave them out"
    ):
        data = dataset(raw=raw, feature_names=("a", "b", "pt", "d"))
    assert (data.train.x[:, 2] == 0).all()
    assert data.provenance.notes == ("constant in the training rows: pt",)


def test_a_constant_target_is_refused():
    part = Split(np.random.default_rng(0).normal(size=(9, 2)).astype(np.float32), np.full((9, 1), 2.5, np.float32))
    with pytest.raises(DataError, match=r"target 0 is 2\.5 in all 9 training rows: there is nothing to learn"):
        dataset(raw={"train": part, "validation": part, "test": part}, task="regression", class_names=())


def test_shapes_follow_from_the_task():
    assert (dataset().n_in, dataset().input_shape, dataset().n_outputs) == (4, (4,), 3)
    two = {name: split(12, i, classes=2) for i, name in enumerate(("train", "validation", "test"))}
    assert dataset(raw=two, task="binary", class_names=("0", "1")).n_outputs == 1
    targets = {name: Split(p.x, np.stack([p.x[:, 0]] * 3, 1)) for name, p in two.items()}
    regression = dataset(raw=targets, task="regression", class_names=())
    assert regression.n_outputs == 3
    assert len(regression.folds(3)) == 3


def test_class_weights_balance_or_are_given():
    raw = {"train": split(60, 0), "validation": split(30, 1), "test": split(3, 2)}
    raw["train"] = raw["train"].take(np.r_[0:30, 30:60:3])  # 20 of class 0, 10 of the others
    data = dataset(raw=raw)
    balanced = data.class_weights(DataConfig(name=JETS, class_weights="balanced"))
    np.testing.assert_allclose(balanced * np.bincount(data.train.y), len(data.train) / 3)
    assert data.class_weights(DataConfig(name=JETS)) is None
    np.testing.assert_array_equal(data.class_weights(DataConfig(name=JETS, class_weights=[1.0, 2.0, 3.0])), [1, 2, 3])


def test_class_weights_that_do_not_fit_are_refused():
    with pytest.raises(
        DataError, match=r"data\.class_weights has 2 numbers for the 3 classes a, b, c; give one for each"
    ):
        dataset().class_weights(DataConfig(name=JETS, class_weights=[1.0, 2.0]))
    part = split(9, 0)
    part = Split(part.x, part.x[:, :1])
    data = dataset(raw={"train": part, "validation": part, "test": part}, task="regression", class_names=())
    with pytest.raises(DataError, match=r"data\.class_weights=balanced needs classes, but toy is a regression"):
        data.class_weights(DataConfig(name=JETS, class_weights="balanced"))


def test_the_summary_is_json_and_counts_the_rows():
    summary = json.loads(json.dumps(dataset().summary()))
    assert (summary["n_train"], summary["n_validation"], summary["n_test"]) == (60, 30, 21)
    assert summary["sha256"] == "0" * 64
    assert summary["source"] == "made up"


def test_a_data_set_travels_to_another_process():
    data = dataset()
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(data)).test().x, data.test().x)


def test_a_data_set_does_not_print_its_test_rows():
    assert "_raw" not in repr(dataset())


@pytest.mark.parametrize("k", [1, 3])
def test_a_fold_alone_is_that_of_all(k):
    data = dataset()
    for n, (train, validation) in enumerate(data.folds(k, 7)):
        for one, two in zip((train, validation), data.fold(n, k, 7), strict=True):
            np.testing.assert_array_equal(one.x, two.x)
            np.testing.assert_array_equal(one.y, two.y)

"""Splits partition the rows and keep the shares of the classes; scalers are fitted on what they are given."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from weft.data.scale import Scaler
from weft.data.split import folds, portion

labels = arrays(np.int32, st.integers(2, 200), elements=st.integers(0, 4))
seeds = st.integers(0, 2**32)


@given(labels, st.floats(0.01, 0.99), seeds)
def test_a_portion_and_its_rest_partition_the_rows_and_every_class(y, fraction, seed):
    rest, part = portion(y, fraction, seed)
    assert sorted([*rest, *part]) == list(range(len(y)))
    assert len(part) == round(len(y) * fraction)
    for label in np.unique(y):
        assert abs((y[part] == label).sum() - (y == label).sum() * len(part) / len(y)) <= 1


@given(labels, st.integers(2, 10), seeds)
def test_folds_partition_the_rows_and_every_class_within_one(y, k, seed):
    pairs = folds(y, k, seed)
    assert sorted(np.concatenate([validation for _, validation in pairs])) == list(range(len(y)))
    for train, validation in pairs:
        assert sorted([*train, *validation]) == list(range(len(y)))
    for counts in [
        [len(validation) for _, validation in pairs],
        *([(y[validation] == label).sum() for _, validation in pairs] for label in np.unique(y)),
    ]:
        assert max(counts) - min(counts) <= 1


@given(labels, seeds)
def test_a_seed_gives_one_split(y, seed):
    for first, second in zip(portion(y, 0.3, seed), portion(y, 0.3, seed), strict=True):
        np.testing.assert_array_equal(first, second)


def test_another_seed_gives_another_split_in_random_order():
    y = np.repeat([0, 1], 500)
    rest, part = portion(y, 0.3, 0)
    assert set(part) != set(portion(y, 0.3, 1)[1])
    assert 0.4 < y[rest[:100]].mean() < 0.6  # the first rows of a split hold all classes
    assert {tuple(v) for _, v in folds(y, 3, 0)}.isdisjoint({tuple(v) for _, v in folds(y, 3, 1)})


features = arrays(np.float32, st.tuples(st.integers(2, 50), st.integers(1, 3)), elements=st.floats(-1e3, 1e3, width=16))


@given(features)
def test_standard_scaling_gives_mean_0_and_deviation_1_or_0(x):
    scaled = Scaler.fit("standard", x).transform(x).astype(float)
    constant = np.ptp(x, axis=0) == 0
    np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(scaled.std(axis=0)[~constant], 1, rtol=1e-5)
    assert (scaled[:, constant] == 0).all()


@given(features)
def test_minmax_scaling_fills_0_to_1(x):
    scaled = Scaler.fit("minmax", x).transform(x)
    constant = np.ptp(x, axis=0) == 0
    np.testing.assert_allclose(scaled[:, ~constant].min(axis=0), 0)
    np.testing.assert_allclose(scaled[:, ~constant].max(axis=0), 1, rtol=1e-6)
    assert (scaled[:, constant] == 0).all()


@given(features)
def test_no_scaling_changes_nothing(x):
    np.testing.assert_array_equal(Scaler.fit("none", x).transform(x), x)


def test_blocks_agree_with_the_whole_and_rows_keep_their_shape():
    x = np.random.default_rng(0).normal(3, 2, (40_000, 2, 3)).astype(np.float16)
    scaler = Scaler.fit("standard", x)
    np.testing.assert_allclose(scaler.scale, x.astype(float).std(axis=0), rtol=1e-12)
    np.testing.assert_array_equal(scaler.transform(x), ((x - scaler.offset) / scaler.scale).astype(np.float32))


def test_integers_are_scaled_without_wrapping():
    x = np.array([[-32768], [32767]], np.int16)
    np.testing.assert_allclose(Scaler.fit("standard", x).transform(x), [[-1], [1]])
    np.testing.assert_allclose(Scaler.fit("minmax", x).transform(x), [[0], [1]])


def test_a_fixed_scaler_ignores_the_data():
    scaler = Scaler.fixed(np.array([2.0, 4.0]))
    assert scaler.refit(np.ones((3, 2))) is scaler
    np.testing.assert_array_equal(scaler.transform(np.array([[2.0, 2.0]])), [[1, 0.5]])
    assert scaler.to_json() == {"kind": "fixed", "offset": [0, 0], "scale": [2, 4]}

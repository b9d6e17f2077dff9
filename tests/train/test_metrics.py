"""Metrics against definitions written out in full."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from weft.errors import ConfigError
from weft.train import metrics
from weft.train.metrics import check_metric, evaluate, roc

few = st.integers(-4, 4).map(float)  # many ties


@st.composite
def scored(draw):
    n = draw(st.integers(2, 30))
    score = draw(arrays(np.float64, n, elements=few))
    signal = draw(arrays(np.bool_, n).filter(lambda s: 0 < s.sum() < len(s)))
    return score, signal


@given(scored())
def test_area_under_roc_is_the_share_of_ordered_pairs_with_ties_counted_half(case):
    score, signal = case
    pairs = score[signal][:, None] - score[~signal][None, :]
    expected = np.mean(np.where(pairs > 0, 1.0, np.where(pairs == 0, 0.5, 0.0)))
    background, efficiency = roc(score, signal)
    assert np.trapezoid(efficiency, background) == pytest.approx(expected, abs=1e-12)


@given(scored(), st.floats(0, 1))
def test_efficiency_is_that_of_the_loosest_cut_within_the_background(case, allowed):
    score, signal = case
    logits = score[:, None]
    cuts = [np.inf, *sorted(set(score.tolist()))]
    within = [np.mean(score[signal] >= cut) for cut in cuts if np.mean(score[~signal] >= cut) <= allowed]
    assert metrics.efficiency(logits, signal.astype(int), allowed) == pytest.approx(max(within), abs=1e-12)


@given(arrays(np.float64, (20, 1), elements=few), arrays(np.int64, 20, elements=st.integers(0, 1)))
def test_fidelity_is_one_minus_the_mean_error_of_both_states(outputs, y):
    if len(set(y.tolist())) < 2:
        return
    decided = outputs[:, 0] > 0
    p10 = np.mean(decided[y == 0])
    p01 = np.mean(~decided[y == 1])
    assert metrics.fidelity(outputs, y) == pytest.approx(1 - (p10 + p01) / 2)


def test_accuracy_counts_the_first_of_equal_logits():
    assert metrics.accuracy(np.array([[1.0, 1.0], [0.0, 2.0]]), np.array([0, 1])) == 1.0


def test_mse_takes_targets_of_any_shape():
    assert metrics.mse(np.array([[1.0], [3.0]], np.float32), np.array([1.0, 1.0])) == 2.0


def test_perfect_scores_give_one_everywhere():
    y = np.arange(30) % 3
    assert evaluate(10.0 * np.eye(3)[y], y, "classification") == {"accuracy": 1.0, "auc": 1.0, "efficiency": 1.0}


def test_auto_is_the_usual_metric():
    assert [check_metric("auto", t) for t in ("classification", "binary", "regression")] == [
        "accuracy", "accuracy", "mse",
    ]  # fmt: skip


def test_a_metric_of_another_task_is_refused():
    with pytest.raises(
        ConfigError, match=r"'fidelity' is not defined for a classification task; choose one of accuracy"
    ):
        check_metric("fidelity", "classification")

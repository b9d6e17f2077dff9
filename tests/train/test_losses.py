"""Losses by name, and the L1 penalty's gradient at zero."""

from __future__ import annotations

import numpy as np
import pytest

from weft.errors import ConfigError
from weft.train.losses import l1_penalty, loss_for, targets


def test_auto_takes_the_usual_loss_of_each_task():
    names = [type(loss_for("auto", task)).__name__ for task in ("classification", "binary", "regression")]
    assert names == ["SparseCategoricalCrossentropy", "BinaryCrossentropy", "MeanSquaredError"]


def test_a_loss_of_another_task_is_refused():
    with pytest.raises(ConfigError, match=r"loss 'huber' was asked for a binary task, .* use bce, or auto"):
        loss_for("huber", "binary")


def test_cross_entropy_takes_logits():
    loss = loss_for("cross_entropy", "classification")
    logits, y = np.array([[2.0, 0.0, -1.0]], np.float32), targets(np.array([0]), "classification")
    assert float(loss(y, logits)) == pytest.approx(-np.log(np.exp(2) / np.exp([2.0, 0, -1]).sum()), rel=1e-6)


def test_targets_of_one_column_get_a_second_axis():
    assert targets(np.array([0, 1]), "binary").shape == (2, 1)


def test_l1_counts_kernels_only_and_does_not_move_a_zero():
    import jax

    penalty = l1_penalty(0.5)
    variables = {"a/kernel": np.array([[1.0, -2.0, 0.0]], np.float32), "a/bias": np.array([9.0], np.float32)}
    assert float(penalty(variables)) == pytest.approx(1.5)
    gradient = jax.grad(penalty)(variables)
    np.testing.assert_array_equal(gradient["a/kernel"], [[0.5, -0.5, 0.0]])
    np.testing.assert_array_equal(gradient["a/bias"], [0.0])


def test_no_factor_is_no_penalty():
    assert l1_penalty(0.0) is None

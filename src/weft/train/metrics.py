"""Metrics of a model's outputs against the truth, in NumPy: each defined once, for training, search and the report.

`outputs` are logits: (n, n_classes) for classification, (n, 1) for a binary task, (n, k) for regression.
"""

from __future__ import annotations

import numpy as np

from weft.config.training import METRICS_OF_TASK
from weft.errors import ConfigError
from weft.types import Task

BACKGROUND_EFFICIENCY = 0.01
"""The background efficiency at which the signal efficiency is quoted."""


def check_metric(name: str, task: Task) -> str:
    """Return `name` (`auto` becomes the task's usual metric), or say why it does not fit.

    Raises:
        ConfigError: The metric is not defined for the task.
    """
    known = METRICS_OF_TASK[task]
    name = known[0] if name == "auto" else name
    if name not in known:
        raise ConfigError(f"metric '{name}' is not defined for a {task} task; choose one of {', '.join(known)}")
    return name


def evaluate(outputs: np.ndarray, y: np.ndarray, task: Task) -> dict[str, float]:
    """Return every metric of the task; `y` is (n,) labels or (n, k) targets."""
    functions = {"accuracy": accuracy, "auc": auc, "efficiency": efficiency, "fidelity": fidelity, "mse": mse}
    return {name: functions[name](outputs, y) for name in METRICS_OF_TASK[task]}


def predicted_class(outputs: np.ndarray) -> np.ndarray:
    """Return the class of each row: the largest logit, or logit > 0 where there is one; shape (n,), int64."""
    if outputs.shape[1] == 1:
        return (outputs[:, 0] > 0).astype(np.int64)
    return np.argmax(outputs, axis=1)


def accuracy(outputs: np.ndarray, y: np.ndarray) -> float:
    """Return the share of rows whose class is predicted, in [0, 1]."""
    return float(np.mean(predicted_class(outputs) == y))


def fidelity(outputs: np.ndarray, y: np.ndarray) -> float:
    """Return the assignment fidelity 1 - (P(1|0) + P(0|1)) / 2 of a binary task, in [0, 1]."""
    decided = predicted_class(outputs)
    wrong = [float(np.mean(decided[y == state] != state)) for state in (0, 1)]
    return 1.0 - sum(wrong) / 2.0


def mse(outputs: np.ndarray, y: np.ndarray) -> float:
    """Return the mean squared error, in squared target units."""
    return float(np.mean((outputs.astype(np.float64) - y.reshape(outputs.shape)) ** 2))


def scores(outputs: np.ndarray) -> np.ndarray:
    """Return one score per class from logits, (n, n_classes): softmax, or the logit and its negative for one output."""
    logits = outputs.astype(np.float64)
    if logits.shape[1] == 1:
        return np.concatenate([-logits, logits], axis=1)
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def roc(score: np.ndarray, signal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (background efficiency, signal efficiency) of all cuts on `score`, both rising from 0 to 1.

    Rows of equal score pass or fail together, so ties never add area.
    """
    order = np.argsort(-score, kind="stable")
    passed_signal = np.cumsum(signal[order])
    passed_background = np.cumsum(~signal[order])
    last_of_tie = np.append(np.diff(score[order]) != 0, True)
    signal_efficiency = np.concatenate([[0.0], passed_signal[last_of_tie] / max(int(signal.sum()), 1)])
    background_efficiency = np.concatenate([[0.0], passed_background[last_of_tie] / max(int((~signal).sum()), 1)])
    return background_efficiency, signal_efficiency


def auc_per_class(outputs: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the area under the ROC curve of each class against the rest, (n_classes,), or (1,) for one logit."""
    score = scores(outputs)
    classes = range(1, 2) if outputs.shape[1] == 1 else range(score.shape[1])
    curves = (roc(score[:, c], y == c) for c in classes)
    return np.array([np.trapezoid(signal, background) for background, signal in curves])


def auc(outputs: np.ndarray, y: np.ndarray) -> float:
    """Return the mean over classes of `auc_per_class`, in [0, 1]."""
    return float(np.mean(auc_per_class(outputs, y)))


def efficiency(outputs: np.ndarray, y: np.ndarray, background: float = BACKGROUND_EFFICIENCY) -> float:
    """Return the signal efficiency at a fixed background efficiency, mean over classes, in [0, 1].

    The cut is the loosest one that lets through at most `background` of the background.
    """
    score = scores(outputs)
    classes = range(1, 2) if outputs.shape[1] == 1 else range(score.shape[1])
    at_cut = []
    for c in classes:
        background_efficiency, signal_efficiency = roc(score[:, c], y == c)
        at_cut.append(signal_efficiency[np.searchsorted(background_efficiency, background, side="right") - 1])
    return float(np.mean(at_cut))

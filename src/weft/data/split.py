"""Splits: rows are shuffled by a seed and dealt out so that every part has its share of every class, within one row."""

from __future__ import annotations

import numpy as np


def portion(y: np.ndarray, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Divide rows into the rest and a part with `fraction` of them.

    Args:
        y: Class of each row, integers (n,); equal numbers where there are no classes.
        fraction: Share of the part, in (0, 1).
        seed: Seed of the shuffle, >= 0.

    Returns:
        Indices of the rest and of the part, both in random order; the part has round(n * fraction) rows, and of each
        class its share of them within one row.
    """
    order, by_class = _shuffled(y, seed)
    n, count = len(y), round(len(y) * fraction)
    place = np.arange(n)
    dealt = (place + 1) * count // max(n, 1) > place * count // max(n, 1)  # evenly spread over the sorted classes
    taken = np.empty(n, bool)
    taken[by_class] = dealt
    return order[~taken], order[taken]


def folds(y: np.ndarray, k: int, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Divide rows into `k` parts, each of which is the validation part once.

    Args:
        y: Class of each row, integers (n,); equal numbers where there are no classes.
        k: Number of folds, 2 <= k <= n.
        seed: Seed of the shuffle, >= 0.

    Returns:
        For each fold, the indices of its training and its validation rows, in random order. The validation parts
        partition the rows; their sizes, and their numbers of rows of each class, differ by at most one.
    """
    order, by_class = _shuffled(y, seed)
    fold = np.empty(len(y), int)
    fold[by_class] = np.arange(len(y)) % k
    return [(order[fold != i], order[fold == i]) for i in range(k)]


def _shuffled(y: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows in random order, and the positions in that order that sort them by class."""
    order = np.random.default_rng(seed).permutation(len(y))
    return order, np.argsort(y[order], kind="stable")

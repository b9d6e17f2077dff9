"""The rules of selection as mathematics: from the losses of a front, (n, m), smaller is better, to an order of points.

Where a rule finds points equal, the earlier one comes first. Sources: Fishburn, "Lexicographic orders, utilities and
decision rules", Management Science 1974; Guerreiro, Fonseca and Paquete, "Greedy hypervolume subset selection in low
dimensions", Evolutionary Computation 2016. The knee is in `weft.search.front`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from weft.search import front as fronts

BEYOND = 1.1
"""Where the reference point of the hypervolume lies, in units of the front's own extent from its best values."""


def scaled(losses: ArrayLike) -> NDArray[np.float64]:
    """Return losses (n, m) on the scale from the best (0) to the worst (1) of each column; 0 where all are equal."""
    points = np.asarray(losses, dtype=float)
    low, width = points.min(axis=0), np.ptp(points, axis=0)
    return (points - low) / np.where(width > 0, width, 1.0)


def by_score(scores: Sequence[float]) -> list[int]:
    """Return the points in the order of a score, smaller is better."""
    return sorted(range(len(scores)), key=lambda i: scores[i])


def lexicographic(losses: ArrayLike, tolerances: Sequence[float], count: int) -> list[int]:
    """Pick up to `count` points, one after the other, by the columns in their order.

    Of the points that are left, those within a tolerance of the best stay, column by column; the one that is then the
    best in plain lexicographic order is picked.

    Args:
        losses: Shape (n, m).
        tolerances: Of each column, >= 0, in its unit.
        count: How many points.
    """
    points = np.asarray(losses, dtype=float)
    left, picked = list(range(len(points))), []
    while left and len(picked) < count:
        rivals = left
        for column, tolerance in zip(points.T, tolerances, strict=True):
            best = min(column[i] for i in rivals)
            rivals = [i for i in rivals if _within(column[i] - best, tolerance)]
        picked.append(min(rivals, key=lambda i: tuple(points[i])))
        left.remove(picked[-1])
    return picked


def _within(gap: float, tolerance: float) -> bool:
    return gap <= tolerance or math.isclose(gap, tolerance)  # 0.75 - 0.745 is a little more than 0.005


def weighted(losses: ArrayLike, weights: Sequence[float]) -> NDArray[np.float64]:
    """Return the weighted sum of each point's scaled losses, in [0, 1]: 0 is best in every column that counts.

    Args:
        losses: Shape (n, m).
        weights: Of each column, >= 0, not all 0; they are divided by their sum.
    """
    shares = np.asarray(weights, dtype=float)
    return scaled(losses) @ (shares / shares.sum())


def by_hypervolume(losses: ArrayLike, count: int) -> tuple[list[int], list[float]]:
    """Pick up to `count` points, each the one that adds most to the hypervolume of those before it.

    The reference point lies a tenth of the front's extent beyond its worst values; a column that is equal in all points
    does not count.

    Returns:
        The points, and by which share of the box between the best values and the reference each adds, in [0, 1].
    """
    points = scaled(losses)
    varies = np.ptp(points, axis=0) > 0
    points = points[:, varies] if varies.any() else points[:, :1]
    corner = np.full(points.shape[1], BEYOND)
    picked: list[int] = []
    gains: list[float] = []
    volume = 0.0
    while len(picked) < min(count, len(points)):
        left = [i for i in range(len(points)) if i not in picked]
        volumes = [fronts.hypervolume(points[[*picked, i]], corner) for i in left]
        best = max(range(len(left)), key=lambda k: volumes[k])
        picked.append(left[best])
        gains.append((volumes[best] - volume) / float(np.prod(corner)))
        volume = volumes[best]
    return picked, gains

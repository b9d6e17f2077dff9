"""Which candidates of a rung go on to the next: successive halving by non-domination rank, then crowding distance.

Candidates are compared with those of their own rung alone, so all numbers compared are of one fidelity. Rank comes
first (constraint domination: infeasible ones follow the feasible ones, by violation); among equals the more isolated
one goes on, which keeps the survivors spread over the objectives, and a tie keeps the earlier one.

Sources: Jamieson and Talwalkar, "Non-stochastic best arm identification and hyperparameter optimization", AISTATS 2016,
arXiv:1502.07943 (successive halving); Deb, Pratap, Agarwal and Meyarivan, "A fast and elitist multiobjective genetic
algorithm: NSGA-II", IEEE TEC 2002 (ranks, crowding distance); Schmucker, Donini, Zafar, Salinas and Archambeau,
"Multi-objective asynchronous successive halving", 2021, arXiv:2106.12639 (the two together).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from weft.search.front import ranks


def crowding(losses: ArrayLike) -> NDArray[np.float64]:
    """Return the crowding distance of each point among all of them, shape (n,), for losses of shape (n, m).

    The sum over objectives of the gap between the two neighbours, as a share of the range; infinite for the ends of an
    objective. An objective that is equal in all points adds nothing.
    """
    points = np.asarray(losses, dtype=float)
    distance = np.zeros(len(points))
    for values in points.T:
        order = np.argsort(values, kind="stable")
        width = values[order[-1]] - values[order[0]]
        if width > 0:
            padded = np.concatenate([[-np.inf], values[order], [np.inf]])
            distance[order] += (padded[2:] - padded[:-2]) / width
    return distance


def order(losses: ArrayLike, violations: ArrayLike) -> NDArray[np.int64]:
    """Return the indices of the points, best first, shape (n,).

    Args:
        losses: Objectives turned so that smaller is better, shape (n, m), finite.
        violations: Total violation of the constraints, shape (n,), >= 0.
    """
    points = np.asarray(losses, dtype=float)
    rank = ranks(points, violations)
    distance = np.zeros(len(points))
    for level in np.unique(rank):
        distance[rank == level] = crowding(points[rank == level])
    return np.lexsort((np.arange(len(points)), -distance, rank))


def promoted(losses: ArrayLike, violations: ArrayLike, factor: int) -> NDArray[np.int64]:
    """Return the indices of the best n / `factor` of n points, rounded up, ascending; takes what `order` takes."""
    return np.sort(order(losses, violations)[: -(-len(np.asarray(violations)) // factor)])

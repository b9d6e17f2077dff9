"""The Pareto front: constraint domination, ranks, the knee and the hypervolume.

Everything here takes losses: objectives turned so that smaller is better, shape (n, m), finite.

Sources: Deb, Pratap, Agarwal and Meyarivan, "A fast and elitist multiobjective genetic algorithm: NSGA-II", IEEE TEC
2002 (ranks, constraint domination); Das, "On characterizing the knee of the Pareto curve", Structural Optimization
1999; Zitzler and Thiele, IEEE TEC 1999 (hypervolume).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def nondominated(losses: ArrayLike) -> NDArray[np.bool_]:
    """Mark the points of shape (n, m) that no other point dominates; equal points do not dominate each other."""
    points = np.asarray(losses, dtype=float)
    keep = np.ones(len(points), dtype=bool)
    order = np.lexsort(points.T[::-1])  # a point comes after all that dominate it
    front = np.empty_like(points)
    size = 0
    for index in order:
        row, ahead = points[index], front[:size]
        if np.any(np.all(ahead <= row, axis=1) & np.any(ahead < row, axis=1)):
            keep[index] = False
        else:
            front[size] = row
            size += 1
    return keep


def first_front(losses: ArrayLike, violations: ArrayLike) -> NDArray[np.bool_]:
    """Mark the points that none constraint-dominates.

    A feasible point is ahead of every infeasible one; of two infeasible points the smaller violation is ahead; two
    feasible points compare by domination.

    Args:
        losses: Shape (n, m).
        violations: Shape (n,), total violation >= 0, 0 for a feasible point.
    """
    points, total = np.asarray(losses, dtype=float), np.asarray(violations, dtype=float)
    if not len(points):
        return np.zeros(0, dtype=bool)
    keep = total == total.min()
    if total.min() <= 0:
        keep[keep] = nondominated(points[keep])
    return keep


def ranks(losses: ArrayLike, violations: ArrayLike) -> NDArray[np.int64]:
    """Return the front of each point: 0 where none constraint-dominates it, 1 where only points of rank 0 do, and on.

    Takes what `first_front` takes; returns shape (n,).
    """
    points, total = np.asarray(losses, dtype=float), np.asarray(violations, dtype=float)
    rank = np.zeros(len(points), dtype=np.int64)
    left, level = np.arange(len(points)), 0
    while len(left):
        ahead = first_front(points[left], total[left])
        rank[left[ahead]] = level
        left, level = left[~ahead], level + 1
    return rank


def knee_distances(losses: ArrayLike) -> NDArray[np.float64]:
    """Return how far each point of a front lies before the plane through the extremes; the knee is the largest.

    The front, shape (n, m), is scaled to [0, 1] along each objective. The extremes are the m points that are worst in
    one objective and best in the others; in two dimensions these are the ends of the front. An objective that is equal
    in all points does not count.

    Returns:
        Signed distances, shape (n,), in scaled units: positive towards the ideal point.
    """
    points = np.asarray(losses, dtype=float)
    low, width = points.min(axis=0), np.ptp(points, axis=0)
    varies = width > 0
    if not varies.any():
        return np.zeros(len(points))
    scaled = (points[:, varies] - low[varies]) / width[varies]
    return (1.0 - scaled.sum(axis=1)) / np.sqrt(varies.sum())


def hypervolume(losses: ArrayLike, reference: ArrayLike) -> float:
    """Return the volume that the points, shape (n, m), dominate up to the reference point, shape (m,).

    Points that are not better than the reference in every objective add nothing. Slices along the last objective:
    O(n**(m - 1) log n).
    """
    points, corner = np.asarray(losses, dtype=float), np.asarray(reference, dtype=float)
    return _volume(points[np.all(points < corner, axis=1)], corner)


def _volume(points: NDArray[np.float64], corner: NDArray[np.float64]) -> float:
    if not len(points):
        return 0.0
    if len(corner) == 1:
        return float(corner[0] - points.min())
    points = points[np.argsort(points[:, -1], kind="stable")]
    thickness = np.diff(np.append(points[:, -1], corner[-1]))
    if len(corner) == 2:
        return float(np.sum(thickness * (corner[0] - np.minimum.accumulate(points[:, 0]))))
    return float(sum(t * _volume(points[: i + 1, :-1], corner[:-1]) for i, t in enumerate(thickness) if t > 0))

"""How much the result of a search depends on its seed: hypervolume against evaluated designs, over several searches.

All searches are measured in one box, which the worst and the best values of all their feasible designs span. The
numbers are those of the searches, before any re-evaluation: it is the searching that varies here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weft.errors import RunError
from weft.objectives import OBJECTIVES
from weft.search import front as fronts
from weft.search.results import SearchResults


@dataclass(frozen=True)
class Spread:
    """Progress of several searches.

    Attributes:
        seeds: Of each search.
        volumes: Hypervolume in [0, 1] after each evaluated design, shape (n_seeds, n); a search that evaluated fewer
            designs than another one keeps its last.
        reference: Worst value of each objective, the corner of the box with hypervolume 0.
        ideal: Best value of each objective.
    """

    seeds: tuple[int, ...]
    volumes: NDArray[np.float64]
    reference: dict[str, float]
    ideal: dict[str, float]

    @property
    def mean(self) -> NDArray[np.float64]:
        """The mean over seeds, shape (n,)."""
        return self.volumes.mean(axis=0)

    @property
    def std(self) -> NDArray[np.float64] | None:
        """The sample standard deviation over seeds, shape (n,), or None for one seed."""
        return self.volumes.std(axis=0, ddof=1) if len(self.seeds) > 1 else None

    def rows(self) -> list[dict[str, Any]]:
        """Return one row for each number of evaluated designs: mean, std and each seed's hypervolume."""
        std = self.std
        return [
            {
                "evaluated": index + 1,
                "hypervolume_mean": float(self.mean[index]),
                "hypervolume_std": None if std is None else float(std[index]),
                **{f"seed_{seed}": float(self.volumes[i, index]) for i, seed in enumerate(self.seeds)},
            }
            for index in range(self.volumes.shape[1])
        ]


def spread(searches: Mapping[int, SearchResults]) -> Spread:
    """Return the progress of searches of one experiment, by seed.

    Raises:
        RunError: none of them has a feasible design.
    """
    names = next(iter(searches.values())).objectives
    signs = np.array([OBJECTIVES[name].loss(1.0) for name in names])
    losses = {
        seed: [trial.losses(names) if trial.feasible else None for trial in results.evaluated]
        for seed, results in searches.items()
    }
    feasible = np.array([row for rows in losses.values() for row in rows if row is not None])
    if not len(feasible):
        raise RunError(
            f"none of the searches with seeds {', '.join(map(str, searches))} has a feasible design, so there is no "
            "hypervolume to compare; loosen search.constraints, or search longer"
        )
    worst, best = feasible.max(axis=0), feasible.min(axis=0)
    each = [_progress(rows, worst, best) for rows in losses.values()]
    longest = max(map(len, each))
    volumes = np.array([[*volumes, *[volumes[-1] if volumes else 0.0] * (longest - len(volumes))] for volumes in each])
    corners = [dict(zip(names, map(float, signs * corner), strict=True)) for corner in (worst, best)]
    return Spread(tuple(searches), volumes, *corners)


def _progress(losses: list[list[float] | None], worst: NDArray[np.float64], best: NDArray[np.float64]) -> list[float]:
    """Return the hypervolume after each design; None stands for an infeasible one. What never varies is left out."""
    varies = worst > best
    ahead, volume, found = np.zeros((0, int(varies.sum()))), 0.0, []
    for row in losses:
        if row is not None and varies.any():
            point = (np.array(row)[varies] - best[varies]) / (worst - best)[varies]
            if not np.any(np.all(ahead <= point, axis=1)):
                ahead = np.vstack([ahead[~np.all(point <= ahead, axis=1)], point])
                volume = fronts.hypervolume(ahead, np.ones(len(point)))
        found.append(volume)
    return found

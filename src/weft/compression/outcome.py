"""What a recipe gives back: the trail of everything it tried, and the points of its front as models to choose from."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from weft.objectives import OBJECTIVES

if TYPE_CHECKING:
    import keras

    from weft.space.architecture import Architecture

WORTH_KEEPING = 0.03
"""How far the metric may fall below the best before a point is no good design any more."""


@dataclass(frozen=True)
class Candidate:
    """One point of a trail that can become a design.

    Attributes:
        name: Where on the trail it lies, such as `epoch-87` or `8-auto-round-3`.
        log: Its numbers: the metrics on validation, `ebops`, and whatever else the recipe logs.
        model: Makes the trained model (masks and all), when asked for.
        architecture: What the model was built from, if the search made it.
    """

    name: str
    log: Mapping[str, float]
    model: Callable[[], keras.Model] = field(repr=False)
    architecture: Architecture | None


@dataclass(frozen=True)
class Outcome:
    """What a recipe gives back.

    Attributes:
        trail: One row of numbers for each epoch or round, in order.
        candidates: The points of its front.
        at_goal: Those that meet the recipe's own goal, where it has one: the best of them is always kept.
    """

    trail: list[dict[str, float | str]]
    candidates: list[Candidate]
    at_goal: Sequence[Candidate] = ()


def choose(outcome: Outcome, metric: str, count: int) -> list[Candidate]:
    """Choose the points that cover a front best, most accurate first; the best one at the goal is always among them.

    The choice is greedy in the area (hypervolume) between the chosen points and a reference: the metric may fall
    `WORTH_KEEPING` below the best, and cost is counted in decades, so that halving it is worth the same everywhere.
    Points below that are taken, best first, only where there are too few others.
    """
    spec, candidates = OBJECTIVES[metric], outcome.candidates
    loss = {c.name: spec.loss(c.log[metric]) for c in candidates}
    best = min(loss.values())
    by_loss = sorted(candidates, key=lambda c: (loss[c.name], c.log["ebops"]))
    worth = [c for c in by_loss if loss[c.name] <= best + WORTH_KEEPING]
    ceiling = max(math.log10(c.log["ebops"] + 1.0) for c in worth) + 0.1

    def area(chosen: Sequence[Candidate]) -> float:
        steps = sorted(chosen, key=lambda c: loss[c.name])
        total, covered = 0.0, ceiling
        for candidate in steps:
            cost = math.log10(candidate.log["ebops"] + 1.0)
            if cost < covered:
                total += (best + WORTH_KEEPING - loss[candidate.name] + 1e-9) * (covered - cost)
                covered = cost
        return total

    chosen = [c for c in by_loss if c in outcome.at_goal][:1]
    while len(chosen) < count and (rest := [c for c in worth if c not in chosen]):
        chosen.append(max(rest, key=lambda c: area([*chosen, c])))
    chosen += [c for c in by_loss if c not in chosen][: count - len(chosen)]
    return sorted(chosen, key=lambda c: (loss[c.name], c.log["ebops"]))

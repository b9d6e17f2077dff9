"""Synthesis during a search: some candidates are measured, and what was estimated for the others is put right by them.

Every so many candidates a round chooses a few: the one whose real size may change the front most, the one that is least
like those measured before, and one at random, which keeps the errors honest. Their firmware is synthesised by a worker.
At the end the rest of the front is, too, so that what is selected from was measured.
From then on the results of the search (front, tables, selection, constraints) show the measured numbers, and for all
other candidates the calibrated ones with their ranges. The sampler goes on with the raw estimates: their order is the
same, since the map between the two always rises, and a draw depends on what was known when it was made.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from weft.cost.calibration import Calibration
from weft.objectives import OBJECTIVES
from weft.search import front as fronts
from weft.search.constraints import relative_violation

if TYPE_CHECKING:
    from weft.search.results import SearchResults, TrialRecord

QUANTITIES = ("lut", "ff", "lut_fraction", "ff_fraction")
"""What synthesis gives and estimates give, too."""

UNKNOWN = 0.2
"""Relative half-width of an estimate that comes without a range."""

Round = dict[str, Any]
"""What one round found, as JSON: `evaluated` (candidates before it), `trials` (number to what was measured and why it
was chosen), `last` (it was at the end), `rank_correlation` (Kendall's, of the sizes before and after), `joined` and
`left` (trials, and the front).
"""


def choose(results: SearchResults, able: set[int], count: int, seed: int) -> list[tuple[int, str]]:
    """Choose candidates to synthesise: their numbers, each with the reason.

    Args:
        results: With the rounds before.
        able: Trials whose weights are there.
        count: How many at most.
        seed: Of the choices at random.
    """
    random = np.random.default_rng([seed, len(results.rounds)])
    open_ = [t for t in results.evaluated if t.number in able and t.number not in measured(results.rounds)]
    rules: list[tuple[str, Callable[[Sequence[TrialRecord]], TrialRecord]]] = [
        ("its size may change the front most", lambda rest: max(rest, key=lambda t: _change(results, t))),
        ("least like those measured before", lambda rest: max(rest, key=lambda t: _distance(results, t))),
        ("at random", lambda rest: rest[int(random.integers(len(rest)))]),
    ]
    chosen: list[tuple[int, str]] = []
    while open_ and len(chosen) < count:
        reason, rule = rules[len(chosen) % len(rules)]
        trial = rule(open_)
        open_.remove(trial)
        chosen.append((trial.number, reason))
    return chosen


def measured(rounds: Sequence[Round]) -> dict[int, dict[str, Any]]:
    """Return what was measured of each trial, or why it could not be, by its number."""
    return {int(number): found for one in rounds for number, found in one["trials"].items()}


def pairs(rounds: Sequence[Round], name: str) -> list[tuple[float, float]]:
    """Return the raw estimate and the measured value of a quantity, of each trial that has both and above 0."""
    found = (one["quantities"].get(name) for one in measured(rounds).values())
    each = [(q["estimate"], q["measured"]["value"]) for q in found if q is not None]
    return [(a, b) for a, b in each if a and b]


def entry(trial: TrialRecord, quantities: Mapping[str, Mapping[str, Any]], reason: str) -> dict[str, Any]:
    """Return what a round notes of a trial: the raw estimate, the range given before, and what was measured."""
    noted = {}
    for name in QUANTITIES:
        if name in trial.costs and name in quantities:
            shown = trial.costs[name]["quantity"]
            noted[name] = {
                "estimate": raw(trial, name),
                "low": shown.get("low"),
                "high": shown.get("high"),
                "measured": dict(quantities[name]),
            }
    return {"reason": reason, "quantities": noted}


def raw(trial: TrialRecord, name: str) -> float:
    """Return a trial's estimate as it was before any calibration."""
    return trial.costs[name].get("raw", trial.costs[name]["quantity"]["value"])


def rescored(
    trials: Sequence[TrialRecord], rounds: Sequence[Round], constraints: Mapping[str, str]
) -> tuple[TrialRecord, ...]:
    """Return trials with measured and calibrated costs in place of raw ones, and constraints judged by these."""
    if not rounds:
        return tuple(trials)
    found = measured(rounds)
    maps = {name: Calibration.of(known) for name in QUANTITIES if (known := pairs(rounds, name))}
    return tuple(trial if trial.state != "complete" else _rescored(trial, found, maps, constraints) for trial in trials)


def compared(before: SearchResults, after: SearchResults) -> dict[str, Any]:
    """Return how a round changed the order of the candidates' sizes, and the front."""
    from scipy.stats import kendalltau

    name = next((n for n in QUANTITIES if any(n in t.costs for t in after.evaluated)), None)
    sizes = [[t.value(name) for t in one.evaluated] for one in (before, after)] if name else [[], []]
    tau = float(kendalltau(*sizes).statistic) if len(set(sizes[0])) > 1 and len(set(sizes[1])) > 1 else 1.0
    fronts_ = [{t.number for t in one.front()} for one in (before, after)]
    return {
        "rank_correlation": tau,
        "joined": sorted(fronts_[1] - fronts_[0]),
        "left": sorted(fronts_[0] - fronts_[1]),
    }


def rows(rounds: Sequence[Round]) -> Iterator[dict[str, Any]]:
    """Yield one row for each quantity of each synthesised trial, those that failed with the reason."""
    for number, one in enumerate(rounds):
        for trial, found in one["trials"].items():
            head = {"round": number, "trial": int(trial), "chosen": found["reason"]}
            for name, quantity in found["quantities"].items():
                low, high, value = quantity["low"], quantity["high"], quantity["measured"]["value"]
                yield {
                    **head,
                    "quantity": name,
                    **{key: quantity[key] for key in ("estimate", "low", "high")},
                    "synthesis": value,
                    "inside": None if None in (low, high, value) else low <= value <= high,
                    "source": quantity["measured"]["source"],
                }
            if "error" in found:
                yield {**head, "error": found["error"]}


def _rescored(
    trial: TrialRecord,
    found: Mapping[int, Mapping[str, Any]],
    maps: Mapping[str, Calibration],
    constraints: Mapping[str, str],
) -> TrialRecord:
    costs = dict(trial.costs)
    for name in QUANTITIES:
        if name not in costs:
            continue
        cost, quantity = costs[name], costs[name]["quantity"]
        of = found.get(trial.number, {}).get("quantities", {}).get(name)
        one = len(trial.weights) == 1 and trial.seeds is None  # otherwise the estimate is a mean, or of other weights
        if of is not None and one:
            better = {**of["measured"], "reason": f"estimated as {of['estimate']:.6g} in the search"}
        elif name in maps and quantity["value"]:
            value, low, high = maps[name].range(quantity["value"])
            n = len(maps[name].estimates)
            note = f"{quantity['value']:.6g} by the estimate, put right by {n} syntheses of this search"
            better = {**quantity, "value": value, "low": low, "high": high, "reason": note}
        else:
            continue
        costs[name] = {**cost, "quantity": better, "raw": quantity["value"]}
    changed = dataclasses.replace(trial, costs=costs)
    violations = dict(trial.violations)
    for name in violations.keys() & set(QUANTITIES):
        value = changed.value(name)
        if value is not None:
            violations[name] = relative_violation(constraints[name], value)
    return dataclasses.replace(changed, violations=violations)


def _change(results: SearchResults, trial: TrialRecord) -> float:
    """Return by how much the hypervolume may change if the trial's size is at an end of its range."""
    names = [name for name in QUANTITIES if name in results.objectives]
    if not names or not trial.feasible:
        return -math.inf
    others = [t for t in results.evaluated if t.feasible and t.number != trial.number]
    losses = np.array([t.losses(results.objectives) for t in (*others, trial)], dtype=float)
    worst, best = losses.max(axis=0), losses.min(axis=0)
    width = np.where(worst > best, worst - best, 1.0)
    scaled = (losses - best) / width
    front = scaled[:-1][fronts.nondominated(scaled[:-1])] if len(others) else scaled[:0]
    corner = np.full(scaled.shape[1], 1.1)

    def volume(point: np.ndarray) -> float:
        return fronts.hypervolume(np.vstack([front, point]), corner)

    now, changes = volume(scaled[-1]), []
    for end in (0, 1):
        moved = scaled[-1].copy()
        for name in names:
            axis = results.objectives.index(name)
            moved[axis] = (OBJECTIVES[name].loss(_range(trial, name)[end]) - best[axis]) / width[axis]
        changes.append(abs(volume(moved) - now))
    return float(np.mean(changes))


def _range(trial: TrialRecord, name: str) -> tuple[float, float]:
    quantity = trial.costs[name]["quantity"]
    value, low, high = quantity["value"], quantity.get("low"), quantity.get("high")
    return (low if low is not None else value * (1 - UNKNOWN), high if high is not None else value * (1 + UNKNOWN))


def _distance(results: SearchResults, trial: TrialRecord) -> float:
    """Return how far the logarithm of a trial's size is from the nearest that was measured; at first, the size."""
    name = next(name for name in QUANTITIES if name in trial.costs)
    size = math.log(max(raw(trial, name), 1e-9))
    known = [math.log(estimate) for estimate, _ in pairs(results.rounds, name)]
    return min((abs(size - one) for one in known), default=size)

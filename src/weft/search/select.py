"""Pick designs from the front by a stated rule, and say why each was picked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from weft.config.constraint import Constraint
from weft.config.select import SelectConfig
from weft.errors import BudgetError
from weft.objectives import OBJECTIVES
from weft.search import front as fronts
from weft.search import rules
from weft.search.constraints import total_violation
from weft.search.results import SearchResults, TrialRecord, metric_of


@dataclass(frozen=True)
class Selection:
    """A picked trial, the reason in one sentence, and what the rule compared, JSON."""

    number: int
    reason: str
    inputs: dict[str, Any] = field(default_factory=dict)


def select(results: SearchResults, config: SelectConfig, metric: str | None = None) -> list[Selection]:
    """Return up to `config.count` trials of the front, best first.

    The designs that meet the constraints of the search and of the selection are taken, and of these the ones that no
    other of them dominates. Where these are fewer than `count`, the reasons say so.

    Args:
        results: Of a search; where designs were re-evaluated after it, these are the candidates, by their new numbers.
        config: Section `select`.
        metric: What `best_metric` ranks by; by default the first metric among the objectives.

    Returns:
        The picked trials. Their `inputs` hold the candidates and the constraints, the values of this one that were
        compared, and what else the rule was given.

    Raises:
        BudgetError: no design meets the constraints; names the closest one and what it misses.
    """
    metric = metric or metric_of(results.objectives, results.constraints)
    limits = list(dict.fromkeys([*results.constraints.items(), *config.constraints.items()]))
    _check_feasible(results.candidates, limits)
    candidates = results.front(config.constraints)
    ranking = _rank(candidates, results.objectives, config, metric)
    among = f"of {len(candidates)} designs on the front" + (f" that meet {_words(limits)}" if limits else "")
    seeds = candidates[0].seeds if candidates else None
    among += f", re-evaluated over {seeds} seed{'s' * (seeds > 1)}" if seeds else ""
    short = f"; {config.count} were asked for" if len(candidates) < config.count else ""
    shared = {"candidates": [trial.number for trial in candidates], "constraints": [" ".join(one) for one in limits]}
    picked = []
    for place, (i, why) in enumerate(zip(ranking.order, ranking.reasons, strict=True)):
        if place == config.count:
            break
        reason = f"{ranking.rule}, place {place + 1} {among}: {why}{short}"
        values = {name: candidates[i].value(name) for name in ranking.compared}
        picked.append(Selection(candidates[i].number, reason, {**shared, **ranking.inputs, "values": values}))
    return picked


@dataclass(frozen=True)
class _Ranking:
    """Candidates in the order of a rule, and why each has its place; `rule` and `inputs` are for the reader."""

    rule: str
    order: Sequence[int]
    reasons: Sequence[str]
    compared: Sequence[str]
    inputs: Mapping[str, Any] = field(default_factory=dict)


def _rank(candidates: Sequence[TrialRecord], objectives: Sequence[str], config: SelectConfig, metric: str) -> _Ranking:
    def losses(names: Sequence[str]) -> list[list[float]]:
        return [trial.losses(names) for trial in candidates]

    def values(order: Sequence[int], names: Sequence[str]) -> list[str]:
        return [", ".join(_value(candidates[i], name) for name in names) for i in order]

    names = list(config.compared or objectives)
    match config.rule:
        case "best_metric" | "cheapest":
            names = [metric] if config.rule == "best_metric" else [config.cost, metric]
            title = f"best {metric}" if config.rule == "best_metric" else f"lowest {config.cost}"
            rows = losses(names)
            order = sorted(range(len(rows)), key=lambda i: rows[i])
            return _Ranking(title, order, values(order, names[:1]), names)
        case "knee":
            distances = fronts.knee_distances(losses(objectives))
            order = rules.by_score([-distance for distance in distances])
            reasons = [f"{distances[i]:.3f} before the plane through the extremes" for i in order]
            return _Ranking(f"knee of {', '.join(objectives)}", order, reasons, objectives)
        case "lexicographic":
            tolerances = [config.tolerances.get(name, 0.0) for name in names]
            order = rules.lexicographic(losses(names), tolerances, config.count)
            words = [f"{name} (within {t:g})" if t else name for name, t in zip(names, tolerances, strict=True)]
            given = {"tolerances": dict(zip(names, tolerances, strict=True))}
            return _Ranking(f"best {', then '.join(words)}", order, values(order, names), names, given)
        case "weighted":
            weights = np.array([config.weights.get(name, 0.0) if config.weights else 1.0 for name in names])
            weights = weights / weights.sum()
            rows = losses(names)
            scores = rules.weighted(rows, weights.tolist())
            order = rules.by_score(scores.tolist())
            words = [f"{share:.2g} {name}" for name, share in zip(names, weights, strict=True)]
            reasons = [
                f"{scores[i]:.3f} from the best of all ({text})"
                for i, text in zip(order, values(order, names), strict=True)
            ]
            given = {"weights": dict(zip(names, weights.tolist(), strict=True)), "scale": _extent(rows, names)}
            return _Ranking(f"weighted sum of {', '.join(words)}", order, reasons, names, given)
        case "hypervolume":
            rows = losses(objectives)
            order, gains = rules.by_hypervolume(rows, config.count)
            reasons = [f"adds {gain:.1%} of the box to those before it" for gain in gains]
            given = {"scale": _extent(rows, objectives), "reference": f"{rules.BEYOND:g} of the scale"}
            return _Ranking(f"hypervolume of {', '.join(objectives)}", order, reasons, objectives, given)


def _extent(rows: Sequence[Sequence[float]], names: Sequence[str]) -> dict[str, list[float]]:
    """Return the best and the worst value of each objective among the candidates."""
    signs = [OBJECTIVES[name].loss(1.0) for name in names]
    return {
        name: [sign * min(column), sign * max(column)]
        for name, sign, column in zip(names, signs, zip(*rows, strict=True), strict=True)
    }


def _check_feasible(trials: Sequence[TrialRecord], limits: Sequence[tuple[str, str]]) -> None:
    if not trials:
        raise BudgetError("nothing to select from: no trial of the search is complete; 'weft status' shows why")
    missed = {trial.number: [trial.missed({name: text})[0] for name, text in limits] for trial in trials}
    closest = min(trials, key=lambda trial: (total_violation(missed[trial.number]), trial.number))
    gaps = [
        f"{_value(closest, name)} ({share:.2%} beyond the bound {Constraint.parse(text)})"
        for (name, text), share in zip(limits, missed[closest.number], strict=True)
        if share > 0
    ]
    if gaps:
        raise BudgetError(
            f"none of {len(trials)} designs meets {_words(limits)}; the closest is trial {closest.number} with "
            f"{' and '.join(gaps)}; loosen that bound, or search longer with it in search.constraints"
        )


def _value(trial: TrialRecord, name: str) -> str:
    std = trial.std(name)
    return f"{name} {trial.value(name):.6g}" + (f" ± {std:.2g}" if std is not None else "")


def _words(limits: Sequence[tuple[str, str]]) -> str:
    return " and ".join(f"{name} {text}" for name, text in limits)

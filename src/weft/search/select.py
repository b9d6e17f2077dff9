"""Pick designs from the front by a stated rule, and say why each was picked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from weft.config.constraint import Constraint
from weft.config.select import SelectConfig
from weft.errors import BudgetError
from weft.search import front as fronts
from weft.search.constraints import total_violation
from weft.search.results import SearchResults, TrialRecord, metric_of


@dataclass(frozen=True)
class Selection:
    """A picked trial, and the reason in one sentence."""

    number: int
    reason: str


def select(results: SearchResults, config: SelectConfig, metric: str | None = None) -> list[Selection]:
    """Return up to `config.count` trials of the front, best first.

    The designs that meet the constraints of the search and of the selection are taken, and of these the ones that no
    other of them dominates. Where these are fewer than `count`, the reasons say so.

    Args:
        results: Of a search; where designs were re-evaluated after it, these are the candidates, by their new numbers.
        config: Section `select`.
        metric: What `best_metric` ranks by; by default the first metric among the objectives.

    Raises:
        BudgetError: no design meets the constraints; names the closest one and what it misses.
    """
    metric = metric or metric_of(results.objectives, results.constraints)
    limits = list(dict.fromkeys([*results.constraints.items(), *config.constraints.items()]))
    _check_feasible(results.candidates, limits)
    candidates = results.front(config.constraints)
    scores, reasons, rule = _scores(candidates, results.objectives, config, metric)
    order = sorted(
        range(len(candidates)),
        key=lambda i: (scores[i], candidates[i].losses(results.objectives), candidates[i].number),
    )
    among = f"of {len(candidates)} designs on the front" + (f" that meet {_words(limits)}" if limits else "")
    seeds = candidates[0].seeds if candidates else None
    among += f", re-evaluated over {seeds} seed{'s' * (seeds > 1)}" if seeds else ""
    short = f"; {config.count} were asked for" if len(candidates) < config.count else ""
    return [
        Selection(candidates[i].number, f"{rule}, place {place} {among}: {reasons[i]}{short}")
        for place, i in enumerate(order[: config.count], start=1)
    ]


def _scores(
    candidates: Sequence[TrialRecord], objectives: Sequence[str], config: SelectConfig, metric: str
) -> tuple[list[list[float]], list[str], str]:
    """Return a score of each candidate, smaller is better, what it consists of in words, and the rule in words."""
    if config.rule == "knee":
        distances = fronts.knee_distances([trial.losses(objectives) for trial in candidates])
        reasons = [f"{distance:.3f} before the plane through the extremes" for distance in distances]
        return [[-distance] for distance in distances], reasons, f"knee of {', '.join(objectives)}"
    names = [metric] if config.rule == "best_metric" else [config.cost, metric]
    rule = f"best {metric}" if config.rule == "best_metric" else f"lowest {config.cost}"
    return [trial.losses(names) for trial in candidates], [_value(trial, names[0]) for trial in candidates], rule


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

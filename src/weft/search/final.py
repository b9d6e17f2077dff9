"""Re-evaluation after the search: designs of the front are trained again, from several seeds, and their mean counts.

The best of many noisy numbers is too good: what a search selects was lucky, too. The front is therefore measured anew,
with seeds that the search has not seen, in as many epochs and folds as wanted, and nothing inherited. From then on the
front, its table, selection and compression go by these numbers; the search's own stay beside them.

Everything is noted in the study: the choice before the first training, and each result as soon as it is there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from weft.search import folds as fold_results
from weft.search import halving
from weft.search.job import Result

if TYPE_CHECKING:
    from weft.search.results import SearchResults, TrialRecord

FINAL = "final"
"""Of the study: a `Plan`."""

Plan = dict[str, Any]
"""What is re-evaluated, as JSON: `trials` (numbers, at most `count`), `seeds`, `epochs`, `folds`, and `after`: how many
trials there had been by then. With more of them there will be another front."""


def choose(results: SearchResults, keep: Mapping[str, str], count: int) -> list[int]:
    """Choose designs of the front, and of the front under further constraints: their numbers, each network once.

    Of more than `count` those go first that are ends of an objective, or far from the others.
    """
    front = list({trial.number: trial for trial in (*results.front(), *results.front(keep))}.values())
    losses = [trial.losses(results.objectives) for trial in front]
    ranked = [front[i] for i in halving.order(losses, [trial.violation for trial in front])]
    once = {trial.key: trial.number for trial in reversed(ranked)}  # of equal networks the first
    return sorted([trial.number for trial in ranked if once[trial.key] == trial.number][:count])


def name(plan: Plan, number: int, seed: int, fold: int) -> str:
    """Return under what a result is noted in the study."""
    return f"final {number}: seed {seed}, fold {fold} of {plan['folds']}, {plan['epochs']} epochs"


def records(
    trials: Sequence[TrialRecord], attrs: Mapping[str, Any], constraints: Mapping[str, str]
) -> tuple[TrialRecord, ...]:
    """Return the re-evaluated designs as trials with the numbers of all seeds and folds; none before all are there.

    Args:
        trials: Of the search.
        attrs: Of the study.
        constraints: Of the search.
    """
    plan: Plan | None = attrs.get(FINAL)
    if plan is None or plan["after"] != len(trials):
        return ()
    found = []
    for number in plan["trials"]:
        places = [name(plan, number, seed, fold) for seed in range(plan["seeds"]) for fold in range(plan["folds"])]
        if not all(place in attrs for place in places):
            return ()
        results = [Result(**attrs[place]) for place in places]
        found.append(_record(trials[number], results, plan, constraints))
    return tuple(found)


def _record(trial: TrialRecord, results: Sequence[Result], plan: Plan, constraints: Mapping[str, str]) -> TrialRecord:
    failed = next((index for index, result in enumerate(results) if result.error is not None), None)
    if failed is not None:
        reason = f"seed {failed // plan['folds']}, fold {failed % plan['folds']}: {results[failed].error}"
        return dataclasses.replace(
            trial, state="failed", seeds=plan["seeds"], parent=None, metrics={}, costs={}, violations={}, weights=(),
            seconds=None, compile_seconds=None, reason=reason, error_kind=results[failed].error_kind,
        )  # fmt: skip
    merged = fold_results.merge(results)
    made = dataclasses.replace(
        trial, seeds=plan["seeds"], parent=None, **{**merged, "weights": tuple(merged["weights"])}
    )
    return dataclasses.replace(made, violations=dict(zip(constraints, made.missed(constraints), strict=True)))

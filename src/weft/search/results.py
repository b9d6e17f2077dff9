"""What a search has found: its trials as records, and the front among them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from weft.errors import ConfigError, RunError
from weft.objectives import METRICS, OBJECTIVES
from weft.search import front as fronts
from weft.search.calibrate import Round, rescored
from weft.search.constraints import relative_violation, total_violation
from weft.search.final import records

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial

State = Literal["complete", "stopped", "failed", "running"]

ROUNDS = "calibration"
"""Of the study: the rounds of synthesis so far."""


@dataclass(frozen=True)
class TrialRecord:
    """One trial.

    Attributes:
        number: From 0, in the order of proposal.
        state: `running` also means begun and interrupted.
        key: Hash of the genotype; None until it is drawn.
        genotype: What was built, JSON; None until it is drawn.
        params: The sampler's parameters.
        duplicate_of: Number of the earlier trial with the same key and parent, whose numbers these are.
        metrics: Name to `{"mean", "std"}` over folds.
        costs: Name to `{"quantity", "std"}`; the quantity is a `weft.types.Quantity` as a dictionary. `raw` is the
            estimate, where a calibration has put another value in its place.
        violations: Constraint name to the missed share of its bound, <= 0 where met.
        seconds: Time of all folds together; 0 for a duplicate.
        compile_seconds: The part of `seconds` that went into compiling.
        weights: Per fold, the path of the weights relative to the run directory, or None. Kept for the front alone.
        reason: Why there are no numbers, for a failed trial.
        error_kind: `diverged`, `unsupported` or `crash`, for a failed trial.
        rung: The rung of successive halving, from 0, that a stopped trial did not get beyond, and whose numbers it has.
        parent: Number of the trial whose weights it started from, where it inherited any.
        seeds: Of a re-evaluation: from how many seeds it was trained; means and deviations are over seeds and folds.
    """

    number: int
    state: State
    key: str | None
    genotype: dict[str, Any] | None
    params: dict[str, Any]
    duplicate_of: int | None = None
    metrics: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)
    costs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    violations: Mapping[str, float] = field(default_factory=dict)
    seconds: float | None = None
    compile_seconds: float | None = None
    weights: tuple[str | None, ...] = ()
    reason: str | None = None
    error_kind: str | None = None
    rung: int | None = None
    parent: int | None = None
    seeds: int | None = None

    @property
    def violation(self) -> float:
        """Total violation, 0 for a feasible design."""
        return total_violation(self.violations.values())

    @property
    def feasible(self) -> bool:
        return self.violation <= 0

    def value(self, name: str) -> float | None:
        """Return the mean of a metric or cost over folds, or None where the trial has none."""
        if name in self.metrics:
            return self.metrics[name]["mean"]
        return self.costs[name]["quantity"]["value"] if name in self.costs else None

    def std(self, name: str) -> float | None:
        """Return the sample standard deviation over folds, or None for one fold."""
        spread = self.metrics.get(name) or self.costs.get(name)
        return spread["std"] if spread else None

    def missed(self, constraints: Mapping[str, str]) -> list[float]:
        """Return by which share of its bound each constraint is missed, <= 0 where met, for a complete trial.

        Raises:
            RunError: the trial has no such number.
        """
        values = [OBJECTIVES[name].loss(self.losses([name])[0]) for name in constraints]
        return [relative_violation(text, value) for text, value in zip(constraints.values(), values, strict=True)]

    def losses(self, names: Sequence[str]) -> list[float]:
        """Return objectives turned so that smaller is better, for a complete trial.

        Raises:
            RunError: the trial has no such number.
        """
        found = []
        for name in names:
            value = self.value(name)
            if value is None:
                has = ", ".join([*self.metrics, *self.costs]) or "nothing"
                raise RunError(f"trial {self.number} has no '{name}' to compare; it has {has}")
            found.append(OBJECTIVES[name].loss(value))
        return found


@dataclass(frozen=True)
class Hypervolume:
    """The share of the box between `ideal` and `reference` that the front dominates, in [0, 1].

    The box is spanned by the best and the worst values of all feasible trials of this search, by objective. It is
    therefore a measure of one search and its progress; compare searches by giving both the same reference and ideal.
    """

    value: float
    reference: dict[str, float]
    ideal: dict[str, float]


@dataclass(frozen=True)
class SearchResults:
    """The trials of a search, the objectives they were compared by, and the constraints on them.

    `rounds` are those of `weft.search.calibrate`; the trials' costs are the measured and calibrated ones by them.
    `final` are the designs that were evaluated once more after the search, see `weft.search.final`: with the numbers
    and weights of that, or failed.
    """

    objectives: tuple[str, ...]
    constraints: dict[str, str]
    trials: tuple[TrialRecord, ...]
    rounds: tuple[Round, ...] = ()
    final: tuple[TrialRecord, ...] = ()

    @property
    def evaluated(self) -> tuple[TrialRecord, ...]:
        """The complete trials that are not duplicates."""
        return tuple(trial for trial in self.trials if trial.state == "complete" and trial.duplicate_of is None)

    @property
    def candidates(self) -> tuple[TrialRecord, ...]:
        """The trials that the front is of: those that were re-evaluated, if any were, else all that were evaluated."""
        return tuple(trial for trial in self.final if trial.state == "complete") or self.evaluated

    def chosen(self, number: int) -> TrialRecord:
        """Return a trial with the numbers that count: those of the re-evaluation where there are any."""
        return next((trial for trial in self.candidates if trial.number == number), self.trials[number])

    def front(self, constraints: Mapping[str, str] | None = None) -> tuple[TrialRecord, ...]:
        """Return the candidates that none constraint-dominates, best in the first objective first.

        Where no trial is feasible these are the trials of least violation.

        Args:
            constraints: Further bounds; trials that miss them are left out before the rest is compared.
        """
        trials = [trial for trial in self.candidates if total_violation(trial.missed(constraints or {})) <= 0]
        shape = len(trials), len(self.objectives)
        losses = np.array([trial.losses(self.objectives) for trial in trials]).reshape(shape)
        ahead = fronts.first_front(losses, [trial.violation for trial in trials])
        found = [trial for trial, keep in zip(trials, ahead, strict=True) if keep]
        return tuple(sorted(found, key=lambda trial: (trial.losses(self.objectives), trial.number)))

    def hypervolume(
        self, reference: Mapping[str, float] | None = None, ideal: Mapping[str, float] | None = None
    ) -> Hypervolume | None:
        """Return the normalised hypervolume of the feasible trials; None where there is none.

        An objective that is equal in all of them is left out.

        Args:
            reference: Worst value of each objective; by default the worst of the feasible trials.
            ideal: Best value of each objective; by default the best of the feasible trials.
        """
        trials = [trial for trial in self.evaluated if trial.feasible]
        if not trials:
            return None
        signs = np.array([OBJECTIVES[name].loss(1.0) for name in self.objectives])
        losses = np.array([trial.losses(self.objectives) for trial in trials])
        worst = losses.max(axis=0) if reference is None else signs * [reference[name] for name in self.objectives]
        best = losses.min(axis=0) if ideal is None else signs * [ideal[name] for name in self.objectives]
        varies = worst > best
        scaled = (losses[:, varies] - best[varies]) / (worst[varies] - best[varies])
        value = fronts.hypervolume(np.maximum(scaled, 0.0), np.ones(int(varies.sum()))) if varies.any() else 0.0
        named = [dict(zip(self.objectives, map(float, signs * corner), strict=True)) for corner in (worst, best)]
        return Hypervolume(value, *named)

    def constant(self) -> dict[str, float]:
        """Return the objectives that are equal in all trials that were evaluated, two or more, with their value."""
        found = {name: {trial.value(name) for trial in self.evaluated} for name in self.objectives}
        return {name: values.pop() for name, values in found.items() if len(self.evaluated) > 1 == len(values)}  # type: ignore[misc]

    def summary(self) -> dict[str, Any]:
        """Return the section `search` of `summary.json`."""
        volume = self.hypervolume()
        return {
            "trials": sum(trial.state != "running" for trial in self.trials),
            "failed": sum(trial.state == "failed" for trial in self.trials),
            "stopped": sum(trial.state == "stopped" for trial in self.trials),
            "evaluated": len(self.evaluated),
            "front": len(self.front()),
            "reevaluated": sum(trial.state == "complete" for trial in self.final),
            "hypervolume": volume.value if volume else 0.0,
            "hypervolume_reference": volume.reference if volume else None,
            "hypervolume_ideal": volume.ideal if volume else None,
            "constant": self.constant(),
        }


def read(directory: Path | str, name: str = "search") -> SearchResults:
    """Read the search of a run directory, or the study of another name, also while it runs.

    Raises:
        RunError: there is none, or its journal is damaged.
    """
    from weft.search.study import open_to_read

    studies = open_to_read(directory, name)
    if studies is None:
        raise RunError(f"{directory} holds no search; 'weft search EXPERIMENT --out {directory}' begins one")
    return collect(*studies)


def collect(search: Study, outside: Study, rounds: Sequence[Round] | None = None) -> SearchResults:
    """Return the records of both studies: baselines outside the space are numbered first.

    `rounds` stand for those of the study, if given.
    """
    identity = search.user_attrs["identity"]
    before = outside.get_trials(deepcopy=False)
    numbered = [*before, *search.get_trials(deepcopy=False)]
    constraints = identity["constraints"]
    known: Sequence[Round] = search.user_attrs.get(ROUNDS, ()) if rounds is None else rounds
    raw = [record(number, trial) for number, trial in enumerate(numbered)]
    return SearchResults(
        objectives=tuple(identity["objectives"]),
        constraints=constraints,
        trials=rescored(raw, known, constraints),
        rounds=tuple(known),
        final=rescored(records(raw, search.user_attrs, constraints), known, constraints),
    )


def record(number: int, trial: FrozenTrial) -> TrialRecord:
    """Return the record of an Optuna trial."""
    states: dict[str, State] = {"COMPLETE": "complete", "PRUNED": "stopped", "FAIL": "failed"}
    attrs = trial.user_attrs
    design, outcome, failure = (attrs.get(name, {}) for name in ("design", "outcome", "failure"))
    state = states.get(trial.state.name, "running")
    has_numbers = state in ("complete", "stopped")
    return TrialRecord(
        number=number,
        state=state,
        key=design.get("key"),
        genotype=design.get("genotype"),
        params=trial.params,
        duplicate_of=attrs.get("duplicate_of"),
        metrics=outcome.get("metrics", {}) if has_numbers else {},
        costs=outcome.get("costs", {}) if has_numbers else {},
        violations=trial.constraints if has_numbers else {},
        seconds=outcome.get("seconds"),
        compile_seconds=outcome.get("compile_seconds"),
        weights=() if state == "stopped" else tuple(outcome.get("weights", ())),
        reason=failure.get("reason"),
        error_kind=failure.get("kind"),
        rung=attrs.get("rung") if state == "stopped" else None,
        parent=design.get("parent"),
    )


def metric_of(objectives: Sequence[str], constraints: Iterable[str]) -> str:
    """Return the metric that a search is about: the first among its objectives, else among its constraints.

    Raises:
        ConfigError: there is none.
    """
    for name in (*objectives, *constraints):
        if name in METRICS:
            return name
    raise ConfigError(
        f"the objectives {list(objectives)} and constraints {list(constraints)} name no metric; "
        f"add one of {', '.join(METRICS)} to search.objectives"
    )

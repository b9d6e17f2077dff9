"""Several runs side by side: the settings in which they differ, their fronts in one box, and their best designs.

Runs are compared in the objectives that all of them searched by, and their hypervolumes by one reference point: the box
is spanned by the best and the worst values of the feasible trials of all runs.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from weft import atomic
from weft.errors import ConfigError
from weft.objectives import METRICS, OBJECTIVES
from weft.report.read import describe as describe_network
from weft.run.directory import DATA, SUMMARY, Run
from weft.run.summary import describe
from weft.search import front as fronts
from weft.search.results import SearchResults, TrialRecord, read

COSTS = ("lut", "ff", "dsp", "bram_18k", "latency_cycles", "latency_ns", "ii_cycles")
"""What is shown of a design; each with its stage and source."""

_ASIDE = ("name", "search.workers", "tune.workers", "tracking.")


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FrontPoint(_Record):
    """A trial on the front of its run; `joint`: no trial of any run beats it."""

    trial: int
    network: str
    values: dict[str, float]
    joint: bool


class ComparedDesign(_Record):
    """A final design: metrics of the test rows, costs at the best stage there is, and how its verification ended."""

    id: str
    metrics: dict[str, dict[str, Any]]
    cost: dict[str, dict[str, Any]]
    verification: str


class ComparedRun(_Record):
    """One run.

    Attributes:
        hypervolume: The share of the box that its front dominates, in [0, 1]; None without a feasible trial.
        designs: Best test metric first.
    """

    run: str
    path: str
    status: str
    seconds: float | None
    trials: int
    failed: int
    evaluated: int
    hypervolume: float | None
    front: tuple[FrontPoint, ...]
    designs: tuple[ComparedDesign, ...]


class RunsComparison(_Record):
    """What runs have in common, and what not.

    Attributes:
        objectives: Those that all runs searched by.
        reference: The worst value of each of them among all feasible trials; empty where there is none.
        ideal: The best one.
        settings: Settings that differ, by dotted name and run; None where a run has no such setting.
        notes: What to know before comparing.
    """

    objectives: tuple[str, ...]
    reference: dict[str, float]
    ideal: dict[str, float]
    runs: tuple[ComparedRun, ...]
    settings: dict[str, dict[str, Any]]
    notes: tuple[str, ...]


def compare_runs(runs: Sequence[Run]) -> RunsComparison:
    """Compare what two or more run directories hold; nothing is measured, and nothing is written.

    Raises:
        RunError: one of them holds no search.
        ConfigError: they have no objective in common.
    """
    names = _names(runs)
    found = [read(run.path) for run in runs]
    common = tuple(name for name in found[0].objectives if all(name in one.objectives for one in found))
    if not common:
        lists = "; ".join(f"{name}: {', '.join(one.objectives)}" for name, one in zip(names, found, strict=True))
        raise ConfigError(f"these runs have no objective in common, so nothing can be compared ({lists})")
    same = [dataclasses.replace(one, objectives=common) for one in found]
    reference, ideal = _box(same, common)
    joint = _joint(same, common)
    return RunsComparison(
        objectives=common,
        reference=reference,
        ideal=ideal,
        runs=tuple(
            _run(name, run, results, reference, ideal, joint)
            for name, run, results in zip(names, runs, same, strict=True)
        ),
        settings=_differing(names, runs),
        notes=tuple(_notes(names, runs, found, common)),
    )


def _names(runs: Sequence[Run]) -> list[str]:
    """Return the last part of each path, or the whole path where that is not enough."""
    counted = Counter(run.path.resolve().name for run in runs)
    return [name if counted[name := run.path.resolve().name] == 1 else str(run.path) for run in runs]


def _feasible(results: SearchResults) -> list[TrialRecord]:
    return [trial for trial in results.evaluated if trial.feasible]


def _box(found: Sequence[SearchResults], names: Sequence[str]) -> tuple[dict[str, float], dict[str, float]]:
    losses = [trial.losses(names) for results in found for trial in _feasible(results)]
    if not losses:
        return {}, {}
    signs = [OBJECTIVES[name].loss(1.0) for name in names]
    corners = np.max(losses, axis=0), np.min(losses, axis=0)
    worst, best = (
        dict(zip(names, (float(s * v) for s, v in zip(signs, c, strict=True)), strict=True)) for c in corners
    )
    return worst, best


def _joint(found: Sequence[SearchResults], names: Sequence[str]) -> set[tuple[float, ...]]:
    """Return the losses of the trials that no trial of any run beats."""
    losses = [tuple(trial.losses(names)) for results in found for trial in results.candidates if trial.feasible]
    return {row for row, ahead in zip(losses, fronts.nondominated(losses), strict=True) if ahead} if losses else set()


def _run(
    name: str,
    run: Run,
    results: SearchResults,
    reference: Mapping[str, float],
    ideal: Mapping[str, float],
    joint: set[tuple[float, ...]],
) -> ComparedRun:
    path = run.path / SUMMARY
    summary = atomic.read_json(path) if path.exists() else {"status": "not begun", "seconds": None}
    volume = results.hypervolume(reference, ideal) if reference else None
    return ComparedRun(
        run=name,
        path=str(run.path),
        status=summary["status"],
        seconds=summary["seconds"],
        trials=sum(trial.state != "running" for trial in results.trials),
        failed=sum(trial.state == "failed" for trial in results.trials),
        evaluated=len(results.evaluated),
        hypervolume=None if volume is None else volume.value,
        front=tuple(
            FrontPoint(
                trial=trial.number,
                network=describe_network(trial.genotype),
                values={name: float(trial.value(name) or 0.0) for name in results.objectives},
                joint=trial.feasible and tuple(trial.losses(results.objectives)) in joint,
            )
            for trial in results.front()
        ),
        designs=tuple(_designs(run, results.objectives)),
    )


def _designs(run: Run, objectives: Sequence[str]) -> Iterator[ComparedDesign]:
    metric = next((name for name in objectives if name in METRICS), None)

    def loss(design: Mapping[str, Any]) -> float:
        measured = design["metrics"].get(metric)
        return float("inf") if metric is None or measured is None else OBJECTIVES[metric].loss(measured["value"])

    for design in sorted(map(describe, run.designs()), key=loss):
        yield ComparedDesign(
            id=design["id"],
            metrics=design["metrics"],
            cost={name: design["cost"][name] for name in COSTS if name in design["cost"]},
            verification=(design["verification"] or {"status": "not run"})["status"],
        )


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    """Return settings by dotted name; a list of plain values is one setting."""
    if isinstance(value, Mapping):
        parts = value.items()
    elif isinstance(value, list) and any(isinstance(one, Mapping) for one in value):
        parts = enumerate(value)
    else:
        return {name: value}
    return {key: inner for part, one in parts for key, inner in _flat(one, f"{name}.{part}".strip(".")).items()}


def _differing(names: Sequence[str], runs: Sequence[Run]) -> dict[str, dict[str, Any]]:
    settings = [_flat(run.experiment.model_dump(mode="json", by_alias=True)) for run in runs]
    every = dict.fromkeys(key for one in settings for key in one if not key.startswith(_ASIDE))
    rows = {key: [one.get(key) for one in settings] for key in every}
    return {
        key: dict(zip(names, values, strict=True))
        for key, values in rows.items()
        if any(value != values[0] for value in values)
    }


def _notes(
    names: Sequence[str], runs: Sequence[Run], found: Sequence[SearchResults], common: Sequence[str]
) -> Iterator[str]:
    digests = {atomic.read_json(run.path / DATA)["sha256"] for run in runs if (run.path / DATA).exists()}
    if len(digests) > 1:
        yield "the runs have other data: their metrics are not of the same rows"
    for name, one in zip(names, found, strict=True):
        more = [objective for objective in one.objectives if objective not in common]
        if more:
            yield f"{name} was searched by {', '.join(more)}, too, which other runs were not: its front is longer there"
    if any(one.constraints != found[0].constraints for one in found):
        yield "the runs have other constraints: each front holds what is feasible in its own run"
    if any(results.candidates != results.evaluated for results in found):
        yield "fronts are by the numbers of re-evaluation where there was one, hypervolumes by those of the searches"
    if any(results.rounds for results in found) and not all(results.rounds for results in found):
        yield "some runs have calibrated costs, and others have raw estimates"

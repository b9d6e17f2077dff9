"""What a run directory holds, read once: the files of stages that have not run are None or empty here."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from weft import atomic
from weft.config import Experiment
from weft.config.compress import recipes_of
from weft.config.training import METRICS_OF_TASK
from weft.report.layers import LayerBits, LayerCost, bits_of, costs_of
from weft.run.compare import Comparison, compare
from weft.run.directory import CONFIG, DATA, ENVIRONMENT, NOTES, RESOLVED, SELECTION, SUMMARY
from weft.run.summary import status_of

if TYPE_CHECKING:
    from weft.run import Run
    from weft.run.directory import Design
    from weft.search.results import SearchResults, TrialRecord
    from weft.types import Task

QuantityJson = Mapping[str, Any]
"""A `weft.types.Quantity` as it stands in a file."""

Row = dict[str, float | str]
"""One epoch or round of a trail; numbers where the file has numbers, and no entry where it has none."""


@dataclass(frozen=True)
class Predictions:
    """What a design puts out for the test rows: logits (n, k), and the truth as the data set has it."""

    outputs: np.ndarray
    y: np.ndarray


@dataclass(frozen=True)
class DesignContent:
    """One design.

    Attributes:
        id: Its name.
        trial: Number of the trial it comes from; None where that is not recorded.
        recipe: How it was compressed.
        label: Of the recipe, where the experiment has several.
        point: Where on the trail it lies.
        architecture: In words.
        metrics: Of the finalised model by split, name to `{"value", "std", "error", "n"}`.
        trained: Numbers on validation at the time of training.
        estimates: Quantities before synthesis.
        synthesis: Quantities after it.
        routing: Quantities after place and route, of the chip that they name.
        hls: Status and sentence of the HLS project; None where there is none.
        verification: A `weft.firmware.verify.Verification` as JSON.
        trail: Rows of `trail.csv`.
        predictions: On the test rows.
        layers: Bits of the finalised model.
        costs: What its layers cost.
        models: All estimates by quantity and cost model.
    """

    id: str
    trial: int | None
    recipe: str | None
    label: str | None
    point: str
    architecture: str
    metrics: Mapping[str, Mapping[str, Mapping[str, Any]]]
    trained: Mapping[str, float]
    estimates: Mapping[str, QuantityJson]
    synthesis: Mapping[str, QuantityJson]
    routing: Mapping[str, QuantityJson]
    hls: Mapping[str, Any] | None
    verification: Mapping[str, Any] | None
    trail: list[Row] = field(repr=False)
    predictions: Predictions | None = field(repr=False)
    layers: list[LayerBits] = field(repr=False)
    costs: list[LayerCost] = field(repr=False)
    models: Mapping[str, Mapping[str, QuantityJson]] = field(repr=False)

    @property
    def family(self) -> int | str:
        """What the designs that share a trail have in common: the trial, and the recipe where there are several."""
        if self.trial is None:
            return self.id
        return self.trial if self.label is None else f"{self.trial}, {self.label}"

    def quantity(self, name: str) -> QuantityJson | None:
        """Return a quantity with a value at the strongest stage there is."""
        for found in (self.synthesis.get(name), self.estimates.get(name)):
            if found is not None and found["value"] is not None:
                return found
        return None

    def test(self, name: str) -> Mapping[str, Any] | None:
        """Return a metric of the test rows, `{"value", "error", "n"}`."""
        return self.metrics.get("test", {}).get(name)


@dataclass(frozen=True)
class SearchContent:
    """The search: its results, and the keys of the genotypes that were given as baselines."""

    results: SearchResults
    baselines: frozenset[str]

    @cached_property
    def front(self) -> tuple[TrialRecord, ...]:
        """The trials that none dominates; none before the first trial is complete."""
        return self.results.front() if self.results.evaluated else ()

    @cached_property
    def shown(self) -> tuple[TrialRecord, ...]:
        """The evaluated trials with the numbers that count: those of the re-evaluation where there are any."""
        return tuple(self.results.chosen(trial.number) for trial in self.results.evaluated)


@dataclass(frozen=True)
class Content:
    """Everything that the report says about a run.

    Attributes:
        experiment: The resolved configuration.
        status: As `weft.run.summary.status_of` says.
        seconds: Wall time so far, if a stage has ended.
        notes: Of the summary.
        said: What people wrote down about the run, as Markdown.
        data: Summary of the data set.
        environment: Machine and versions.
        config: The experiment file as it was written.
        resolved: The same with every default.
        events: Of the log.
        search: The search.
        selection: The picked trials, `{"number", "reason"}`.
        designs: The most accurate first.
        comparison: All numbers of the designs, side by side.
    """

    experiment: Experiment
    status: str
    seconds: float | None
    notes: tuple[str, ...]
    said: str | None
    data: Mapping[str, Any] | None
    environment: Mapping[str, Any] | None
    config: str | None
    resolved: str
    events: Sequence[Mapping[str, Any]]
    search: SearchContent | None
    selection: list[Mapping[str, Any]]
    designs: list[DesignContent]
    comparison: Comparison

    @property
    def task(self) -> Task:
        """What is learnt; as the data say, or as the metrics do where the data are not there yet."""
        if self.data is not None:
            return self.data["task"]
        return self.experiment.data.known_task or "classification"

    @property
    def metric(self) -> str:
        """The metric that designs are ranked by: the one training watched, else the search's, else the usual one."""
        return _metric(self.experiment, self.task)


def read_content(run: Run) -> Content:
    """Read a run directory."""
    summary = _json(run.path / SUMMARY) or {}
    data = _json(run.path / DATA)
    content = Content(
        experiment=run.experiment,
        status=status_of(run),
        seconds=summary.get("seconds"),
        notes=tuple(summary.get("notes", ())),
        said=_text(run.path / NOTES),
        data=data,
        environment=_json(run.path / ENVIRONMENT),
        config=_text(run.path / CONFIG),
        resolved=(run.path / RESOLVED).read_text(),
        events=run.events(),
        search=search_of(run.path),
        selection=_json(run.path / SELECTION) or [],
        designs=[_design(design, run.experiment.target.clock_period_ns) for design in run.designs()],
        comparison=compare(run),
    )
    content.designs.sort(key=lambda design: (_loss(design, content.metric), design.id))
    return content


def _metric(experiment: Experiment, task: Task) -> str:
    compressed = (getattr(recipe, "metric", "auto") for _, recipe in recipes_of(experiment.compress))
    asked = (*compressed, experiment.search.metric, *experiment.search.objectives)
    known = METRICS_OF_TASK[task]
    return next((name for name in asked if name in known), known[0])


def _loss(design: DesignContent, metric: str) -> float:
    from weft.objectives import OBJECTIVES

    found = design.test(metric)
    value = found["value"] if found else design.trained.get(metric)
    return float("inf") if value is None else OBJECTIVES[metric].loss(value)


def search_of(directory: Path, name: str = "search") -> SearchContent | None:
    """Read the study of a run directory; None where there is none of this name."""
    from weft.search.results import collect
    from weft.search.study import open_to_read

    studies = open_to_read(directory, name)
    if studies is None:
        return None
    return SearchContent(collect(*studies), frozenset(studies[0].user_attrs["identity"].get("baselines", ())))


def _design(design: Design, clock_period_ns: float) -> DesignContent:
    training = design.read("training.json") or {}
    trial, label = training.get("trial"), training.get("label")
    return DesignContent(
        id=design.id,
        trial=trial,
        recipe=training.get("recipe"),
        label=label,
        point=design.id if trial is None else design.id.removeprefix(f"t{trial:03d}-{f'{label}-' if label else ''}"),
        architecture=describe(design.read("architecture.json")),
        metrics=design.read("metrics.json") or {},
        trained=training.get("log", {}),
        estimates=design.read("cost.json") or {},
        synthesis=design.read("synthesis.json") or {},
        routing=design.read("routing.json") or {},
        hls=design.read("hls.json"),
        verification=design.read("verification.json"),
        trail=_trail(design.path / "trail.csv"),
        predictions=_predictions(design.path / "predictions.npz"),
        layers=bits_of(design),
        costs=costs_of(design, clock_period_ns),
        models=(design.read("estimates.json") or {"quantities": {}})["quantities"],
    )


def describe(genotype: Mapping[str, Any] | None) -> str:
    """Return a genotype in words; one that is not weft's own, of a plug-in, as name=value pairs."""
    from pydantic import ValidationError

    from weft.space.architecture import parse

    if genotype is None:
        return "–"
    try:
        return parse(dict(genotype)).describe()
    except ValidationError:
        return ", ".join(f"{name}={value}" for name, value in genotype.items())


def _trail(path: Path) -> list[Row]:
    text = _text(path)
    if text is None:
        return []
    return [{k: _cell(v) for k, v in row.items() if k and v} for row in csv.DictReader(text.splitlines())]


def _cell(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _predictions(path: Path) -> Predictions | None:
    if not path.exists():
        return None
    with np.load(path) as archive:
        return Predictions(archive["outputs"], archive["y"])


def _json(path: Path) -> Any:
    return atomic.read_json(path) if path.exists() else None


def _text(path: Path) -> str | None:
    return path.read_text() if path.exists() else None

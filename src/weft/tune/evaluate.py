"""Evaluate one combination: compress the network with it, measure it on the validation part, and cost the result.

This is what a worker runs. A recipe may keep several designs; the trial counts the one that misses the constraints
least and is then best in the first objective.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from weft import atomic
from weft.errors import ConfigError
from weft.search.job import Job, Result

if TYPE_CHECKING:
    from weft.config import Experiment
    from weft.data import Dataset
    from weft.run import Run
    from weft.tune.subject import Subject

MODEL, CONFIG, TRAIL = "model.keras", "config.yaml", "trail.csv"
"""What is kept of a trial: the finalised model, its own resolved configuration, and its epochs or rounds."""


def payload(run: Run) -> dict[str, Any]:
    """Return what every job of a tuning shares."""
    from weft.config import dump

    return {"experiment": dump(run.experiment), "directory": str(run.path)}


def evaluate(job: Job) -> Result:
    """Compress the network with the job's values; a combination that is not valid comes back with what is wrong."""
    from weft.compression.training import Material
    from weft.config import dump
    from weft.run.design import save_model

    start = time.perf_counter()
    experiment, dataset, subject = _load(job.payload["experiment"], job.payload["directory"])
    try:
        tuned = experiment.tuned(job.genotype)
    except ConfigError as error:
        seconds = time.perf_counter() - start
        return Result(job.number, job.fold, seconds=seconds, error=str(error), error_kind="invalid")
    place = Path(job.directory)
    work = place / "work"
    work.mkdir()
    atomic.write_text(place / CONFIG, dump(tuned))
    designs = subject.compress(Material.of(dataset, tuned.data), tuned, work)
    numbers = [_measure(design.model, dataset, experiment) for design in designs]
    best = min(range(len(designs)), key=lambda i: _rank(experiment, *numbers[i]))
    save_model(place / MODEL, designs[best].model)
    if (work / TRAIL).exists():
        shutil.move(work / TRAIL, place / TRAIL)
    shutil.rmtree(work)
    metrics, costs = numbers[best]
    return Result(
        number=job.number,
        fold=job.fold,
        metrics=metrics,
        costs=costs,
        seconds=time.perf_counter() - start,
        weights=str(place / MODEL),
    )


def _measure(
    model: Any, dataset: Dataset, experiment: Experiment
) -> tuple[dict[str, float], dict[str, dict[str, Any]]]:
    """Return the metrics of a finalised model on the validation part, and its costs as JSON."""
    from weft.cost import costs_of
    from weft.train.metrics import evaluate as metrics_of

    assert experiment.tune is not None
    rows, target = dataset.validation, experiment.target
    outputs = np.asarray(model.predict(rows.x, batch_size=8192, verbose=0))
    wanted = [*experiment.tune.objectives, *experiment.tune.constraints]
    costs = costs_of(model, wanted, target.part, target.clock_period_ns, among=experiment.cost.models,
                     firmware=experiment.firmware)  # fmt: skip
    return (
        metrics_of(outputs, rows.y, dataset.task),
        {name: quantity.model_dump(mode="json") for name, quantity in costs.items()},
    )


def _rank(experiment: Experiment, metrics: Mapping[str, float], costs: Mapping[str, Mapping[str, Any]]) -> Any:
    """Return how a design compares to the others of its trial, smaller is better."""
    from weft.objectives import OBJECTIVES
    from weft.search.constraints import relative_violation, total_violation

    tune = experiment.tune
    assert tune is not None
    values = {**{name: cost["value"] for name, cost in costs.items()}, **metrics}
    known = {name: np.nan if value is None else value for name, value in values.items()}
    missed = total_violation(relative_violation(text, known[name]) for name, text in tune.constraints.items())
    return [missed, *(OBJECTIVES[name].loss(known[name]) for name in tune.objectives)]


@lru_cache(maxsize=1)
def _load(text: str, directory: str) -> tuple[Experiment, Dataset, Subject]:
    from weft.config import loads
    from weft.data import load
    from weft.tune.subject import Subject

    experiment = loads(text, "the resolved configuration of the tuning")
    return experiment, load(experiment.data), Subject.open(Path(directory))

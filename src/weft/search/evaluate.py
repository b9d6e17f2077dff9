"""Evaluate one genotype on one fold: train it briefly, measure it on the validation part, and cost its actual weights.

This is what a worker runs. It is stateless: everything comes with the job, and the test split is never opened here.
"""

from __future__ import annotations

import time
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from weft.atomic import write_arrays
from weft.errors import TrainingError, UnsupportedError
from weft.search.job import Job, Result

if TYPE_CHECKING:
    import keras

    from weft.config import Experiment, SearchConfig
    from weft.data import Dataset, Split
    from weft.space.architecture import Architecture

WEIGHTS_FILE = "weights.npz"


def payload(experiment: Experiment, costs: tuple[str, ...]) -> dict[str, Any]:
    """Return what every job of a search shares: the experiment (as YAML with resolved paths) and the costs wanted."""
    from weft.config import dump

    return {"experiment": dump(experiment), "costs": list(costs)}


def evaluate(job: Job) -> Result:
    """Train and cost the job's genotype, or synthesise it with the weights that the job names.

    A network that diverges or is not supported comes back as an error.
    """
    from weft.space.architecture import parse

    start = time.perf_counter()
    experiment, dataset = _load(job.payload["experiment"])
    architecture = parse(job.genotype)
    work = _evaluate if job.synthesise is None else _synthesise
    try:
        return work(job, experiment, dataset, architecture, start)
    except (TrainingError, UnsupportedError) as error:
        kind = "diverged" if isinstance(error, TrainingError) else "unsupported"
        seconds = time.perf_counter() - start
        return Result(job.number, job.fold, seconds=seconds, error=str(error), error_kind=kind)


def _evaluate(job: Job, experiment: Experiment, dataset: Dataset, architecture: Architecture, start: float) -> Result:
    from weft.compression.finalize import variables_of
    from weft.compression.training import Material, prepare, rate
    from weft.space.model import build, export_weights, inherit_weights
    from weft.train.metrics import evaluate as measure
    from weft.train.track import KeepBest

    config = as_drawn(experiment.search, architecture)
    splits = dataset.folds(job.n_folds, experiment.data.seed)[job.fold]
    splits = (some_rows(splits[0], job.rows, bool(dataset.class_names), experiment.data.seed), splits[1])
    material = Material.of(dataset, experiment.data).fold(splits)
    model = build(architecture, job.seed)
    if job.inherit is not None:
        with np.load(job.inherit) as stored:
            inherit_weights(model, stored)
    training = prepare(model, material, config, architecture.learning_rate, architecture.l1,
                       architecture.weight_decay)  # fmt: skip
    controls = {"learning_rate": rate(config, architecture.learning_rate, job.epochs)}
    best = KeepBest(training.metric)
    state, _ = training.fit(
        training.plan(config, controls, job.seed, job.epochs),
        trackers=[best],
    )
    if config.early_stopping is not None:
        state = best.best.onto(state)
    metrics = measure(training.engine.predict(state, training.validation.x), training.validation.y, dataset.task)
    training.engine.write_back(state)
    weights = Path(job.directory) / WEIGHTS_FILE
    write_arrays(weights, {**variables_of(model), **export_weights(model)})
    rows = np.concatenate([splits[0].x, splits[1].x])
    costs = design_costs(model, architecture, rows, experiment, tuple(job.payload["costs"]))
    return Result(
        number=job.number,
        fold=job.fold,
        metrics=metrics,
        costs={name: quantity.model_dump(mode="json") for name, quantity in costs.items()},
        seconds=time.perf_counter() - start,
        compile_seconds=training.engine.compile_seconds,
        weights=str(weights),
    )


def as_drawn(config: SearchConfig, architecture: Architecture) -> SearchConfig:
    """Return the section with what the search chose of the training itself."""
    chosen: dict[str, Any] = {}
    if architecture.batch_size is not None:
        chosen["batch_size"] = architecture.batch_size
    if architecture.schedule is not None:
        chosen["schedule"] = {"name": architecture.schedule}
    return type(config).model_validate({**config.model_dump(), **chosen}) if chosen else config


def _synthesise(job: Job, experiment: Experiment, dataset: Dataset, architecture: Architecture, start: float) -> Result:
    """Return what synthesis finds for weights that `_evaluate` stored."""
    from weft.adder_graph import AdderGraph
    from weft.compression.finalize import assign
    from weft.firmware import emit
    from weft.firmware.synth import synthesise
    from weft.space.model import build

    splits = dataset.folds(job.n_folds, experiment.data.seed)[job.fold]
    model = build(architecture, job.seed)
    assert job.synthesise is not None
    with np.load(job.synthesise) as stored:
        assign(model, stored)
    final, _ = finalised(model, architecture, np.concatenate([splits[0].x, splits[1].x]))
    target, firmware = experiment.target, Path(job.directory) / "firmware"
    emit(AdderGraph.from_model(final), firmware, target.part, target.clock_period_ns)
    found = synthesise(firmware, target.part, timeout_s=60.0 * experiment.firmware.synth_timeout_minutes)
    costs = {name: quantity.model_dump(mode="json") for name, quantity in found.items()}
    return Result(job.number, job.fold, costs=costs, seconds=time.perf_counter() - start)


def some_rows(split: Split, share: float, has_classes: bool, seed: int) -> Split:
    """Return a share of the rows, in (0, 1], and of each class its part of them; the seed says which."""
    if share == 1.0:
        return split
    from weft.data.split import portion

    classes = split.y if has_classes else np.zeros(len(split), int)
    _, rows = portion(classes, max(share, 1 / len(split)), seed)
    return split.take(rows)


def design_costs(
    model: keras.Model, architecture: Architecture, x: np.ndarray, experiment: Experiment, wanted: tuple[str, ...]
) -> dict[str, Any]:
    """Return the wanted costs of a trained model by name, each a `Quantity`, as they are once it is `finalised`."""
    from weft.cost import costs_of

    final, note = finalised(model, architecture, x)
    costs = costs_of(final, wanted, experiment.target.part, experiment.target.clock_period_ns,
                     among=experiment.cost.models)  # fmt: skip
    if note is None:
        return costs
    return {name: quantity.model_copy(update={"reason": note}) for name, quantity in costs.items()}


def finalised(model: keras.Model, architecture: Architecture, x: np.ndarray) -> tuple[keras.Model, str | None]:
    """Return a trained model with its weights on the grid and its ranges found on `x`, and what was done to it.

    A float network is rounded for this to the experiment's `cost_bits`.
    """
    from weft.compression.finalize import finalize
    from weft.config.numbers import FixedNumbers, FloatNumbers
    from weft.space.model import build, export_weights, import_weights

    numbers, note = architecture.numbers, None
    if isinstance(numbers, FloatNumbers):
        weights, bits = export_weights(model), numbers.cost_bits
        model = build(architecture.with_numbers(FixedNumbers(total_bits=bits, io_bits=bits)))
        import_weights(model, weights)
        note = f"float network rounded to {bits} bits for this estimate"
    return finalize(model, x), note


@lru_cache(maxsize=1)
def _load(text: str) -> tuple[Experiment, Dataset]:
    from weft.config import loads
    from weft.data import load

    experiment = loads(text, "the run's resolved configuration")
    return experiment, load(experiment.data)

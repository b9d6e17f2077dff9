"""Evaluate one genotype on one fold: train it briefly, measure it on the validation part, and cost its actual weights.

This is what a worker runs. It is stateless: everything comes with the job, and the test split is never opened here.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from weft.atomic import write_arrays
from weft.errors import TrainingError, UnsupportedError
from weft.search import teams
from weft.search.job import Job, Result

if TYPE_CHECKING:
    import keras

    from weft.compression.training import Training
    from weft.config import Experiment, SearchConfig
    from weft.data import Dataset, Split
    from weft.space.architecture import Architecture
    from weft.train.engine import Engine, Programs, State
    from weft.train.fit import Plan
    from weft.train.track import KeepBest, Tracker

WEIGHTS_FILE = "weights.npz"


def payload(experiment: Experiment, costs: tuple[str, ...]) -> dict[str, Any]:
    """Return what every job of a search shares: the experiment (as YAML with resolved paths) and the costs wanted."""
    from weft.config import dump

    return {"experiment": dump(experiment), "costs": list(costs)}


def evaluate(job: Job) -> Result:
    """Train and cost the job's genotype, or synthesise it with the weights that the job names.

    A network that diverges or is not supported comes back as an error. A team comes back as one result of all.
    """
    if job.others:
        return _evaluate_team(job)
    return _guarded(job, _evaluate if job.synthesise is None else _synthesise)


def _guarded(job: Job, work: Callable[[Job, _Given, float], Result]) -> Result:
    start = time.perf_counter()
    given = _Given.of(job)
    try:
        return work(job, given, start)
    except (TrainingError, UnsupportedError) as error:
        kind = "diverged" if isinstance(error, TrainingError) else "unsupported"
        seconds = time.perf_counter() - start
        return Result(job.number, job.fold, seconds=seconds, error=str(error), error_kind=kind)


@dataclass(frozen=True)
class _Given:
    """What a job means: the experiment, its data, and the network."""

    experiment: Experiment
    dataset: Dataset
    architecture: Architecture

    @staticmethod
    def of(job: Job) -> _Given:
        from weft.space.architecture import parse

        return _Given(*_load(job.payload["experiment"]), parse(job.genotype))


@dataclass(frozen=True)
class _Prepared:
    """A network that is ready to train."""

    given: _Given
    config: SearchConfig
    model: keras.Model
    training: Training
    best: KeepBest | None
    plan: Plan
    rows: np.ndarray

    @staticmethod
    def of(job: Job, given: _Given) -> _Prepared:
        from weft.compression.training import Material, prepare, rate
        from weft.space.model import build, inherit_weights
        from weft.train.track import KeepBest

        experiment, dataset, architecture = given.experiment, given.dataset, given.architecture
        config = as_drawn(experiment.search, architecture)
        splits = dataset.fold(job.fold, job.n_folds, experiment.data.seed)
        splits = (some_rows(splits[0], job.rows, bool(dataset.class_names), experiment.data.seed), splits[1])
        material = Material.of(dataset, experiment.data).fold(splits)
        model = build(architecture, job.seed)
        if job.inherit is not None:
            with np.load(job.inherit) as stored:
                inherit_weights(model, stored)
        training = prepare(model, material, config, architecture.learning_rate, architecture.l1,
                           architecture.weight_decay)  # fmt: skip
        _share_programs(job, architecture, training.engine)
        controls = {"learning_rate": rate(config, architecture.learning_rate, job.epochs)}
        rows = np.concatenate([splits[0].x, splits[1].x])
        plan = training.plan(config, controls, job.seed, job.epochs)
        best = KeepBest(training.metric) if config.early_stopping is not None else None
        if best is None:  # the last epoch counts, and nobody reads what the others have learnt
            plan = replace(plan, metric=None)
        return _Prepared(given, config, model, training, best, plan, rows)

    @property
    def trackers(self) -> list[Tracker]:
        """What sees each epoch."""
        return [] if self.best is None else [self.best]

    def result(self, job: Job, state: State, seconds: float, compile_seconds: float) -> Result:
        """Measure and cost the trained network, and store its weights."""
        from weft.compression.finalize import variables_of
        from weft.space.model import export_weights
        from weft.train.metrics import evaluate as measure

        training, given, start = self.training, self.given, time.perf_counter()
        if self.best is not None:
            state = self.best.best.onto(state)
        outputs = training.engine.predict(state, training.validation.x)
        metrics = measure(outputs, training.validation.y, given.dataset.task)
        training.engine.write_back(state)
        weights = Path(job.directory) / WEIGHTS_FILE
        write_arrays(weights, {**variables_of(self.model), **export_weights(self.model)})
        wanted = tuple(job.payload["costs"])
        costs = design_costs(self.model, given.architecture, self.rows, given.experiment, wanted)
        return Result(
            number=job.number,
            fold=job.fold,
            metrics=metrics,
            costs={name: quantity.model_dump(mode="json") for name, quantity in costs.items()},
            seconds=seconds + time.perf_counter() - start,
            compile_seconds=compile_seconds,
            weights=str(weights),
        )


_last: tuple[tuple[str, str], Programs] | None = None
"""What this process compiled for its last training, and of which experiment and kin that was."""


def _share_programs(job: Job, architecture: Architecture, engine: Engine) -> None:
    """Let a training use what is compiled for the one before, where networks are kin, as those of folds are."""
    global _last
    if architecture.kin is None:
        return
    key = job.payload["experiment"], architecture.kin
    if _last is None or _last[0] != key:
        _last = key, engine.programs
    engine.programs = _last[1]


def _evaluate(job: Job, given: _Given, start: float) -> Result:
    from weft.compression.stages import EngineStages

    ready, pruning = _Prepared.of(job, given), given.architecture.pruning
    training, stages = ready.training, None
    if pruning is not None:
        stages = EngineStages(training.stages(pruning.stages(job.epochs)), training.engine)
    state, _ = training.fit(ready.plan, trackers=ready.trackers, phases=stages)
    return ready.result(job, state, time.perf_counter() - start, training.engine.compile_seconds)


def _evaluate_team(job: Job) -> Result:
    """Evaluate all members of a team: in one program, or where their batches differ one after the other."""
    from weft.train.together import Member, alike, fit_together, measure

    start = time.perf_counter()
    jobs = teams.members(job)
    ready = [_Prepared.of(one, _Given.of(one)) for one in jobs]
    group = [
        Member(one.training.engine, one.training.train, one.training.validation, one.plan, one.trackers)
        for one in ready
    ]
    if not alike(group):
        if job.measure:
            return Result(job.number, job.fold)
        return teams.joined([evaluate(one) for one in jobs])
    if job.measure:
        return Result(job.number, job.fold, metrics=measure(group), seconds=time.perf_counter() - start)
    trained = fit_together(group)
    share = (time.perf_counter() - start) / len(jobs)
    compiled = group[0].engine.compile_seconds / len(jobs)
    found: list[Result] = []
    for one, mine, outcome in zip(jobs, ready, trained, strict=True):
        if isinstance(outcome, TrainingError):
            found.append(Result(one.number, one.fold, seconds=share, error=str(outcome), error_kind="diverged"))
            continue
        state = outcome[0]
        found.append(_guarded(one, lambda job, _, __, mine=mine, state=state: mine.result(job, state, share, compiled)))
    return teams.joined(found)


def as_drawn(config: SearchConfig, architecture: Architecture) -> SearchConfig:
    """Return the section with what the search chose of the training itself."""
    chosen: dict[str, Any] = {}
    if architecture.batch_size is not None:
        chosen["batch_size"] = architecture.batch_size
    if architecture.schedule is not None:
        chosen["schedule"] = {"name": architecture.schedule}
    return type(config).model_validate({**config.model_dump(), **chosen}) if chosen else config


def _synthesise(job: Job, given: _Given, start: float) -> Result:
    """Return what synthesis finds for weights that `_evaluate` stored."""
    from weft.adder_graph import AdderGraph
    from weft.compression.finalize import assign
    from weft.cost.fractions import shares_of
    from weft.firmware import emit
    from weft.firmware.synth import synthesise_by
    from weft.space.model import build

    experiment, dataset, architecture = given.experiment, given.dataset, given.architecture
    splits = dataset.fold(job.fold, job.n_folds, experiment.data.seed)
    model = build(architecture, job.seed)
    assert job.synthesise is not None
    with np.load(job.synthesise) as stored:
        assign(model, stored)
    final, _ = finalised(model, architecture, np.concatenate([splits[0].x, splits[1].x]))
    target, firmware = experiment.target, Path(job.directory) / "firmware"
    graph = AdderGraph.from_model(final, experiment.firmware.rtl)
    emit(graph, firmware, target.part, target.clock_period_ns)
    found = synthesise_by(experiment.firmware, firmware, target.part)
    found |= shares_of(found, target.part)
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
                     among=experiment.cost.models, firmware=experiment.firmware)  # fmt: skip
    if note is None:
        return costs
    return {name: quantity.model_copy(update={"reason": note}) for name, quantity in costs.items()}


def finalised(model: keras.Model, architecture: Architecture, x: np.ndarray) -> tuple[keras.Model, str | None]:
    """Return a trained model with its weights on the grid and its ranges found on `x`, and what was done to it.

    A float network is rounded for this to the experiment's `cost_bits`, and its ranges are found on some of the rows:
    it will be trained anew in its numbers.
    """
    from weft.compression.finalize import finalize
    from weft.config.numbers import FixedNumbers, FloatNumbers
    from weft.search.rounded import rounded
    from weft.space.model import export_weights

    if not isinstance(architecture.numbers, FloatNumbers):
        return finalize(model, x), None
    bits = architecture.numbers.cost_bits
    whole = architecture.whole().with_numbers(FixedNumbers(total_bits=bits, io_bits=bits))
    final = rounded(whole.model_dump_json()).frozen(export_weights(model), x)
    return final, f"float network rounded to {bits} bits for this estimate"


@lru_cache(maxsize=1)
def _load(text: str) -> tuple[Experiment, Dataset]:
    from weft.config import loads
    from weft.data import load

    experiment = loads(text, "the run's resolved configuration")
    return experiment, load(experiment.data)

"""Recipe `fixed`: train on with fixed-point weights and activations, once for each precision asked for.

The binary point follows the data where `integer_bits` is `auto`, and the ranges of activations are traced anew over all
training and validation rows when a design is frozen.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from weft.compression.outcome import Candidate, Outcome
from weft.compression.stages import EngineStages, Stages
from weft.compression.training import Material, Training, prepare, staged_rate
from weft.config import FixedCompression, ImpCompression, Precision
from weft.config.numbers import FixedNumbers
from weft.quantize.calibrate import calibrate
from weft.train.metrics import evaluate
from weft.train.track import KeepBest
from weft.types import Progress, no_progress

if TYPE_CHECKING:
    from weft.compression.network import Network


IO_BITS = 16
"""Width of a network's input where nobody chose one."""


def numbers_of(precision: Precision, config: FixedCompression | ImpCompression, io_bits: int | None) -> FixedNumbers:
    """Return the number representation of one of a recipe's precisions, with a width of the input."""
    return FixedNumbers(
        total_bits=precision.total_bits,
        integer_bits=precision.integer_bits,
        granularity=config.granularity,
        io_bits=io_bits or IO_BITS,
    )


def label(precision: Precision) -> str:
    """Return a precision as a word, such as `8-auto` or `16-6`."""
    return f"{precision.total_bits}-{precision.integer_bits}"


def _without_training(training: Training, stages: Stages, rows: np.ndarray) -> dict[str, float]:
    """Quantise and prune a model as it is, by some rows; return its numbers."""
    calibrate(training.model, rows)
    stages.finish()
    calibrate(training.model, rows)  # what a layer reads depends on the masks before it
    state = training.engine.state()
    found = evaluate(training.engine.predict(state, training.validation.x), training.validation.y, training.task)
    return {"epoch": 0.0, **found, "ebops": training.engine.ebops(state)}


def parts(config: FixedCompression) -> int:
    """Return how many trainings there are: one for each precision, none without an epoch."""
    return len(config.precisions) if config.total_epochs else 1


def run(
    network: Network,
    material: Material,
    config: FixedCompression,
    seed: int,
    directory: Path,
    progress: Progress = no_progress,
    part: int | None = None,
) -> Outcome:
    """Go through the stages at every precision; checkpoints in `directory` make the call resumable.

    With `part` the precision of that number is trained, for its checkpoint alone.

    Without any epoch the network is quantised, and pruned, as it is. Otherwise the best epoch is kept: of all, if
    nothing is pruned; of fine-tuning, if something is. Without fine-tuning it is the last one, with its masks fixed:
    before that the metric would choose the network that is pruned least.
    """
    trail: list[dict[str, float | str]] = []
    candidates: list[Candidate] = []
    total = config.total_epochs * len(config.precisions)
    for i, precision in enumerate(config.precisions):
        if part not in (None, i):
            continue
        numbers = numbers_of(precision, config, network.input_bits(config.io_bits))
        model = network.build_for(config, numbers, seed)
        training = prepare(model, material, config, config.learning_rate, network.l1)
        stages = EngineStages(training.stages(config), training.engine)
        if config.total_epochs == 0:
            log = _without_training(training, stages.stages, np.concatenate([split.x for split in material.splits]))
            name = f"{label(precision)}-epoch-0"
            trail.append({"point": name, **log})
            candidates.append(Candidate(name, log, lambda made=model: made, network.in_numbers(numbers)))
            progress(i + 1, len(config.precisions), f"{network.label}, {label(precision)}")
            continue
        best = KeepBest(training.metric)
        state, history = training.fit(
            training.plan(
                config, {"learning_rate": staged_rate(config, config.learning_rate)}, seed, config.total_epochs
            ),
            trackers=[best],
            phases=stages,
            path=directory / f"checkpoint-{label(precision)}.npz",
            progress=lambda done, _, note, start=i * config.total_epochs: progress(start + done, total, note),
            note=f"{network.label}, {label(precision)}",
        )
        if part is not None:
            break
        trail += [{"point": f"{label(precision)}-epoch-{int(e['epoch'])}", **e} for e in history.epochs]
        kept = best.best if best.snapshots else training.snapshot(state, history.last)
        candidates.append(
            Candidate(
                name=f"{label(precision)}-epoch-{kept.epoch}",
                log=kept.log,
                model=lambda training=training, state=state, kept=kept: training.model_of(kept.onto(state)),
                architecture=network.in_numbers(numbers),
            )
        )
    return Outcome(trail, candidates)

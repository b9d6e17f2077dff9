"""Recipe `fixed`: train on with fixed-point weights and activations, once for each precision asked for.

The binary point follows the data where `integer_bits` is `auto`, and the ranges of activations are traced anew over all
training and validation rows when a design is frozen.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from weft.compress.outcome import Candidate, Outcome
from weft.compress.training import Material, prepare, rate
from weft.config import FixedCompression, ImpCompression, Precision
from weft.space.architecture import FixedNumbers
from weft.train.fit import fit
from weft.train.track import KeepBest
from weft.types import Progress, no_progress

if TYPE_CHECKING:
    from weft.space.architecture import Architecture
    from weft.space.model import Weights


def numbers_of(precision: Precision, config: FixedCompression | ImpCompression) -> FixedNumbers:
    """Return the number representation of one of a recipe's precisions."""
    return FixedNumbers(
        total_bits=precision.total_bits,
        integer_bits=precision.integer_bits,
        granularity=config.granularity,
        io_bits=config.io_bits,
    )


def label(precision: Precision) -> str:
    """Return a precision as a word, such as `8-auto` or `16-6`."""
    return f"{precision.total_bits}-{precision.integer_bits}"


def run(
    architecture: Architecture,
    material: Material,
    config: FixedCompression,
    seed: int,
    weights: Weights | None,
    directory: Path,
    progress: Progress = no_progress,
) -> Outcome:
    """Train at every precision; checkpoints in `directory` make the call resumable."""
    trail: list[dict[str, float | str]] = []
    candidates: list[Candidate] = []
    total = config.epochs * len(config.precisions)
    for i, precision in enumerate(config.precisions):
        mine = architecture.with_numbers(numbers_of(precision, config))
        mine = mine.model_copy(update={"learning_rate": config.learning_rate})
        training = prepare(mine, material, config, seed, weights)
        best = KeepBest(training.metric)
        state, history = fit(
            training.engine,
            training.engine.state(),
            training.train,
            training.validation,
            training.plan(config, {"learning_rate": rate(config, config.learning_rate)}, seed),
            trackers=[best],
            path=directory / f"checkpoint-{label(precision)}.npz",
            progress=lambda done, _, note, start=i * config.epochs: progress(start + done, total, note),
            note=mine.describe(),
        )
        trail += [{"point": f"{label(precision)}-epoch-{int(e['epoch'])}", **e} for e in history.epochs]
        candidates.append(
            Candidate(
                name=f"{label(precision)}-epoch-{best.best.epoch}",
                log=best.best.log,
                model=lambda training=training, state=state, best=best: training.model_of(best.best.onto(state)),
                architecture=mine,
            )
        )
    return Outcome(trail, candidates)

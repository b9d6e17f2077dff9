"""Recipe `hgq`: learn a width for every weight and activation while β, the price of a bit operation, rises.

Source: Sun et al., "Gradient-based Automatic Mixed Precision Quantization for Neural Networks On-Chip",
arXiv:2405.00645. Every epoch is a point (metric, EBOPs); those no other beats are kept as candidates. With a target, of
EBOPs or LUT, a controller moves β so that the network comes down to it and settles there, and the best point at the
target is always kept.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from weft.compression.lut import MARGIN, Measured, TargetLut, counted, measured_at
from weft.compression.outcome import Candidate, Outcome
from weft.compression.stages import EngineStages, Stages
from weft.compression.training import FINETUNE_RATE, Material, Training, prepare, staged_rate
from weft.config import BetaRamp, HgqCompression
from weft.config.numbers import HgqNumbers
from weft.errors import BudgetError, UnfinishedWarning
from weft.train.control import Constant, Control, Cosine, LogRamp, Sequence, TargetEbops
from weft.train.engine import State
from weft.train.fit import Phases
from weft.train.track import KeepBest, KeepFront
from weft.types import Progress, no_progress

if TYPE_CHECKING:
    import keras

    from weft.compression.network import Network

TARGET_TOLERANCE = 0.01
"""A point is at the target if its EBOPs are at most this share above it."""


def run(
    network: Network,
    material: Material,
    config: HgqCompression,
    seed: int,
    directory: Path,
    progress: Progress = no_progress,
) -> Outcome:
    """Train with learned bits; a checkpoint in `directory` makes the call resumable.

    With a pruning method every epoch of the train stage is a point, too: its masks are fixed before its weights are
    fine-tuned.

    Raises:
        BudgetError: A target was given, and no epoch came down to it.
    """
    numbers = numbers_of(config, network.input_bits(config.io_bits, learned=True))
    model = network.build_for(config, numbers, seed)
    training = prepare(model, material, config, config.learning_rate, network.l1)
    search = before_finetuning(config)
    stages = training.stages(search)
    beta = beta_control(search)
    controls = {"learning_rate": staged_rate(search, config.learning_rate), "beta": beta}
    front = KeepFront(training.metric, "ebops")
    state, history = training.fit(
        training.plan(config, controls, seed, search.total_epochs),
        trackers=[front],
        phases=phases(EngineStages(stages, training.engine, soft=True), training, search),
        path=directory / "checkpoint.npz",
        progress=progress,
        note=f"{network.label}, hgq",
    )
    fixed = training.with_bits_frozen()
    candidates = [
        Candidate(
            name=f"epoch-{snapshot.epoch}",
            log=snapshot.log,
            model=lambda snapshot=snapshot: finetuned(
                fixed, stages, snapshot.onto(state), config, seed, directory / f"finetune-{snapshot.epoch}.npz"
            ),
            architecture=network.in_numbers(numbers),
        )
        for snapshot in front.snapshots
    ]
    trail = [{"point": f"epoch-{int(e['epoch'])}", **e} for e in history.epochs]
    if (aimed := lut_target(beta)) is not None:
        rows = np.concatenate([split.x for split in material.splits])
        at_target = _within(candidates, aimed, rows, training.metric, 2 * config.keep + 2)
        known = {c.name: c for c in at_target}
        return Outcome(trail, [known.get(c.name, c) for c in candidates], at_target)
    if config.target is None or config.target.ebops is None:
        return Outcome(trail, candidates)
    return Outcome(trail, candidates, _at_target(candidates, config.target.ebops))


def numbers_of(config: HgqCompression, io_bits: int | None) -> HgqNumbers:
    """Return the numbers in which a network begins to learn its widths; its input may have one that is given."""
    return HgqNumbers(
        beta=config.beta_start,
        gamma=config.gamma,
        bits0=config.bits0,
        granularity=config.granularity,
        io_bits=io_bits,
    )


def phases(stages: EngineStages, training: Training, config: HgqCompression) -> Phases:
    """Return the phases of a training that learns bits: its stages, and LUT counted where they are the target."""
    if config.target is None or config.target.lut is None:
        return stages
    return Measured(stages, training, measured_at(config.total_epochs - config.float_epochs, config.float_epochs))


def before_finetuning(config: HgqCompression) -> HgqCompression:
    """Return the part of a configuration in which widths are learnt."""
    return config.model_copy(update={"finetune_epochs": 0})


def finetuned(
    training: Training, stages: Stages, state: State, config: HgqCompression, seed: int, path: Path | None
) -> keras.Model:
    """Fix the masks of one point and train its weights on, with its widths fixed and bits free of charge."""
    model = training.model_of(state)
    stages.harden()
    if config.finetune_epochs == 0:
        return model
    best = KeepBest(training.metric)
    peak = FINETUNE_RATE * config.learning_rate
    controls = {"learning_rate": Cosine(peak, config.finetune_epochs), "beta": Constant(0.0)}
    state, _ = training.fit(
        training.plan(config, controls, seed + 1, config.finetune_epochs),
        trackers=[best],
        path=path,
    )
    return training.model_of(best.best.onto(state))


def beta_control(config: HgqCompression) -> Control:
    """Return what moves β over all epochs of a configuration; bits are free of charge as long as there are none."""
    priced = config.total_epochs - config.float_epochs
    if config.target is not None and config.target.lut is not None:
        control: Control = TargetLut(config.target.lut, config.beta_start, priced)
    elif config.target is not None and config.target.ebops is not None:
        control = TargetEbops(config.target.ebops, config.beta_start, priced)
    elif isinstance(config.beta, BetaRamp):
        control = LogRamp(config.beta.from_, config.beta.to, priced)
    else:
        control = Constant(config.beta)
    return Sequence([(config.float_epochs, Constant(0.0)), (priced, control)]) if config.float_epochs else control


def lut_target(beta: Control | None) -> TargetLut | None:
    """Return the part of a control of β that aims at LUT, if it does."""
    last = beta.parts[-1][1] if isinstance(beta, Sequence) else beta
    return last if isinstance(last, TargetLut) else None


def _at_target(candidates: list[Candidate], target: int) -> list[Candidate]:
    reached = [c for c in candidates if c.log["ebops"] <= target * (1.0 + TARGET_TOLERANCE)]
    if not reached:
        least = min(c.log["ebops"] for c in candidates)
        raise BudgetError(
            f"no epoch came down to the target of {target:,} EBOPs; the least was {least:,.0f}: give the recipe more "
            "epochs, a larger start value of beta, or a higher target"
        )
    return reached


def warn_of_missed(config: HgqCompression, ebops: float) -> None:
    """Warn of a model that ends training with more EBOPs than its recipe aims at."""
    target = None if config.target is None else config.target.ebops
    if target is not None and ebops > target * (1.0 + TARGET_TOLERANCE):
        warnings.warn(
            f"training ended at {ebops:,.0f} EBOPs, and the target is {target:,}: give the recipe more epochs, a "
            "larger start value of beta, or a higher target",
            UnfinishedWarning,
            stacklevel=3,
        )


def _within(candidates: list[Candidate], beta: TargetLut, rows: np.ndarray, metric: str, most: int) -> list[Candidate]:
    """Return the best candidates within the target of LUT, counted."""
    near = [c for c in candidates if c.log["ebops"] <= beta.ebops * (1.0 + TARGET_TOLERANCE)]
    least = min(candidates, key=lambda c: c.log["ebops"])
    known = counted(near, rows, metric, most)
    if least.name not in {c.name for c in known}:
        known += counted([least], rows, metric, 1)
    fitting = [c for c in known if c.log["lut"] * MARGIN <= beta.lut]
    if not fitting:
        found = min(c.log["lut"] for c in known)
        raise BudgetError(
            f"no epoch came down to the target of {beta.lut:,} LUT; the least was {found:,.0f} by the solver, and "
            f"synthesis may need {MARGIN:g} times as many: give the recipe more epochs, a larger start value of beta, "
            "or a higher target"
        )
    return fitting

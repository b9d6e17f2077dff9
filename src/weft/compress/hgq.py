"""Recipe `hgq`: learn a width for every weight and activation while β, the price of a bit operation, rises.

Source: Sun et al., "Gradient-based Automatic Mixed Precision Quantization for Neural Networks On-Chip",
arXiv:2405.00645. Every epoch is a point (metric, EBOPs); those no other beats are kept as candidates. With a target, a
controller moves β so that EBOPs come down to it and settle there, and the best point at the target is always kept.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from weft.compress.outcome import Candidate, Outcome
from weft.compress.training import Material, Training, prepare, rate
from weft.config import BetaRamp, HgqCompression
from weft.errors import BudgetError
from weft.space.architecture import HgqNumbers
from weft.train.control import Constant, Control, Cosine, LogRamp, TargetEbops
from weft.train.engine import State
from weft.train.fit import fit
from weft.train.track import KeepBest, KeepFront
from weft.types import Progress, no_progress

if TYPE_CHECKING:
    import keras

    from weft.space.architecture import Architecture
    from weft.space.model import Weights

FINETUNE_RATE = 0.2
"""Peak learning rate of fine-tuning as a share of that of the training before."""

TARGET_TOLERANCE = 0.02
"""A point is at the target if its EBOPs are at most this share above it."""


def run(
    architecture: Architecture,
    material: Material,
    config: HgqCompression,
    seed: int,
    weights: Weights | None,
    directory: Path,
    progress: Progress = no_progress,
) -> Outcome:
    """Train with learned bits; a checkpoint in `directory` makes the call resumable.

    Raises:
        BudgetError: A target was given, and no epoch came down to it.
    """
    beta = config.beta.from_ if isinstance(config.beta, BetaRamp) else config.beta
    numbers = HgqNumbers(beta=beta, gamma=config.gamma, bits0=config.bits0)
    architecture = architecture.with_numbers(numbers).model_copy(update={"learning_rate": config.learning_rate})
    training = prepare(architecture, material, config, seed, weights)
    controls = {"learning_rate": rate(config, config.learning_rate), "beta": _beta(config)}
    front = KeepFront(training.metric, "ebops")
    state, history = fit(
        training.engine,
        training.engine.state(),
        training.train,
        training.validation,
        training.plan(config, controls, seed),
        trackers=[front],
        path=directory / "checkpoint.npz",
        progress=progress,
        note=architecture.describe(),
    )
    fixed = training.with_bits_frozen()
    candidates = [
        Candidate(
            name=f"epoch-{snapshot.epoch}",
            log=snapshot.log,
            model=lambda snapshot=snapshot: _finetuned(
                fixed, snapshot.onto(state), config, seed, directory, snapshot.epoch
            ),
            architecture=architecture,
        )
        for snapshot in front.snapshots
    ]
    at_target = () if config.target is None else _at_target(candidates, config.target.ebops)
    return Outcome([{"point": f"epoch-{int(e['epoch'])}", **e} for e in history.epochs], candidates, at_target)


def _finetuned(
    training: Training, state: State, config: HgqCompression, seed: int, directory: Path, epoch: int
) -> keras.Model:
    """Train the weights of one point on, with its widths fixed and bits free of charge."""
    if config.finetune_epochs == 0:
        return training.model_of(state)
    best = KeepBest(training.metric)
    peak = FINETUNE_RATE * config.learning_rate
    controls = {"learning_rate": Cosine(peak, config.finetune_epochs), "beta": Constant(0.0)}
    fresh = training.engine.state().optimizer
    state, _ = fit(
        training.engine,
        State(state.trainable, state.non_trainable, fresh),
        training.train,
        training.validation,
        training.plan(config, controls, seed + 1, config.finetune_epochs),
        trackers=[best],
        path=directory / f"finetune-{epoch}.npz",
    )
    return training.model_of(best.best.onto(state))


def _beta(config: HgqCompression) -> Control:
    if config.target is not None:
        return TargetEbops(config.target.ebops, config.beta_start, config.epochs)
    if isinstance(config.beta, BetaRamp):
        return LogRamp(config.beta.from_, config.beta.to, config.epochs)
    return Constant(config.beta)


def _at_target(candidates: list[Candidate], target: int) -> list[Candidate]:
    reached = [c for c in candidates if c.log["ebops"] <= target * (1.0 + TARGET_TOLERANCE)]
    if not reached:
        least = min(c.log["ebops"] for c in candidates)
        raise BudgetError(
            f"no epoch came down to the target of {target:,} EBOPs; the least was {least:,.0f}: give the recipe more "
            "epochs, a larger start value of beta, or a higher target"
        )
    return reached

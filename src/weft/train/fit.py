"""The training loop over compiled epochs: schedules, early stopping, trackers, NaN detection, checkpoints.

The order of the rows in epoch e is a function of (seed, e) alone, so that nothing random has to be remembered.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from weft.errors import TrainingError
from weft.objectives import OBJECTIVES
from weft.train import checkpoint
from weft.train.control import Control
from weft.train.engine import Engine, State
from weft.train.metrics import evaluate
from weft.train.track import Tracker
from weft.types import Progress, Task, no_progress

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rows:
    """Arrays of one training: x (n, ...) float32, y as the loss takes it, weight (n,) or None."""

    x: np.ndarray
    y: np.ndarray
    weight: np.ndarray | None = None


@dataclass(frozen=True)
class Plan:
    """How long and in what manner to train.

    Attributes:
        epochs: Number of passes over the training rows.
        batch_size: Rows of a step; no more than there are rows. Rows that do not fill a last batch wait for the next
            epoch's shuffle.
        controls: `learning_rate`, and `beta` for models that learn bits.
        task: Decides the metrics.
        metric: The validation metric that early stopping watches; None measures nothing on validation rows.
        patience: Epochs without improvement after which training stops; None trains all epochs.
        min_delta: The least change of the metric that counts as improvement.
        seed: Seeds the order of rows.
        checkpoint_seconds: At least so long between two checkpoints; the last epoch always writes one.
    """

    epochs: int
    batch_size: int
    controls: Mapping[str, Control]
    task: Task
    metric: str | None
    patience: int | None = None
    min_delta: float = 0.0
    seed: int = 0
    checkpoint_seconds: float = 10.0


class Phases(Protocol):
    """Changes the state between epochs, as a compression in stages does; part of the checkpoint."""

    def before(self, epoch: int, state: State) -> State:
        """Return the state with which an epoch begins."""
        ...

    def after(self, state: State) -> State:
        """Return the state with which training ends."""
        ...

    def settled(self, epoch: int) -> bool:
        """Say whether trackers and early stopping may look at this epoch."""
        ...

    def note(self, epoch: int) -> dict[str, float]:
        """Return numbers for this epoch's log."""
        ...

    def memory(self) -> dict[str, np.ndarray]:
        """Return what a checkpoint must hold."""
        ...

    def remember(self, memory: Mapping[str, np.ndarray]) -> None:
        """Take back what `memory` returned."""
        ...


@dataclass
class History:
    """One dictionary of numbers per finished epoch, and why training ended."""

    epochs: list[dict[str, float]] = field(default_factory=list)
    stopped: str = ""

    @property
    def last(self) -> dict[str, float]:
        """The newest epoch's numbers."""
        return self.epochs[-1]


def row_order(n_rows: int, batch_size: int, seed: int, epoch: int) -> np.ndarray:
    """Return the rows of each batch of an epoch, int32 (n_rows // n_batch, n_batch), a function of (seed, epoch)."""
    n_batch = min(batch_size, n_rows)
    n_steps = n_rows // n_batch
    order = np.random.default_rng([seed, epoch]).permutation(n_rows)[: n_steps * n_batch]
    return order.reshape(n_steps, n_batch).astype(np.int32)


def fit(
    engine: Engine,
    state: State,
    train: Rows,
    validation: Rows,
    plan: Plan,
    *,
    trackers: Sequence[Tracker] = (),
    phases: Phases | None = None,
    path: Path | None = None,
    progress: Progress = no_progress,
    note: str = "",
) -> tuple[State, History]:
    """Train from `state` and return the last state and the history.

    With `path`, a checkpoint is kept there: an interrupted call continues from it, and a finished one is read back at
    once, both with the result of an uninterrupted call, bit for bit.

    Args:
        engine: The compiled trainer; its model's own variables are not touched.
        state: Where to start; consumed.
        train: Training rows.
        validation: Rows whose metrics are logged after each epoch; `y` as in the data set.
        plan: Length, schedules and stopping.
        trackers: See every epoch's state, with `phases` that of every settled one.
        phases: Change the state between epochs.
        path: Checkpoint file.
        progress: Called after each epoch.
        note: Text for the progress line.

    Raises:
        TrainingError: The loss, a variable or the plan's metric is not finite; the message says when.
    """
    history = History()
    if path is not None and path.exists():
        state, history = _resume(path, state, plan, trackers, phases)
    stopper = Stopper(plan)
    for epoch, entry in enumerate(history.epochs):
        if phases is None or phases.settled(epoch):
            stopper.update(entry)
    data = engine.put(train.x, train.y, train.weight)
    n_rows, saved = len(train.x), time.monotonic()
    while not history.stopped and len(history.epochs) < plan.epochs:
        epoch = len(history.epochs)
        order = row_order(n_rows, plan.batch_size, plan.seed, epoch)
        controls = {name: control.values(epoch, len(order)) for name, control in plan.controls.items()}
        if phases is not None:
            state = phases.before(epoch, state)
        state, losses = engine.epoch(state, data, order, controls)
        entry = checked_log(engine, state, validation, plan, losses, controls, epoch)
        entry |= phases.note(epoch) if phases is not None else {}
        history.epochs.append(entry)
        for control in plan.controls.values():
            control.update(entry)
        if phases is None or phases.settled(epoch):
            for tracker in trackers:
                tracker.update(epoch, entry, state)
            stopper.update(entry)
        if stopper.stop:
            history.stopped = f"no better {plan.metric} in {plan.patience} epochs"
        done = bool(history.stopped) or len(history.epochs) == plan.epochs
        if path is not None and (done or time.monotonic() - saved > plan.checkpoint_seconds):
            _save(path, state, history, plan, trackers, phases)
            saved = time.monotonic()
        progress(len(history.epochs), plan.epochs, f"{note} {_describe(entry, plan.metric)}".strip())
    history.stopped = history.stopped or "all epochs done"
    return (state if phases is None else phases.after(state)), history


class Stopper:
    """Early stopping; derived from the history alone, so it needs no memory of its own."""

    def __init__(self, plan: Plan) -> None:
        self._plan, self._best, self._waited = plan, math.inf, 0

    def update(self, entry: Mapping[str, float]) -> None:
        if self._plan.patience is None:
            return
        assert self._plan.metric is not None, "early stopping watches a metric"
        loss = OBJECTIVES[self._plan.metric].loss(entry[self._plan.metric])
        if loss < self._best - self._plan.min_delta:
            self._best, self._waited = loss, 0
        else:
            self._waited += 1

    @property
    def stop(self) -> bool:
        return self._plan.patience is not None and self._waited >= self._plan.patience


def checked_log(
    engine: Engine,
    state: State,
    validation: Rows,
    plan: Plan,
    losses: np.ndarray,
    controls: Mapping[str, np.ndarray],
    epoch: int,
) -> dict[str, float]:
    """Return the numbers of a finished epoch, losses (steps,) and controls of each step.

    Raises:
        TrainingError: The loss, a variable or the plan's metric is not finite.
    """
    _require_finite(state, losses, epoch, controls)
    entry = {"epoch": float(epoch), "loss": float(np.mean(losses, dtype=np.float64))}
    if plan.metric is not None:
        entry |= evaluate(engine.predict(state, validation.x), validation.y, plan.task)
    entry |= {name: float(values[-1]) for name, values in controls.items()}
    if engine.learns_bits:
        entry["ebops"] = engine.ebops(state)
    if plan.metric is not None and not math.isfinite(entry[plan.metric]):
        raise TrainingError(
            f"the validation metric {plan.metric} is {entry[plan.metric]} after epoch {epoch}; look for a class "
            "that no validation row has, or for targets and outputs out of scale"
        )
    return entry


def _describe(entry: Mapping[str, float], metric: str | None) -> str:
    text = f"{metric or 'loss'} {entry[metric or 'loss']:.4f}"
    return f"{text}, EBOPs {entry['ebops']:,.0f}" if "ebops" in entry else text


def _require_finite(state: State, losses: np.ndarray, epoch: int, controls: Mapping[str, np.ndarray]) -> None:
    rate = float(controls["learning_rate"][0])
    bad = np.flatnonzero(~np.isfinite(losses))
    if len(bad):
        raise TrainingError(
            f"the loss became {losses[bad[0]]} in epoch {epoch}, step {bad[0]} of {len(losses)}, at learning rate "
            f"{rate:g}; lower the learning rate, or check the inputs' scale"
        )
    for i, value in enumerate(state.trainable):
        if not np.isfinite(np.asarray(value)).all():
            raise TrainingError(
                f"trainable variable {i} is no longer finite after epoch {epoch}, at learning rate {rate:g}; "
                "lower the learning rate, or check the inputs' scale"
            )


def _save(
    path: Path, state: State, history: History, plan: Plan, trackers: Sequence[Tracker], phases: Phases | None
) -> None:
    metas, arrays = [], {}
    for i, tracker in enumerate(trackers):
        meta, mine = tracker.state()
        metas.append(meta)
        arrays |= {f"{i}.{name}": array for name, array in mine.items()}
    if phases is not None:
        arrays |= {f"phases.{name}": array for name, array in phases.memory().items()}
    meta = {
        "history": history.epochs,
        "stopped": history.stopped,
        "controls": {name: control.state() for name, control in plan.controls.items()},
        "trackers": metas,
    }
    checkpoint.save(path, state, meta, arrays)


def _resume(
    path: Path, state: State, plan: Plan, trackers: Sequence[Tracker], phases: Phases | None
) -> tuple[State, History]:
    state, meta, arrays = checkpoint.load(path, state)
    for name, control in plan.controls.items():
        control.restore(meta["controls"][name])
    for i, (tracker, snapshots) in enumerate(zip(trackers, meta["trackers"], strict=True)):
        mine: dict[str, Any] = {k.removeprefix(f"{i}."): a for k, a in arrays.items() if k.startswith(f"{i}.")}
        tracker.restore(snapshots, mine)
    if phases is not None:
        phases.remember({k.removeprefix("phases."): a for k, a in arrays.items() if k.startswith("phases.")})
    log.info("continuing %s after epoch %d", path, len(meta["history"]))
    return state, History(meta["history"], meta["stopped"])

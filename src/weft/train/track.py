"""Trackers: what is kept of a training besides its last state (the best epoch, or the whole front of epochs)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from weft.objectives import OBJECTIVES
from weft.train.engine import State

Log = Mapping[str, float]


@dataclass(frozen=True)
class Snapshot:
    """The variables of one epoch: `arrays` holds `t0, t1, ...` (trainable) and `n0, n1, ...` (non-trainable)."""

    epoch: int
    log: dict[str, float]
    arrays: dict[str, np.ndarray] = field(repr=False)

    @staticmethod
    def take(epoch: int, log: Log, state: State) -> Snapshot:
        """Copy a state to the host."""
        arrays = {f"t{i}": np.array(value) for i, value in enumerate(state.trainable)}
        arrays |= {f"n{i}": np.array(value) for i, value in enumerate(state.non_trainable)}
        return Snapshot(epoch, dict(log), arrays)

    def onto(self, state: State) -> State:
        """Return `state` with this snapshot's variables; the optimizer's stay."""
        import jax.numpy as jnp

        trainable = [jnp.array(self.arrays[f"t{i}"]) for i in range(len(state.trainable))]
        non_trainable = [jnp.array(self.arrays[f"n{i}"]) for i in range(len(state.non_trainable))]
        return State(trainable, non_trainable, list(state.optimizer))


class Tracker(ABC):
    """Keeps snapshots; they are part of the checkpoint."""

    def __init__(self) -> None:
        self.snapshots: list[Snapshot] = []

    @abstractmethod
    def update(self, epoch: int, log: Log, state: State) -> None:
        """See the state at the end of an epoch."""

    def state(self) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
        """Return the snapshots as (JSON, arrays)."""
        meta = [{"epoch": snapshot.epoch, "log": snapshot.log} for snapshot in self.snapshots]
        arrays = {f"{i}.{k}": a for i, snapshot in enumerate(self.snapshots) for k, a in snapshot.arrays.items()}
        return meta, arrays

    def restore(self, meta: list[dict[str, Any]], arrays: Mapping[str, np.ndarray]) -> None:
        """Take back what `state` returned."""
        self.snapshots = []
        for i, entry in enumerate(meta):
            mine = {k.removeprefix(f"{i}."): a for k, a in arrays.items() if k.startswith(f"{i}.")}
            self.snapshots.append(Snapshot(entry["epoch"], entry["log"], mine))


class KeepBest(Tracker):
    """Keep the epoch with the best value of one metric; the earlier of two equal ones."""

    def __init__(self, metric: str) -> None:
        super().__init__()
        self._metric, self._spec = metric, OBJECTIVES[metric]

    def update(self, epoch: int, log: Log, state: State) -> None:
        if self.snapshots:
            best = self.snapshots[0].log[self._metric]
            if not self._spec.loss(log[self._metric]) < self._spec.loss(best):
                return
        self.snapshots = [Snapshot.take(epoch, log, state)]

    @property
    def best(self) -> Snapshot:
        """The best epoch so far."""
        return self.snapshots[0]


class KeepFront(Tracker):
    """Keep every epoch that no other beats in both a metric and a cost: the trail of a compression is a front."""

    def __init__(self, metric: str, cost: str) -> None:
        super().__init__()
        self._metric, self._cost, self._spec = metric, cost, OBJECTIVES[metric]

    def update(self, epoch: int, log: Log, state: State) -> None:
        mine = self._point(log)
        if any(_dominates_or_equals(self._point(kept.log), mine) for kept in self.snapshots):
            return
        self.snapshots = [kept for kept in self.snapshots if not _dominates_or_equals(mine, self._point(kept.log))]
        self.snapshots.append(Snapshot.take(epoch, log, state))

    def _point(self, log: Log) -> tuple[float, float]:
        return self._spec.loss(log[self._metric]), log[self._cost]


def _dominates_or_equals(a: tuple[float, float], b: tuple[float, float]) -> bool:
    return a[0] <= b[0] and a[1] <= b[1]

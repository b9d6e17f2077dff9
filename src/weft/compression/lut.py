"""LUT as a target: how many of them an EBOP costs in this network, measured by its adder graph while it trains.

A price can be put on bit operations, which have a gradient, but not on LUT. So a controller leads EBOPs to where LUT
are expected to be right, and what an EBOP costs is measured anew, from the finalised network, at a few epochs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from weft.compression.finalize import finalize
from weft.compression.outcome import Candidate
from weft.objectives import OBJECTIVES
from weft.train.control import Control, TargetEbops
from weft.train.fit import Phases

if TYPE_CHECKING:
    import keras

    from weft.compression.training import Training
    from weft.train.engine import State

LUT_OF_EBOP = 1.1
"""LUT that one EBOP costs, where nothing is known of the network yet: the ratio of jet taggers after synthesis."""

MARGIN = 1.08
"""How far synthesis may lie above the solver's count: its mean error on trained taggers."""

MEASURED_AT = (0.2, 0.4, 0.6, 0.7, 0.8, 0.9)
"""Shares of the training after which LUT are counted; from `TargetEbops.DESCENT` on EBOPs are near their target."""

RATIO = "lut_per_ebop"
"""What the log of an epoch calls the measured cost of an EBOP."""


def lut_of(model: keras.Model, rows: np.ndarray | None = None) -> float:
    """Return the LUT of a quantised model by the solver, as it would be if it were finalised now."""
    from weft.adder_graph import AdderGraph

    return float(AdderGraph.from_model(finalize(model, rows)).lut)


def aim(lut: int, ratio: float) -> int:
    """Return the EBOPs with which a network stays within so many LUT."""
    return max(int(lut / MARGIN / ratio), 1)


def measured_at(epochs: int, first: int = 0) -> set[int]:
    """Return the epochs before which LUT are counted; `first` epochs come before the `epochs` in which bits matter."""
    return {first + round(share * epochs) for share in MEASURED_AT} - {first}


class TargetLut(Control):
    """Leads EBOPs, as `TargetEbops` does, to where LUT are at their target by the latest measurement."""

    def __init__(self, lut: int, start: float, epochs: int) -> None:
        self.lut, self._ebops = lut, TargetEbops(aim(lut, LUT_OF_EBOP), start, epochs)

    @property
    def ebops(self) -> float:
        """The EBOPs that are aimed at now."""
        return self._ebops.target

    def values(self, epoch: int, n_steps: int) -> np.ndarray:
        return self._ebops.values(epoch, n_steps)

    def update(self, log: Mapping[str, float]) -> None:
        if RATIO in log:
            self._ebops.target = aim(self.lut, log[RATIO])
        self._ebops.update(log)

    def state(self) -> dict[str, Any]:
        return {"target": self._ebops.target, "ebops": self._ebops.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._ebops.target = state["target"]
        self._ebops.restore(state["ebops"])


class Measured:
    """The phases of a training, with LUT counted before some epochs; see `weft.train.fit.Phases`.

    Args:
        phases: What happens between epochs besides.
        training: What is trained; ranges of a counted design are found with its training rows.
        when: The epochs before which it is counted.
    """

    def __init__(self, phases: Phases, training: Training, when: set[int]) -> None:
        self.phases, self._training, self._when = phases, training, when
        self._found: dict[str, float] = {}

    def before(self, epoch: int, state: State) -> State:
        """Count the LUT of the state with which an epoch begins, if it is time."""
        self._found = {}
        if epoch in self._when:
            model = self._training.model_of(state)
            ebops = max(self._training.engine.ebops(state), 1.0)
            self._found = {RATIO: max(lut_of(model, self._training.train.x), 1.0) / ebops}
        return self.phases.before(epoch, state)

    def after(self, state: State) -> State:
        """Return the state with which training ends."""
        return self.phases.after(state)

    def settled(self, epoch: int) -> bool:
        """Say whether the weights of this epoch can be a design."""
        return self.phases.settled(epoch)

    def note(self, epoch: int) -> dict[str, float]:
        """Return what is added to an epoch's log."""
        return self.phases.note(epoch) | self._found

    def memory(self) -> dict[str, np.ndarray]:
        """Return what a checkpoint must hold."""
        return self.phases.memory()

    def remember(self, memory: Mapping[str, np.ndarray]) -> None:
        """Take back what `memory` returned."""
        self.phases.remember(memory)


def counted(candidates: Sequence[Candidate], rows: np.ndarray, metric: str, most: int) -> list[Candidate]:
    """Return the best few candidates as they are after fine-tuning, with the LUT of their adder graphs."""
    best = sorted(candidates, key=lambda c: OBJECTIVES[metric].loss(c.log[metric]))
    return [replace(c, log={**c.log, "lut": lut_of(c.model(), rows)}) for c in best[:most]]

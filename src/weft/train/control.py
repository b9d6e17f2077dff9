"""Controls: values that training reads at every step and that change between epochs (learning rate, β).

A control gives one value for each step of an epoch and hears how the epoch went. What it remembers is a small
dictionary, which is part of the checkpoint, so that a resumed run continues as if it had never stopped.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from weft.config import Schedule

BETA_RANGE = (1e-10, 1e-1)
"""Bounds of the β that a controller may choose."""


class Control(ABC):
    """One value per training step."""

    @abstractmethod
    def values(self, epoch: int, n_steps: int) -> np.ndarray:
        """Return the values of all steps of an epoch, float32 (n_steps,)."""

    def update(self, log: Mapping[str, float]) -> None:  # noqa: B027 - most controls do not listen
        """Hear the metrics of the epoch that just ended."""

    def state(self) -> dict[str, Any]:
        """Return what has to be remembered over a restart, as JSON."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:  # noqa: B027 - most controls remember nothing
        """Take back what `state` returned."""


class Constant(Control):
    """The same value at every step."""

    def __init__(self, value: float) -> None:
        self.value = value

    def values(self, epoch: int, n_steps: int) -> np.ndarray:
        return np.full(n_steps, self.value, np.float32)


class Cosine(Control):
    """Linear warm-up, then half a cosine from `peak` to `peak * final_fraction`; arXiv:1608.03983."""

    def __init__(self, peak: float, epochs: int, final_fraction: float = 0.0, warmup_epochs: int = 0) -> None:
        self.peak, self.epochs, self.final, self.warmup = peak, epochs, final_fraction, warmup_epochs

    def values(self, epoch: int, n_steps: int) -> np.ndarray:
        time = epoch + np.arange(n_steps) / n_steps
        phase = np.clip((time - self.warmup) / max(self.epochs - self.warmup, 1e-9), 0.0, 1.0)
        decayed = self.final + (1.0 - self.final) * 0.5 * (1.0 + np.cos(np.pi * phase))
        rising = (time + 1.0 / n_steps) / max(self.warmup, 1e-9)
        return (self.peak * np.where(time < self.warmup, rising, decayed)).astype(np.float32)


class Restarts(Control):
    """Cosine decay that starts anew after each period, periods growing by `factor` (SGDR, arXiv:1608.03983)."""

    def __init__(self, peak: float, period_epochs: int, factor: float = 1.0) -> None:
        self.peak, self.period, self.factor = peak, period_epochs, factor

    def values(self, epoch: int, n_steps: int) -> np.ndarray:
        start, length = 0.0, float(self.period)
        while epoch >= start + length:
            start, length = start + length, length * self.factor
        phase = np.minimum((epoch - start + np.arange(n_steps) / n_steps) / length, 1.0)
        return (self.peak * 0.5 * (1.0 + np.cos(np.pi * phase))).astype(np.float32)


class Plateau(Control):
    """Multiply by `factor` when the watched loss has not improved for `patience` epochs, down to `min_fraction`."""

    def __init__(self, peak: float, factor: float, patience: int, min_fraction: float, watch: str = "loss") -> None:
        self.peak, self.factor, self.patience, self.floor, self.watch = peak, factor, patience, min_fraction, watch
        self._fraction, self._best, self._waited = 1.0, math.inf, 0

    def values(self, epoch: int, n_steps: int) -> np.ndarray:
        return np.full(n_steps, self.peak * self._fraction, np.float32)

    def update(self, log: Mapping[str, float]) -> None:
        if log[self.watch] < self._best:
            self._best, self._waited = log[self.watch], 0
            return
        self._waited += 1
        if self._waited >= self.patience:
            self._fraction, self._waited = max(self._fraction * self.factor, self.floor), 0

    def state(self) -> dict[str, Any]:
        best = None if math.isinf(self._best) else self._best
        return {"fraction": self._fraction, "best": best, "waited": self._waited}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._fraction, self._waited = state["fraction"], state["waited"]
        self._best = math.inf if state["best"] is None else state["best"]


class Sequence(Control):
    """One control after the other, each for its number of epochs, which it counts from 0."""

    def __init__(self, parts: list[tuple[int, Control]]) -> None:
        self.parts, self._heard = parts, 0

    def values(self, epoch: int, n_steps: int) -> np.ndarray:
        part, start = self._part(epoch)
        return part.values(epoch - start, n_steps)

    def update(self, log: Mapping[str, float]) -> None:
        self._part(self._heard)[0].update(log)
        self._heard += 1

    def state(self) -> dict[str, Any]:
        return {"heard": self._heard, "parts": [control.state() for _, control in self.parts]}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._heard = state["heard"]
        for (_, control), mine in zip(self.parts, state["parts"], strict=True):
            control.restore(mine)

    def _part(self, epoch: int) -> tuple[Control, int]:
        start = 0
        for epochs, control in self.parts:
            if epoch < start + epochs:
                return control, start
            start += epochs
        epochs, control = self.parts[-1]
        return control, start - epochs


class LogRamp(Control):
    """A geometric ramp over the whole training, the usual schedule of β."""

    def __init__(self, start: float, end: float, epochs: int) -> None:
        self.start, self.end, self.epochs = start, end, epochs

    def values(self, epoch: int, n_steps: int) -> np.ndarray:
        phase = (epoch + np.arange(n_steps) / n_steps) / self.epochs
        return np.exp(np.log(self.start) + phase * (np.log(self.end) - np.log(self.start))).astype(np.float32)


class TargetEbops(Control):
    """A controller on log10 β that leads EBOPs down to a target and holds them there.

    The path goes down evenly in the logarithm, from the EBOPs of the first epoch to the target at `DESCENT` of the
    training: a network squeezed at once loses what it has learnt. With the error e = log10(EBOPs / path), each epoch
    moves log10 β by `proportional * (e - e_last) + integral * e` (the incremental form of a PI controller, which does
    not wind up while β is at a bound).
    """

    DESCENT = 0.7

    def __init__(
        self, target: float, start: float, epochs: int, proportional: float = 2.0, integral: float = 0.3
    ) -> None:
        self.target, self.epochs, self.proportional, self.integral = target, epochs, proportional, integral
        self._log_beta, self._last, self._first, self._heard = math.log10(start), None, None, 0

    def values(self, epoch: int, n_steps: int) -> np.ndarray:
        return np.full(n_steps, 10.0**self._log_beta, np.float32)

    def update(self, log: Mapping[str, float]) -> None:
        ebops = max(log["ebops"], 1.0)
        self._first = ebops if self._first is None else self._first
        self._heard += 1
        left = max(1.0 - self._heard / (self.DESCENT * self.epochs), 0.0)
        path = self.target * max(self._first / self.target, 1.0) ** left
        error = math.log10(ebops / path)
        change = 0.0 if self._last is None else self.proportional * (error - self._last)
        low, high = (math.log10(bound) for bound in BETA_RANGE)
        self._log_beta = min(max(self._log_beta + change + self.integral * error, low), high)
        self._last = error

    def state(self) -> dict[str, Any]:
        return {"log_beta": self._log_beta, "last": self._last, "first": self._first, "heard": self._heard}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._log_beta, self._last = state["log_beta"], state["last"]
        self._first, self._heard = state["first"], state["heard"]


def learning_rate(schedule: Schedule, peak: float, epochs: int) -> Control:
    """Return the control of a configured learning-rate schedule."""
    match schedule.name:
        case "constant":
            return Constant(peak)
        case "cosine":
            return Cosine(peak, epochs, schedule.final_fraction, schedule.warmup_epochs)
        case "restarts":
            return Restarts(peak, schedule.period_epochs, schedule.factor)
        case "plateau":
            return Plateau(peak, schedule.factor, schedule.patience, schedule.min_fraction)

"""Samplers without a memory of their own: every draw follows from the seed and the history."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, Literal

from optuna.samplers import BaseSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial


def seed_of(*parts: object) -> int:
    """Return a seed in [0, 2**32) that depends on all parts: the same in every process and on every machine."""
    return int.from_bytes(hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()[:4], "big")


class HistorySeeded(BaseSampler):
    """A sampler whose every draw depends on the seed, the trial's number, the parameter and the history alone.

    Optuna's samplers carry a random generator from trial to trial, so that a resumed study draws other numbers than one
    that was never stopped. Here each draw is made by a fresh sampler with a seed of its own.
    """

    def __init__(self, make: Callable[[int], BaseSampler], seed: int) -> None:
        self._make, self._seed = make, seed
        self._space = make(0)  # reads the history incrementally, and draws nothing

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, Any]:
        return self._space.infer_relative_search_space(study, trial)

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: dict[str, Any]) -> dict[str, Any]:
        return self._make(seed_of(self._seed, trial.number)).sample_relative(study, trial, search_space)

    def sample_independent(self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: Any) -> Any:
        sampler = self._make(seed_of(self._seed, trial.number, param_name))
        return sampler.sample_independent(study, trial, param_name, param_distribution)


def make_sampler(name: Literal["nsga2", "random", "tpe"], population: int, seed: int) -> BaseSampler:
    """Return the sampler of that name; `population` is the size of a generation, and of TPE's random start."""
    makers: dict[str, Callable[[int], BaseSampler]] = {
        "nsga2": lambda seed: NSGAIISampler(population_size=population, seed=seed),
        "random": lambda seed: RandomSampler(seed=seed),
        "tpe": lambda seed: TPESampler(n_startup_trials=population, seed=seed),
    }
    return HistorySeeded(makers[name], seed)

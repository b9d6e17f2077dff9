"""Samplers without a memory of their own: every draw follows from the seed and the history.

All of Optuna's samplers are here by name. They carry random generators and counters from trial to trial, or note them
in the study in a write of its own, so that a study that is killed and resumed would draw other numbers than one that
never stopped. Here it draws the same.
"""

from __future__ import annotations

import hashlib
import importlib.util
import itertools
import json
import math
import random
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import (
    BaseGASampler,
    BaseSampler,
    BruteForceSampler,
    CmaEsSampler,
    GPSampler,
    NSGAIIISampler,
    NSGAIISampler,
    QMCSampler,
    RandomSampler,
    TPESampler,
)
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from weft.errors import ConfigError, ToolNotFoundError

LARGEST_GRID = 1_000_000

KNOWING = ("grid", "qmc")
"""The samplers that know the whole space from the start."""

Space = Mapping[str, BaseDistribution]


def seed_of(*parts: object) -> int:
    """Return a seed in [0, 2**32) that depends on all parts: the same in every process and on every machine."""
    return int.from_bytes(hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()[:4], "big")


class HistorySeeded(BaseSampler):
    """A sampler whose every draw depends on the seed, the trial's number, the parameter and the history alone.

    Each draw is made by a fresh sampler with a seed of its own.
    """

    def __init__(self, make: Callable[[int], BaseSampler], seed: int) -> None:
        self._make, self._seed = make, seed
        self._space = make(0)  # reads the history incrementally, and draws nothing
        self._found: dict[str, Any] = {}  # what all draws between two tells have in common

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, Any]:
        if "space" not in self._found:
            self._found["space"] = self._space.infer_relative_search_space(study, trial)
        return self._found["space"]

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        self._found.clear()

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: dict[str, Any]) -> dict[str, Any]:
        noted = _noted(trial)
        if noted:
            return noted
        sampler = self._make(seed_of(self._seed, trial.number))
        if isinstance(sampler, BaseGASampler):
            self._share_parents(sampler, study, trial)
        return sampler.sample_relative(study, trial, search_space)

    def _share_parents(self, sampler: BaseGASampler, study: Study, trial: FrozenTrial) -> None:
        """Let `sampler` go by the generation and parents that the first trial of its generation found, and noted."""
        if "parents" not in self._found:
            generation = sampler.get_trial_generation(study, trial)
            chooser = cast(BaseGASampler, self._make(seed_of(self._seed, "parents", generation)))
            chooser.get_parent_population(study, generation)
            self._found |= {"generation": generation, "parents": chooser.get_parent_population(study, generation)}
        elif (key := sampler._get_generation_key()) not in trial.system_attrs:
            study._storage.set_trial_system_attr(trial._trial_id, key, self._found["generation"])
        generation, parents = self._found["generation"], self._found["parents"]
        sampler.get_trial_generation = lambda study, trial: generation  # type: ignore[method-assign]
        sampler.get_parent_population = lambda study, generation: parents  # type: ignore[method-assign]

    def sample_independent(self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: Any) -> Any:
        sampler = self._make(seed_of(self._seed, trial.number, param_name))
        return sampler.sample_independent(study, trial, param_name, param_distribution)


def _noted(trial: FrozenTrial) -> dict[str, Any]:
    """Return what the sampler `gp` drew for a trial before it was killed: it counts that as a rival from then on."""
    keys = itertools.takewhile(trial.system_attrs.__contains__, (f"gp:relative_params:{i}" for i in itertools.count()))
    return json.loads("".join(trial.system_attrs[key] for key in keys) or "{}")


class Grid(BaseSampler):
    """All combinations, in an order that the seed shuffles: a trial takes the one of its number, as in Optuna's grid.

    Args:
        space: Countable distributions.
        seed: Of the order.
        enqueued: How many trials come before the first of the grid, with parameters that were given.

    Raises:
        ConfigError: there are more than `LARGEST_GRID` combinations.
    """

    def __init__(self, space: Space, seed: int, enqueued: int = 0) -> None:
        self._enqueued = enqueued
        self._values = {name: values_of(distribution) for name, distribution in space.items()}
        size = size_of(space)
        if size > LARGEST_GRID:
            raise ConfigError(
                f"the grid has {size:,} combinations, more than {LARGEST_GRID:,}; take the sampler random or qmc"
            )
        self._order = random.Random(seed).sample(range(size), size)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, Any]:
        return {}

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: dict[str, Any]) -> dict[str, Any]:
        return {}

    def sample_independent(self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: Any) -> Any:
        index = self._order[(trial.number - self._enqueued) % len(self._order)]
        for name, values in self._values.items():
            index, position = divmod(index, len(values))
            if name == param_name:
                return values[position]
        raise AssertionError(f"{param_name} is no part of the grid")


class Qmc(QMCSampler):
    """Optuna's quasi-random sampler (a scrambled Sobol sequence), where a trial takes the point of its number."""

    def __init__(self, space: Space, seed: int, enqueued: int = 0) -> None:
        self._enqueued = enqueued
        super().__init__(scramble=True, seed=seed, warn_independent_sampling=False)
        self._whole = {name: distribution for name, distribution in space.items() if not distribution.single()}
        self._number = 0

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, Any]:
        return self._whole

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: dict[str, Any]) -> dict[str, Any]:
        self._number = max(trial.number - self._enqueued, 0)
        return super().sample_relative(study, trial, search_space)

    def _find_sample_id(self, study: Study, search_space: dict[str, Any]) -> int:
        return self._number


def values_of(distribution: BaseDistribution) -> list[Any]:
    """Return all values of a countable distribution, in order."""
    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    assert isinstance(distribution, IntDistribution | FloatDistribution) and distribution.step is not None
    count = math.floor((distribution.high - distribution.low) / distribution.step + 1e-9) + 1
    return [distribution.low + k * distribution.step for k in range(count)]


def size_of(space: Space) -> int:
    """Return how many combinations countable distributions have."""
    return math.prod(len(values_of(distribution)) for distribution in space.values())


def make_sampler(name: str, population: int, seed: int, space: Space | None = None, enqueued: int = 0) -> BaseSampler:
    """Return one of Optuna's samplers by name.

    Args:
        name: `grid`, `random`, `tpe`, `cmaes`, `gp`, `nsga2`, `nsga3`, `qmc` or `bruteforce`.
        population: Size of a generation, and of the random start of the samplers that build a model.
        seed: The same seed and history give the same draws.
        space: All parameters that will be asked for; those of `KNOWING` need to know them.
        enqueued: How many trials are given before the sampler draws the first.

    Raises:
        ToolNotFoundError: the sampler needs a package that is not installed.
        ConfigError: the grid is too large.
    """
    for sampler, package, install in (("gp", "torch", "weft[torch]"), ("cmaes", "cmaes", "cmaes")):
        if name == sampler and importlib.util.find_spec(package) is None:
            raise ToolNotFoundError(
                f"the sampler '{name}' needs the package '{package}', which is not installed: pip install '{install}'; "
                "or take the sampler tpe"
            )
    makers: dict[str, Callable[[int], BaseSampler]] = {
        "random": lambda seed: RandomSampler(seed=seed),
        "tpe": lambda seed: TPESampler(n_startup_trials=population, seed=seed),
        "nsga2": lambda seed: NSGAIISampler(population_size=population, seed=seed),
        "nsga3": lambda seed: NSGAIIISampler(population_size=population, seed=seed),
        "gp": lambda seed: GPSampler(n_startup_trials=population, seed=seed, warn_independent_sampling=False),
        "cmaes": lambda seed: CmaEsSampler(popsize=max(population, 4), seed=seed, warn_independent_sampling=False),
        "bruteforce": lambda seed: BruteForceSampler(seed=seed),
        "grid": lambda seed: Grid(space or {}, seed, enqueued),
        "qmc": lambda seed: Qmc(space or {}, seed, enqueued),
    }

    def make(seed: int) -> BaseSampler:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)  # what Optuna calls so is tested here
            return makers[name](seed)

    return make(seed) if name in KNOWING else HistorySeeded(make, seed)

"""The parameters of a tuning as a search space: a genotype is the value of each parameter, by name."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from weft.config import Experiment, TuneConfig
from weft.config.sampler import EXHAUSTIVE, count
from weft.config.tune import choices
from weft.space.sampling import distribution_of, suggest

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import BaseTrial


class TuneSpace:
    """The choices of section `tune`, as the search coordinator sees them."""

    def __init__(self, experiment: Experiment) -> None:
        assert experiment.tune is not None
        self._choices = choices(experiment, experiment.tune)

    @property
    def size(self) -> int | None:
        """How many combinations there are; None where they cannot be counted."""
        counts = [count(choice) for choice in self._choices.values()]
        return None if None in counts else math.prod(n for n in counts if n is not None)

    def trials(self, config: TuneConfig) -> int:
        """Return how many trials there are to be: a sampler that tries every combination ends when it has."""
        return min(config.trials, self.size or config.trials) if config.sampler in EXHAUSTIVE else config.trials

    def sample(self, trial: BaseTrial) -> dict[str, Any]:
        """Draw a value of each parameter."""
        return {name: suggest(trial, name, choice) for name, choice in self._choices.items()}

    def params_of(self, genotype: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the sampler has to draw: the values themselves."""
        return {name: value for name, value in genotype.items() if not self._choices[name].fixed}

    def key(self, genotype: Mapping[str, Any]) -> str:
        """Return a hash that equal combinations share."""
        return hashlib.sha256(json.dumps(genotype, sort_keys=True).encode()).hexdigest()[:12]

    def distributions(self) -> dict[str, BaseDistribution]:
        """Return Optuna's distributions of the parameters that have a choice."""
        return {name: distribution_of(choice) for name, choice in self._choices.items() if not choice.fixed}

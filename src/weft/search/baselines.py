"""Known networks that a search evaluates first: inside the space they become parents, outside they are compared."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import optuna

from weft.errors import ConfigError
from weft.search.job import SearchSpace

logger = logging.getLogger(__name__)


def sort_baselines(
    space: SearchSpace, baselines: Sequence[Mapping[str, Any]]
) -> tuple[list[dict[str, Any]], list[Mapping[str, Any]]]:
    """Return the parameters of the baselines that the space holds, and the genotypes of the others.

    Raises:
        ConfigError: the space gives parameters for a baseline, and draws another network from them.
    """
    inside, outside = [], []
    for genotype in baselines:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", UserWarning)  # Optuna only warns of a value outside its range
                params = space.params_of(genotype)
                drawn = None if params is None else space.sample(optuna.trial.FixedTrial(params))
        except (ValueError, UserWarning) as error:
            logger.info("baseline %s: %s", genotype, error)
            params = drawn = None
        if params is None or drawn is None:
            logger.info(
                "baseline %s lies outside the space: it is evaluated and compared, but has no children", genotype
            )
            outside.append(genotype)
        elif space.key(drawn) != space.key(genotype):
            raise ConfigError(
                f"search.baselines: the space turns the baseline {dict(genotype)} into another network, {drawn}; "
                "write it with values of the space, or report this as a defect of weft"
            )
        else:
            inside.append(params)
    return inside, outside

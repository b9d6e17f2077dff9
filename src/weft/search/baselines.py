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
            params, drawn = locate(space, genotype)
        except ConfigError as error:
            logger.info("baseline %s: %s", genotype, error)
            logger.info(
                "baseline %s lies outside the space: it is evaluated and compared, but has no children", genotype
            )
            outside.append(genotype)
            continue
        if space.key(drawn) != space.key(genotype):
            raise ConfigError(
                f"search.baselines: the space turns the baseline {dict(genotype)} into another network, {drawn}; "
                "write it with values of the space, or report this as a defect of weft"
            )
        inside.append(params)
    return inside, outside


def locate(space: SearchSpace, genotype: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the parameters of a genotype, and the genotype that the space draws from them.

    Raises:
        ConfigError: the genotype lies outside the space; says why.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # Optuna only warns of a value outside its range
            params = space.params_of(genotype)
            if params is None:
                raise ConfigError("it lies outside the space")
            return params, space.sample(optuna.trial.FixedTrial(params))
    except (ValueError, UserWarning) as error:
        raise ConfigError(" ".join(str(error).split())) from error

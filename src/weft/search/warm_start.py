"""Networks of earlier searches that a search begins with: those on their best fronts first, as far as it can draw them.

A network is ranked among those of its own search, by the objectives and constraints of that one. What was taken is
noted in the run directory: a resumed search begins with the same networks, whatever has become of the earlier runs.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from weft import atomic
from weft.config.search import WarmStartConfig
from weft.errors import ConfigError
from weft.search import front as fronts
from weft.search.baselines import locate
from weft.search.job import SearchSpace
from weft.search.results import TrialRecord, read

WARM_START = "warm_start.json"

logger = logging.getLogger(__name__)


def warm_start(
    directory: Path, config: WarmStartConfig | None, space: SearchSpace, known: Sequence[Mapping[str, Any]] = ()
) -> list[dict[str, Any]]:
    """Return the genotypes of earlier searches to evaluate first; those that the space does not hold are logged.

    Args:
        directory: The run directory, where `warm_start.json` notes what was taken and what was left out, and why.
        config: Which runs, and how many networks; None takes none.
        space: Of this search.
        known: Genotypes that are evaluated anyway.

    Raises:
        RunError: one of the runs holds no search.
    """
    if config is None:
        return []
    path = directory / WARM_START
    if not path.exists():
        atomic.write_json(path, _chosen(config, space, {space.key(genotype) for genotype in known}))
    return [one["genotype"] for one in atomic.read_json(path)["taken"]]


def _chosen(config: WarmStartConfig, space: SearchSpace, known: set[str]) -> dict[str, Any]:
    taken: list[dict[str, Any]] = []
    left_out: list[dict[str, Any]] = []
    for run, trial, rank in _ranked(config.runs):
        if len(taken) == config.trials:
            break
        one = {"run": str(run), "trial": trial.number, "front": rank}
        assert trial.genotype is not None
        reason = _objection(space, trial.genotype)
        if reason is not None:
            logger.info("warm start: trial %d of %s is left out: %s", trial.number, run, reason)
            left_out.append({**one, "reason": reason})
        elif (key := space.key(trial.genotype)) not in known:
            known.add(key)
            taken.append({**one, "key": key, "genotype": trial.genotype})
    logger.info("warm start: %d networks of earlier searches are evaluated first", len(taken))
    return {"taken": taken, "left_out": left_out}


def _ranked(runs: Sequence[Path]) -> Iterator[tuple[Path, TrialRecord, int]]:
    """Yield the trials of all runs: the first fronts of each run in turn, then the second ones, and on."""
    found = []
    for place, run in enumerate(runs):
        results = read(run)
        losses = [trial.losses(results.objectives) for trial in results.evaluated]
        ranks = fronts.ranks(losses, [trial.violation for trial in results.evaluated])
        found += [
            ((int(rank), place, loss, trial.number), run, trial)
            for rank, loss, trial in zip(ranks, losses, results.evaluated, strict=True)
        ]
    for (rank, *_), run, trial in sorted(found, key=lambda one: one[0]):
        yield run, trial, rank


def _objection(space: SearchSpace, genotype: Mapping[str, Any]) -> str | None:
    """Return why the space cannot draw a genotype, or None."""
    for name in ("input_shape", "n_outputs"):  # of data, where the space is one of networks for some
        mine, its = (json.loads(json.dumps(one)) for one in (getattr(space, name, None), genotype.get(name)))
        if mine is not None and its != mine:
            return f"it is for other data: its {name} is {its}, and here it is {mine}"
    try:
        _, drawn = locate(space, genotype)
    except ConfigError as error:
        return str(error)
    if space.key(drawn) == space.key(genotype):
        return None
    other = [name for name in {**genotype, **drawn} if genotype.get(name) != drawn.get(name)]
    return f"this search would make another network of it, with another {' and '.join(other)}"

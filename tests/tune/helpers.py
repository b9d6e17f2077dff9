"""What the tests of tuning share: small experiments, and a study with the toy evaluation."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from weft.config import Experiment, loads
from weft.search.coordinator import Searched, search
from weft.search.sampler import make_sampler
from weft.search.tables import write_tables
from weft.search.workers import InlineWorkers
from weft.tune.space import TuneSpace

from . import toy

HEAD = """version: 1
name: small
data: {name: jets-hlf}
compress: {recipe: hgq, epochs: 3}
tune:
"""
"""What the section `tune` comes under."""

EVALUATE = f"{toy.__name__}:evaluate"

NUMBERS = {"compress.learning_rate": "[1e-3, 1e-1, log]", "compress.bits0": "[2, 8, lin]"}
WORDS = {**NUMBERS, "compress.schedule.name": "[cosine, constant]"}
LISTS = {"compress.learning_rate": "[1e-3, 1e-2]", "compress.bits0": "[4, 5, 6]"}


def experiment(parameters: dict[str, str], **tune: str) -> Experiment:
    """Return an experiment with these parameters, and further keys of section `tune`, all as YAML."""
    keys = {"trials": "7", "population": "3", **tune}
    lines = [*(f"  {key}: {value}" for key, value in keys.items()), "  parameters:"]
    lines += [f"    {name}: {value}" for name, value in parameters.items()]
    return loads(HEAD + "\n".join(lines), "e.yaml")


def study(directory: Path, of: Experiment, payload: dict | None = None) -> Searched:
    """Run the study of an experiment in this process."""
    config, space = of.tune, TuneSpace(of)
    return search(
        config.model_copy(update={"trials": space.trials(config)}),
        space,
        EVALUATE,
        directory,
        payload=payload,
        workers=InlineWorkers(EVALUATE),
        name="tune",
        sampler=make_sampler(config.sampler, config.population, config.seed, space.distributions()),
        tables=partial(write_tables, units=True),
    )


def tables(directory: Path) -> tuple[str, str]:
    """Return both tables as text."""
    return (directory / "trials.csv").read_text(), (directory / "pareto.csv").read_text()

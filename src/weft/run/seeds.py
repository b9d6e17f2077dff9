"""The same search from several seeds, each a run of its own, and how far their results lie apart."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weft import atomic
from weft.errors import ConfigError
from weft.run.directory import Run
from weft.run.stages import Bars, execute

if TYPE_CHECKING:
    from weft.config import Experiment
    from weft.search.results import SearchResults
    from weft.search.seeds import Spread

PROGRESS, FRONTS, SPREAD, PAGE = "seeds.csv", "fronts.csv", "seeds.json", "seeds.html"
"""Hypervolume by evaluated designs, the front of each search, both in short, and all on one page."""


def search_seeds(experiment: Experiment, source: str, place: Path, seeds: Sequence[int], bars: Bars) -> dict[str, Any]:
    """Search with each seed in `place/seed-<seed>`, or go on with that, and return what `seeds.json` says.

    Args:
        experiment: What is searched; `search.seed` is replaced, so that the data keep their own.
        source: The text that the user wrote.
        place: A directory for all searches and the tables over them.
        seeds: Each once.
        bars: Opens a progress display.

    Raises:
        ConfigError: a seed is negative or listed twice, or there is none.
        RunError: a search cannot be run, or no search has a feasible design.
    """
    from weft.report import write_comparison
    from weft.search.results import read
    from weft.search.seeds import spread

    if not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0:
        listed = ", ".join(map(str, seeds)) or "none"
        raise ConfigError(f"seeds must be whole numbers >= 0, each once, such as 0,1,2; got {listed}")
    runs: list[Run] = []
    for seed in seeds:
        search = experiment.search.model_copy(update={"seed": seed})
        run = Run.create(place / f"seed-{seed}", experiment.model_copy(update={"search": search}), source)
        execute(run, ("data", "search"), bars)
        runs.append(run)
    searches = {seed: read(run.path) for seed, run in zip(seeds, runs, strict=True)}
    found = spread(searches)
    write_comparison(runs, place / PAGE, spread=found)
    return write_spread(place, searches, found)


def write_spread(place: Path, searches: Mapping[int, SearchResults], found: Spread) -> dict[str, Any]:
    """Write how far searches lie apart into tables of a directory, and return what `seeds.json` says."""
    rows = found.rows()
    fronts = [
        {
            "seed": seed,
            "trial": trial.number,
            **{name: trial.value(name) for name in results.objectives},
            **{f"{name}_std": std for name in results.objectives if (std := trial.std(name)) is not None},
            "feasible": trial.feasible,
        }
        for seed, results in searches.items()
        for trial in results.front()
    ]
    last = rows[-1]
    summary = {
        "seeds": list(found.seeds),
        "evaluated": {str(seed): len(results.evaluated) for seed, results in searches.items()},
        "front": {str(seed): len(results.front()) for seed, results in searches.items()},
        "hypervolume": {"mean": last["hypervolume_mean"], "std": last["hypervolume_std"]}
        | {f"seed_{seed}": last[f"seed_{seed}"] for seed in found.seeds},
        "hypervolume_reference": found.reference,
        "hypervolume_ideal": found.ideal,
        "progress": rows,
    }
    atomic.write_text(place / PROGRESS, _table(rows))
    atomic.write_text(place / FRONTS, _table(fronts))
    atomic.write_json(place / SPREAD, summary)
    return summary


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    table = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)), lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    return text.getvalue()

"""The tables of a search, `trials.csv` and `pareto.csv`: one trial a row, readable by anything."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from functools import partial
from operator import attrgetter, methodcaller
from pathlib import Path
from typing import Any

from weft import atomic
from weft.objectives import OBJECTIVES
from weft.search._disk import writing
from weft.search.calibrate import rows
from weft.search.results import SearchResults, TrialRecord

TRIALS_TABLE, FRONT_TABLE, FINAL_TABLE, CALIBRATION_TABLE = "trials.csv", "pareto.csv", "final.csv", "calibration.csv"


def write_tables(directory: Path, results: SearchResults, units: bool = False) -> None:
    """Replace `trials.csv` and `pareto.csv` of a run directory, and `calibration.csv` if candidates were synthesised.

    A metric or cost `x` has the columns `x` and, with folds, `x_std`, in the unit that `weft.objectives` states; the
    sampler's parameters have the columns `params_*`. With `units` the heads say the units, as in `lut [count]`. Designs
    that were re-evaluated after the search stand in `final.csv`, and those of them on the front in `pareto.csv`: with
    mean and deviation over `seeds`.
    """
    of_front = results.final or results.trials
    tables = {TRIALS_TABLE: (results.trials, results.trials), FRONT_TABLE: (of_front, results.front())}
    if results.final:
        tables[FINAL_TABLE] = (results.final, results.final)
    for name, (trials, shown) in tables.items():
        with writing(directory / name):
            atomic.write_text(directory / name, _table(trials, shown, units))
    if results.rounds:
        with writing(directory / CALIBRATION_TABLE):
            atomic.write_text(directory / CALIBRATION_TABLE, _calibration(results))


def sourced(results: SearchResults, front: bool) -> str:
    """Return `pareto.csv`, or `trials.csv`, with columns `x_stage` and `x_source` for each cost `x`, and its unit."""
    if front:
        return _table(results.final or results.trials, results.front(), units=True, sources=True)
    return _table(results.trials, results.trials, units=True, sources=True)


def _calibration(results: SearchResults) -> str:
    found = list(rows(results.rounds))
    text = io.StringIO()
    table = csv.DictWriter(text, list(dict.fromkeys(name for row in found for name in row)), lineterminator="\n")
    table.writeheader()
    table.writerows(found)
    return text.getvalue()


def _table(trials: Sequence[TrialRecord], rows: Sequence[TrialRecord], units: bool, sources: bool = False) -> str:
    present = {name for trial in trials for name in (*trial.metrics, *trial.costs)}
    names = [name for name in OBJECTIVES if name in present] + sorted(present - set(OBJECTIVES))
    spread = {name for name in names if any(trial.std(name) is not None for trial in trials)}
    noted = [name for name in ("rung", "seeds", "parent") if any(getattr(trial, name) is not None for trial in trials)]
    columns: dict[str, Callable[[TrialRecord], Any]] = {
        **{name: attrgetter(name) for name in ("number", "state", *noted, "key", "duplicate_of")},
        **{f"params_{name}": partial(_param, name) for name in sorted({name for t in trials for name in t.params})},
    }
    for name in names:
        columns[name] = methodcaller("value", name)
        if name in spread:
            columns[f"{name}_std"] = methodcaller("std", name)
        if sources:
            columns |= {f"{name}_{part}": partial(_origin, name, part) for part in ("stage", "source")}
    for name in ("violation", "feasible"):
        columns[name] = partial(_if_it_has_numbers, name)
    columns |= {name: attrgetter(name) for name in ("seconds", "compile_seconds", "error_kind", "reason")}
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow([_with_unit(head) for head in columns] if units else columns)
    table.writerows([read(trial) for read in columns.values()] for trial in rows)
    return text.getvalue()


def _with_unit(head: str) -> str:
    if head.endswith("seconds"):
        return f"{head} [s]"
    spec = OBJECTIVES.get(head.removesuffix("_std"))
    return f"{head} [{spec.unit}]" if spec else head


def _origin(name: str, part: str, trial: TrialRecord) -> Any:
    """Return stage or source of a number of the search; metrics are of validation rows."""
    if name in trial.costs:
        return trial.costs[name]["quantity"][part]
    return {"stage": "validation", "source": "network as trained"}[part] if name in trial.metrics else None


def _param(name: str, trial: TrialRecord) -> Any:
    return trial.params.get(name)


def _if_it_has_numbers(name: str, trial: TrialRecord) -> Any:
    return getattr(trial, name) if trial.state in ("complete", "stopped") else None

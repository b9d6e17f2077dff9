"""A tuning in its directory: the study, its tables, the best combination as an experiment that runs, and a summary.

The directory is a run directory with `study.journal`, `trials.csv`, `pareto.csv`, `best.yaml` and `summary.json`; the
same call goes on with it.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from weft import atomic
from weft.config import Experiment, SelectConfig, TuneConfig, dump
from weft.errors import BudgetError, ConfigError, RunError
from weft.lock import RunLock
from weft.objectives import OBJECTIVES
from weft.run.directory import SUMMARY, Run
from weft.run.stages import Bars, data_summary, read_data, seconds_before
from weft.run.tracking import Put, tracked, trial_entry
from weft.search.results import SearchResults, TrialRecord
from weft.tune.subject import Asked, prepare

STUDY, BEST = "tune", "best.yaml"
"""The name of the study in the journal, and the file with the best values filled in."""

SCHEMA = 1


def tune(run: Run, asked: Asked | None, bars: Bars) -> dict[str, Any]:
    """Tune, or go on with the tuning in a run directory, and return its summary.

    Args:
        run: The directory; its experiment has a section `tune`.
        asked: What is tuned; None goes on with what the tuning was begun with.
        bars: Opens a progress display.

    Raises:
        ConfigError: the experiment has no section `tune`, or there is nothing to tune.
        RunError: another process works here, the tuning was begun with something else, or no trial is complete.
        BudgetError: no trial meets the constraints; tables and summary are written.
        ToolNotFoundError: the sampler or the tracking needs a package that is not installed.
        KeyboardInterrupt: on Ctrl-C or SIGTERM; the same call resumes.
    """
    config = run.experiment.tune
    if config is None:
        raise ConfigError(
            "the experiment has no section 'tune'; say which fields are tuned, as in "
            "tune: {parameters: {compress.learning_rate: [1e-4, 1e-2, log]}}"
        )
    with RunLock(run.path), tracked(run) as put:
        start, before, status = time.monotonic(), seconds_before(run), "failed"
        try:
            run.log("stage", name="tune", state="begins")
            status, results = _study(run, config, asked, bars, put)
        except KeyboardInterrupt:
            status = "interrupted"
            raise
        finally:
            seconds = round(before + time.monotonic() - start, 3)
            run.log("stage", name="tune", state="ends", status=status, seconds=seconds)
            summary = _summarize(run, config, status, seconds)
        require_best(results, run.path)
        return summary


def _study(run: Run, config: TuneConfig, asked: Asked | None, bars: Bars, put: Put) -> tuple[str, SearchResults]:
    from weft.search.coordinator import search
    from weft.search.sampler import make_sampler
    from weft.tune.evaluate import payload
    from weft.tune.space import TuneSpace

    space = TuneSpace(run.experiment)
    sampler = make_sampler(config.sampler, config.population, config.seed, space.distributions())
    read_data(run, bars)
    data = data_summary(run)
    with bars("network"):
        subject = prepare(run, asked, data)
    section = run.experiment.compress.model_dump(mode="json", by_alias=True)
    parameters = config.model_dump(mode="json")["parameters"]
    with bars("tune") as progress:
        found = search(
            config.model_copy(update={"trials": space.trials(config)}),
            space,
            "weft.tune.evaluate:evaluate",
            run.path,
            payload=payload(run),
            identity={"data": data["sha256"], "network": subject.source, "compress": section, "parameters": parameters},
            progress=progress,
            name=STUDY,
            sampler=sampler,
            tables=partial(_write, run.experiment),
            told=lambda trial: put(_entry(run, trial)),
        )
    return found.status, found.results


def best_of(results: SearchResults, config: SelectConfig) -> tuple[TrialRecord, str] | None:
    """Return the best trial and why it is; None where none meets the constraints.

    Of one objective it is the best; of several, the one of the front that the rule of section `select` prefers, or the
    knee where that rule compares what is not among them.
    """
    from weft.search.select import select

    compares = {*config.compared, *config.tolerances} <= {*results.objectives}
    fits = len(results.objectives) > 1 and compares
    one = config.model_copy(update={"constraints": {}, "count": 1}) if fits else SelectConfig(rule="knee", count=1)
    try:
        (picked,) = select(results, one)
    except BudgetError:
        return None
    return results.trials[picked.number], picked.reason


def _write(experiment: Experiment, directory: Path, results: SearchResults) -> None:
    """Write the tables, and the experiment with the best values so far."""
    from weft.search.tables import write_tables

    write_tables(directory, results, units=True)
    best = best_of(results, experiment.select)
    if best is None:
        (directory / BEST).unlink(missing_ok=True)
        return
    trial, reason = best
    tuned = experiment.tuned(trial.genotype or {}).model_copy(update={"name": f"{experiment.name}-tuned"})
    told = [f"{name} = {trial.value(name):.6g}" for name in results.objectives]
    head = f"# Tuned: trial {trial.number}, {', '.join(told)} on validation; {reason}.\n"
    atomic.write_text(directory / BEST, head + dump(tuned))


def _summarize(run: Run, config: TuneConfig, status: str, seconds: float) -> dict[str, Any]:
    from weft.search.results import collect
    from weft.search.study import open_to_read
    from weft.tune.subject import PLACE

    studies = open_to_read(run.path, STUDY)
    results = SearchResults((), {}, ()) if studies is None else collect(*studies)
    best = best_of(results, run.experiment.select) if results.evaluated else None
    said = run.path / PLACE / "network.json"
    summary = {
        "schema": SCHEMA,
        "name": run.experiment.name,
        "status": status,
        "seconds": seconds,
        "data": data_summary(run) if (run.path / "data.json").exists() else None,
        "network": atomic.read_json(said) if said.exists() else None,
        "tune": config.model_dump(mode="json"),
        "search": results.summary() if results.evaluated else None,
        "best": None if best is None else {**_told(best[0]), "reason": best[1]},
        "pareto": [_told(trial) for trial in results.front()] if results.evaluated else [],
    }
    atomic.write_json(run.path / SUMMARY, summary)
    return summary


def _told(trial: TrialRecord) -> dict[str, Any]:
    """Return a trial as the summary shows it."""
    return {
        "trial": trial.number,
        "values": trial.genotype,
        "metrics": {
            name: {**spread, "unit": OBJECTIVES[name].unit, "split": "validation"}
            for name, spread in trial.metrics.items()
        },
        "cost": {name: cost["quantity"] for name, cost in trial.costs.items()},
        "feasible": trial.feasible,
        "model": trial.weights[0],
    }


def _entry(run: Run, trial: TrialRecord) -> Any:
    values: Mapping[str, Any] = trial.genotype or {}
    try:
        texts = {"config.yaml": dump(run.experiment.tuned(values))}
    except ConfigError:
        texts = {}
    return trial_entry(run, trial, values, texts)


def require_best(results: SearchResults, directory: Path) -> None:
    """Raise where a tuning has no best trial.

    Raises:
        RunError: no trial is complete.
        BudgetError: none that is meets the constraints.
    """
    if not results.evaluated:
        reasons = Counter(trial.reason for trial in results.trials if trial.reason)
        listed = "\n".join(f"  {count} x {reason}" for reason, count in reasons.most_common(5))
        raise RunError(f"none of {len(results.trials)} trials is complete; their reasons are in {directory}:\n{listed}")
    closest = results.front()[0]
    if not closest.feasible:
        missed = [
            f"{name} {results.constraints[name]} with {closest.value(name):.6g}"
            for name, share in closest.violations.items()
            if share > 0
        ]
        raise BudgetError(
            f"none of {len(results.evaluated)} trials meets the constraints; the closest, trial {closest.number}, "
            f"misses {' and '.join(missed)}; loosen tune.constraints, widen tune.parameters, or give it more trials"
        )

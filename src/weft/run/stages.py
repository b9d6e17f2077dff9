"""The stages of a run, in order. Each reads what is in the run directory, adds what is missing, and may be repeated."""

from __future__ import annotations

import json
import logging
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from weft import atomic
from weft.errors import BudgetError, NoEffectWarning, RunError, UnsupportedError, VerificationError
from weft.lock import RunLock
from weft.run.design import RESULTS
from weft.run.directory import DATA, SELECTION, SUMMARY, Run
from weft.run.parallel import run_jobs
from weft.run.summary import summarize
from weft.run.tracking import Put, entries, flat, tracked, trial_entry
from weft.types import Progress, part_of

if TYPE_CHECKING:
    from weft.search.results import SearchResults, TrialRecord

log = logging.getLogger(__name__)

STAGES = ("data", "search", "select", "compress", "firmware", "report")
"""All stages of `weft run`, in order; `firmware` takes each design through all steps of `weft.run.design.RESULTS`."""

Bars = Callable[[str], AbstractContextManager[Progress]]
"""Opens a progress display for a stage of the given title."""


def execute(run: Run, stages: Sequence[str], bars: Bars, join: str | None = None) -> dict[str, Any]:
    """Run some stages under the run's lock and return the summary.

    `join` is the URL of a database that several processes search with, see `weft.search.join`.

    The summary is written at the end of every stage, and with status `interrupted` or `failed` when one ends early.

    Raises:
        ToolNotFoundError: The experiment asks for tracking, and MLflow is not installed.
        RunError: Another process works on the run; or an earlier stage is missing.
        VerificationError: A design's levels disagree; the stages before and the report are complete.
        BudgetError: No design meets the budget; likewise.
    """
    with RunLock(run.path), tracked(run) as put:
        start, before = time.monotonic(), seconds_before(run)
        todo = {**_STAGES, "search": lambda run, bars: _search(run, bars, put, join)}
        late: Exception | None = None

        def spent() -> float:
            return before + time.monotonic() - start

        stage = "report"  # where no other is asked for, or before any begins
        try:
            for stage in (stage for stage in stages if stage != "report"):  # written last, when the status is known
                with _logged(run, stage):
                    try:
                        todo[stage](run, bars)
                    except VerificationError as error:
                        late = late or error
                summary = summarize(run, "running", spent())
                for entry in entries(run):
                    put(entry)
        except KeyboardInterrupt:
            run.log("interrupted", stage=stage)
            summarize(run, "interrupted", spent())
            raise
        except Exception as error:
            run.log("failed", stage=stage, error=f"{type(error).__name__}: {error}")
            summarize(run, "failed", spent())
            raise
        summary = summarize(run, "finished" if late is None else "failed", spent())
        if "report" in stages:
            with _logged(run, "report"):
                _report(run, bars)
        if late is not None:
            raise late
        _require_budget(run, summary)
        return summary


@contextmanager
def _logged(run: Run, stage: str) -> Iterator[None]:
    """Log when a stage begins, and when it ends, if it does, how long it took."""
    run.log("stage", name=stage, state="begins")
    began = time.monotonic()
    yield
    run.log("stage", name=stage, state="ends", seconds=round(time.monotonic() - began, 3))


def seconds_before(run: Run) -> float:
    """Return the wall time that earlier calls have spent on a run."""
    path = run.path / SUMMARY
    return float(atomic.read_json(path)["seconds"]) if path.exists() else 0.0


def read_data(run: Run, bars: Bars) -> None:
    """Read the data, and see that they are those that the run was begun with.

    Raises:
        RunError: They have changed.
    """
    from weft.data import load

    with bars("data"):
        summary = load(run.experiment.data).summary()
    path = run.path / DATA
    if path.exists():
        found = atomic.read_json(path)
        if found["sha256"] != summary["sha256"]:
            raise RunError(
                f"the data of {run.path} changed since it was begun (sha256 {found['sha256'][:12]} then, "
                f"{summary['sha256'][:12]} now); restore them, or begin a new run with --out"
            )
        return
    atomic.write_json(path, summary)


def _search(run: Run, bars: Bars, put: Put, url: str | None) -> None:
    from weft.search.coordinator import search
    from weft.search.evaluate import payload
    from weft.search.results import read
    from weft.search.warm_start import warm_start

    def told(trial: TrialRecord) -> None:
        architecture = json.dumps(trial.genotype, indent=2)
        put(trial_entry(run, trial, flat(trial.genotype, "architecture"), {"architecture.json": architecture}))

    experiment, data = run.experiment, data_summary(run)
    space = _space(run)
    config, chosen = experiment.search, experiment.select
    wanted = tuple(dict.fromkeys([*config.objectives, *config.constraints, *chosen.constraints, *chosen.compared]))
    shared: dict[str, Any] = {
        "folds": experiment.data.folds,
        "baselines": space.baselines(config.baselines),
        "payload": payload(experiment, wanted),
        "identity": {"data": data["sha256"], "space": experiment.space.model_dump(mode="json")},
        "keep": chosen.constraints,
        "compared": chosen.compared,
    }
    evaluate = "weft.search.evaluate:evaluate"
    with bars("search") as progress:
        if url is None:
            warm = warm_start(run.path, config.warm_start, space, shared["baselines"])
            further: dict[str, Any] = {"enqueue": warm, "told": told}
            search(config, space, evaluate, run.path, progress=progress, **further, **shared)
            return
        from weft.search.join import join

        join(url, experiment.name, config, space, evaluate, run.path, progress=progress, **shared)
    for trial in read(run.path).trials:
        told(trial)


def _select(run: Run, bars: Bars) -> None:
    from weft.search.results import read
    from weft.search.select import select

    picked = [asdict(selection) for selection in select(read(run.path), run.experiment.select)]
    config = run.experiment.select.model_dump(mode="json")
    atomic.write_json(run.path / SELECTION, [{**one, "rule": config} for one in picked])


def _compress(run: Run, bars: Bars) -> None:
    """Run each recipe on each picked design; trainings that do not depend on each other are jobs of their own."""
    from weft.compression.single import parts
    from weft.search.results import read

    results, config = read(run.path), run.experiment.compress
    recipes = config.recipes if config.recipe == "several" else {None: config}
    jobs: dict[str, dict[str, Any]] = {}
    split: dict[str, dict[str, Any]] = {}
    for number in (one["number"] for one in _selection(run)):
        for label, recipe in recipes.items():
            name = f"trial-{number}" if label is None else f"trial-{number}-{label}"
            if (run.path / "compress" / name / "designs.json").exists():
                continue
            jobs[name] = {**_compress_job(run, results, number), "label": label, "place": name}
            count = parts(recipe)
            if count > 1:
                split |= {f"{name}-part{part}": {**jobs[name], "part": part} for part in range(count)}
    logs = run.path / "logs" / "compress"
    with bars("compress") as progress:
        share = len(split) / max(len(split) + len(jobs), 1)
        run_jobs(_COMPRESS, split, n_workers(run), logs, part_of(progress, 0.0, share))
        made = run_jobs(_COMPRESS, jobs, n_workers(run), logs, part_of(progress, share, 1.0))
    for name, ids in made.items():
        atomic.write_json(run.path / "compress" / name / "designs.json", ids)


_COMPRESS = "weft.run.design:compress_job"


def _compress_job(run: Run, results: SearchResults, number: int) -> dict[str, Any]:
    trial = results.chosen(number)
    if not trial.weights or trial.weights[0] is None:
        raise RunError(
            f"trial {number} has no weights in {run.path / 'trials'}; search again in a new directory, "
            "or select another"
        )
    return {"run": str(run.path), "trial": number, "genotype": trial.genotype, "weights": trial.weights[0]}


def _hardware(run: Run, bars: Bars, title: str, steps: Sequence[str]) -> None:
    designs = run.designs()
    if not designs:
        raise RunError(f"{run.path} has no designs yet; run 'weft compress {run.path}' first")
    if "build" not in steps and any(design.read("cost.json") is None for design in designs):
        raise RunError(f"{run.path} has designs without firmware; run 'weft build {run.path}' first")
    config = run.experiment.firmware
    left_out = {step for step in ("hls", "synth", "route") if getattr(config, step) in (None, "none")}
    if steps[0] in left_out:
        warnings.warn(
            f"firmware.{steps[0]} of {run.path} leaves this out, so nothing was done; 'weft compare {run.path}' "
            "measures what a run leaves out",
            NoEffectWarning,
            stacklevel=2,
        )
        return
    steps = [step for step in steps if step not in left_out]
    section = config.model_dump(mode="json")
    jobs = {
        design.id: {"run": str(run.path), "design": design.id, "steps": steps, "firmware": section}
        for design in designs
        if any(design.read(RESULTS[step]) is None for step in steps)
    }
    with bars(title) as progress:
        run_jobs("weft.run.design:hardware_job", jobs, n_workers(run), run.path / "logs" / title, progress)
    if "verify" in steps:
        _require_exact(run)
    if "hls" in steps:
        _require_exact_hls(run)


def _require_exact(run: Run) -> None:
    wrong = {d.id: v for d in run.designs() if (v := d.read("verification.json"))["status"] != "exact"}
    if wrong:
        lines = [f"  {name}: {verdict['sentence']}" for name, verdict in wrong.items()]
        total = len(run.designs())
        raise VerificationError(
            "\n".join([f"{len(wrong)} of {total} designs do not compute what their model computes:", *lines])
        )


def _require_exact_hls(run: Run) -> None:
    said = {design.id: design.read("hls.json") for design in run.designs()}
    wrong = [f"  {name}: {one['sentence']}" for name, one in said.items() if one["status"] == "mismatch"]
    if wrong:
        raise VerificationError("\n".join(
            [f"{len(wrong)} of {len(said)} HLS projects do not compute what their adder graph computes:", *wrong]
        ))  # fmt: skip
    if said and all(one["status"] == "refused" for one in said.values()):
        lines = [f"  {name}: {one['sentence']}" for name, one in said.items()]
        raise UnsupportedError("\n".join(["no design can be written as the HLS project asked for:", *lines]))


def _report(run: Run, bars: Bars) -> None:
    from weft.report import write_report

    with bars("report"):
        write_report(run)


_STAGES: dict[str, Callable[[Run, Bars], None]] = {
    "data": read_data,
    "select": _select,
    "compress": _compress,
    "firmware": lambda run, bars: _hardware(run, bars, "firmware", tuple(RESULTS)),
    "build": lambda run, bars: _hardware(run, bars, "build", ("build",)),
    "verify": lambda run, bars: _hardware(run, bars, "verify", ("verify",)),
    "hls": lambda run, bars: _hardware(run, bars, "hls", ("hls", "verify")),
    "synth": lambda run, bars: _hardware(run, bars, "synth", ("synth",)),
    "route": lambda run, bars: _hardware(run, bars, "route", ("route",)),
}


def n_workers(run: Run) -> int:
    """Return the number of processes that the run may use on this machine."""
    from weft.search.workers import local_count

    return local_count(run.experiment.search.workers)


def data_summary(run: Run) -> dict[str, Any]:
    """Return what `data.json` says; its stage has run."""
    path = run.path / DATA
    if not path.exists():
        raise RunError(f"{run.path} has no {DATA}; run its 'data' stage first ('weft run' does)")
    return atomic.read_json(path)


def _selection(run: Run) -> list[dict[str, Any]]:
    path = run.path / SELECTION
    if not path.exists():
        raise RunError(f"{run.path} has no {SELECTION}; run 'weft select {run.path}' first")
    return atomic.read_json(path)


def _space(run: Run) -> Any:
    from weft.space.sampling import Space

    data = data_summary(run)
    return Space(run.experiment.space, tuple(data["input_shape"]), data["n_outputs"])


def _require_budget(run: Run, summary: dict[str, Any]) -> None:
    limits = run.experiment.target.budget.limits()
    designs = summary["designs"]
    if not limits or not designs or not any(design["verification"] for design in designs):
        return
    misses = {
        design["id"]: [
            f"{name} {design['cost'][name]['value']:g} > {limit:g}"
            for name, limit in limits.items()
            if name in design["cost"] and design["cost"][name]["value"] > limit
        ]
        for design in designs
    }
    if all(misses.values()):
        lines = [f"  {name}: {', '.join(over)}" for name, over in misses.items()]
        raise BudgetError("\n".join(["no design meets the budget of the target:", *lines,
                                     "compress further (compress.target.ebops), or raise target.budget"]))  # fmt: skip

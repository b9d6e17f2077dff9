"""Tools that read what runs have found: fronts, selections, comparisons, estimates, and why something failed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any, Literal

from pydantic import Field

from weft import atomic
from weft.config import SelectConfig
from weft.errors import AccessError, ConfigError, RunError
from weft.lock import RunLock
from weft.mcp.answers import (
    Comparison,
    DesignAnswer,
    EstimateAnswer,
    Failure,
    Front,
    Number,
    Picked,
    SelectionAnswer,
    Trial,
    meaning,
    metric,
    number,
    short,
)
from weft.mcp.contents import MODELS
from weft.mcp.desk import Desk
from weft.mcp.jobs import ENDED
from weft.mcp.sandbox import NAME
from weft.mcp.work import JobId, RunName
from weft.objectives import METRICS, OBJECTIVES
from weft.run import Run
from weft.run.directory import SELECTION

SHOWN_COSTS = ("lut", "ff", "dsp", "bram_18k", "latency_cycles", "latency_ns", "ii_cycles")

DesignId = Annotated[str, Field(description="The id of a design, as compare_designs shows it.")]


class Results:
    """The tools, on one desk."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def get_pareto(
        self,
        run: RunName,
        top: Annotated[int, Field(ge=1, le=50, description="Trials to show.")] = 5,
        sort_by: Annotated[
            str | None, Field(description="Objective or cost, best first; null: the first objective.")
        ] = None,
        max_lut: Annotated[
            float | None, Field(gt=0, description="Only trials of at most so many LUT (estimated).")
        ] = None,
        max_latency_ns: Annotated[float | None, Field(gt=0, description="Only trials this fast (estimated).")] = None,
        min_accuracy: Annotated[float | None, Field(gt=0, le=1, description="Only trials this accurate.")] = None,
    ) -> Front:
        """Return the front of a search: the trials that no other beats in all objectives, with every number's stage.

        Works while the search runs. Costs here are estimates and metrics are of validation rows."""
        from weft.report.read import describe

        opened = self._desk.run(run)
        results = _search_of(opened)
        bounds = {"lut": max_lut, "latency_ns": max_latency_ns}
        asked = {name: f"<= {value:g}" for name, value in bounds.items() if value is not None}
        asked |= {} if min_accuracy is None else {"accuracy": f">= {min_accuracy:g}"}
        known = {name for trial in results.evaluated for name in (*trial.metrics, *trial.costs)}
        unknown = [name for name in (*asked, *([sort_by] if sort_by else ())) if name not in known]
        if unknown and results.evaluated:
            raise ConfigError(f"the trials have no '{unknown[0]}'; they have {', '.join(sorted(known))}")
        front = results.front(asked) if results.evaluated else ()
        if sort_by is not None:
            front = tuple(sorted(front, key=lambda trial: trial.losses([sort_by])))
        names = list(dict.fromkeys([*results.objectives, *results.constraints]))
        trials = [
            Trial(
                trial=trial.number, network=describe(trial.genotype), feasible=trial.feasible, seeds=trial.seeds,
                numbers=[_of_trial(trial, name, opened) for name in names],
            )
            for trial in front[:top]
        ]  # fmt: skip
        states = Counter(trial.state for trial in results.trials)
        answer = Front(
            run=run, trials=len(results.trials), failed=states["failed"], evaluated=len(results.evaluated),
            front=len(front), shown=trials, objectives=list(results.objectives),
            constraints={**results.constraints, **asked},
            search_seed=opened.experiment.search.seed, test_rows_used=False,
            meaning=meaning(one for trial in trials for one in trial.numbers),
            next_step="select_design, by a rule or by numbers" if trials else "wait_for_job; or loosen the bounds",
        )  # fmt: skip
        return _as_front(short(answer, f"resource run://{run}/pareto.csv"))

    def select_design(
        self,
        run: RunName,
        trials: Annotated[
            list[int] | None, Field(description="Numbers of trials on the front; null: by the rule.")
        ] = None,
        rule: Annotated[
            Literal["best_metric", "cheapest", "knee", "lexicographic", "weighted", "hypervolume"] | None,
            Field(description="null: the rule of the experiment."),
        ] = None,
        count: Annotated[int | None, Field(ge=1, le=20, description="Designs that the rule picks.")] = None,
        reason: Annotated[str | None, Field(max_length=500, description="Why these trials; stored with them.")] = None,
    ) -> SelectionAnswer:
        """Pick the trials that are compressed next, by a rule or by number; the choice is stored in the run."""
        from weft.search.select import select

        opened = self._desk.run(run)
        results = _search_of(opened)
        config = opened.experiment.select
        if trials is not None and (rule is not None or count is not None):
            raise ConfigError("give either trials, or rule and count")
        if trials is not None:
            front = {trial.number for trial in results.front()} if results.evaluated else set[int]()
            wrong = [one for one in trials if one not in front]
            if wrong or not trials:
                raise ConfigError(
                    f"trial {wrong[0] if wrong else '(none)'} is not on the front of run '{run}', whose weights alone "
                    f"are kept; the front is {', '.join(map(str, sorted(front))) or 'empty yet'}"
                )
            said = reason or "no reason given"
            picked: list[dict[str, Any]] = [
                {"number": one, "reason": f"chosen by number: {said}", "inputs": {}, "rule": {"rule": "by number"}}
                for one in dict.fromkeys(trials)
            ]
        else:
            changed = {key: value for key, value in (("rule", rule), ("count", count)) if value is not None}
            if changed:
                owned = {"order", "tolerances", "weights"} if rule not in (None, config.rule) else set[str]()
                config = SelectConfig.model_validate({**config.model_dump(exclude=owned), **changed})
            named = config.model_dump(mode="json")
            picked = [{**asdict(one), "rule": named} for one in select(results, config)]
        with RunLock(opened.path):
            atomic.write_json(opened.path / SELECTION, picked)
            opened.log("selection", trials=[one["number"] for one in picked], by="mcp")
        names = list(dict.fromkeys([*results.objectives, *results.constraints]))
        answer = SelectionAnswer(
            run=run,
            picked=[
                Picked(trial=one["number"], reason=one["reason"],
                       numbers=[_of_trial(results.chosen(one["number"]), name, opened) for name in names])
                for one in picked
            ],
            meaning={},
            next_step=f"start_compression with run '{run}'",
        )  # fmt: skip
        answer.meaning = meaning(one for pick in answer.picked for one in pick.numbers)
        made = short(answer, "select fewer")
        assert isinstance(made, SelectionAnswer)
        return made

    def compare_designs(
        self,
        runs: Annotated[list[str], Field(min_length=1, max_length=6, description="Runs by name.")],
        every_stage: Annotated[
            bool, Field(description="Of each number all stages and sources, not the strongest alone.")
        ] = False,
    ) -> Comparison:
        """Show finished designs side by side: test metrics, verification, costs at the strongest stage there is.

        Of several runs also the settings that differ and the hypervolumes of their searches."""
        opened = [self._desk.run(name) for name in dict.fromkeys(runs)]
        designs = [found for run in opened for found in _designs(run, every_stage)]
        settings: dict[str, dict[str, str]] = {}
        volumes: dict[str, float | None] = {}
        notes: list[str] = []
        if len(opened) > 1:
            from weft.run.compare_runs import compare_runs

            compared = compare_runs(opened)
            settings = {
                key: {name: str(value)[:80] for name, value in values.items()}
                for key, values in compared.settings.items()
            }
            volumes = {one.run: one.hypervolume for one in compared.runs}
            notes = list(compared.notes)
        answer = Comparison(
            runs=[run.path.name for run in opened], designs=designs,
            settings_that_differ=dict(list(settings.items())[:15]),
            hypervolume=volumes, notes=notes, meaning=meaning(one for design in designs for one in design.numbers),
            next_step=_after_comparison(opened[0], designs),
        )  # fmt: skip
        made = short(answer, f"resource run://{opened[0].path.name}/report.md; report.html in the run")
        assert isinstance(made, Comparison)
        return made

    def estimate_hardware(
        self,
        run: Annotated[str | None, Field(description="A run with designs; or give model.")] = None,
        design: Annotated[str | None, Field(description="One design of the run; null: all.")] = None,
        model: Annotated[str | None, Field(description="A .keras file of quantised layers in the workspace.")] = None,
        part: Annotated[str | None, Field(description="FPGA part or board; null: the run's, or a VU13P.")] = None,
        clock_period_ns: Annotated[float | None, Field(gt=0)] = None,
    ) -> EstimateAnswer:
        """Estimate LUT, FF, latency and more of actual weights, without synthesis; every number is an ESTIMATE."""
        from weft.config.parts import part_name

        if (run is None) == (model is None):
            raise ConfigError("give either run, with or without design, or model")
        if run is not None:
            opened = self._desk.checked_run(run)
            target, clock = (
                part or opened.experiment.target.part,
                clock_period_ns or opened.experiment.target.clock_period_ns,
            )
            place = str(opened.path if design is None else _design_path(opened, design))
            about = ", ".join(f"{one.id} {one.model.stat().st_mtime_ns}" for one in opened.designs())
        else:
            assert model is not None
            target, clock = part or "xcvu13p-flga2577-2-e", clock_period_ns or 5.0
            place, about = str(self._desk.sandbox.stage(model, MODELS)), ""
        command = ["estimate", place, "--json", "--part", part_name(target), "--clock", f"{clock:g}"]
        job = self._desk.short("estimate", [command], about)
        if job.status not in ENDED:
            return EstimateAnswer(
                designs={},
                meaning={},
                job_id=job.id,
                next_step=f"wait_for_job with '{job.id}', then the same call again",
            )
        if job.status != "finished":
            raise self._desk.failure(job)
        found: Mapping[str, Mapping[str, Mapping[str, Any]]] = self._desk.jobs.output(job.id)
        designs = {
            _name_of(path, model): [number(name, quantity) for name, quantity in quantities.items()]
            for path, quantities in found.items()
        }
        answer = EstimateAnswer(
            part=part_name(target), clock_period_ns=clock, designs=designs,
            meaning=meaning(one for numbers in designs.values() for one in numbers),
            next_step="start_firmware synthesises; until then these are estimates",
        )  # fmt: skip
        made = short(answer, "ask for one design")
        assert isinstance(made, EstimateAnswer)
        return made

    def explain_failure(
        self,
        job_id: Annotated[str | None, Field(description="A job that failed; or give run.")] = None,
        run: Annotated[
            str | None, Field(description="A run with failed trials, a mismatch, or a missed budget.")
        ] = None,
    ) -> Failure:
        """Say why a job or a run failed: the error, the last lines of the log, failed trials by reason, what to do."""
        if (job_id is None) == (run is None):
            raise ConfigError("give either job_id or run")
        if job_id is not None:
            return self._failed_job(job_id)
        assert run is not None
        opened = self._desk.run(run)
        reasons = _failed_trials(opened)
        wrong = {
            design.id: found
            for design in opened.designs()
            if (found := design.read("verification.json")) is not None and found["status"] != "exact"
        }
        events = [event for event in opened.events() if event["event"] == "failed"]
        if wrong:
            what = "; ".join(f"{name}: {found['sentence']}" for name, found in wrong.items())
            step = "prompt diagnose_mismatch leads through it; never use this firmware"
        elif events:
            what, step = str(events[-1]["error"]), _step_for(str(events[-1]["error"]))
        elif reasons:
            what = f"{sum(reasons.values())} trials failed; the others are sound"
            step = "leave out of the space what fails, and search again"
        else:
            what, step = "nothing failed in this run", "get_pareto or compare_designs"
        answer = Failure(subject=f"run {run}", what=self._desk.sandbox.hide(what), reasons=reasons, next_step=step)
        made = short(answer, f"resource run://{run}/log")
        assert isinstance(made, Failure)
        return made

    def _failed_job(self, job_id: JobId) -> Failure:
        job, hide = self._desk.jobs.get(job_id), self._desk.sandbox.hide
        error = self._desk.jobs.error(job_id)
        log = [hide(line)[:300] for line in self._desk.jobs.log(job_id, 30)]
        what = hide(error or job.reason or f"the job is {job.status}")
        reasons = {}
        if job.run in self._desk.sandbox.runs():
            assert job.run is not None
            reasons = _failed_trials(self._desk.run(job.run))
        step = _step_for(what) if job.status == "failed" else f"get_job: it is {job.status}"
        answer = Failure(subject=f"job {job_id}", what=what, reasons=reasons, log=log, next_step=step)
        made = short(answer, f"resource job://{job_id}/log")
        assert isinstance(made, Failure)
        return made


_STEPS = (
    ("GiB, more than its cap", "start the same again with a larger max_memory_gib, or fewer search.workers"),
    ("minutes", "start the same again with a larger max_minutes: it goes on from there"),
    ("another configuration", "give another name as run, or the experiment that this run was begun with"),
    ("budget", "compress further, choose a smaller trial with select_design, or raise target.budget"),
    ("do not compute", "prompt diagnose_mismatch leads through it; never use this firmware"),
    ("none of", "loosen that bound, or search longer with it in search.constraints"),
    ("not installed", "get_capabilities shows what is missing and what works without it"),
    ("in use by process", "wait until that process is through"),
    ("cannot read", "inspect_dataset shows what the file holds"),
)
"""What a message holds, and what to do about it."""


def _step_for(what: str) -> str:
    return next((step for text, step in _STEPS if text in what), "put that right, and start the same again: it resumes")


def _search_of(run: Run) -> Any:
    from weft.search.results import read

    return read(run.path)


def _failed_trials(run: Run) -> dict[str, int]:
    from weft.search.study import open_to_read

    if open_to_read(run.path) is None:
        return {}
    found = Counter(
        f"{trial.error_kind}: {(trial.reason or 'no reason kept').strip().splitlines()[0][:160]}"
        for trial in _search_of(run).trials
        if trial.state == "failed"
    )
    return dict(found.most_common(10))


def _of_trial(trial: Any, name: str, run: Run) -> Number:
    if name in METRICS:
        n = run.experiment.data.folds
        note = None if trial.std(name) is None else "interval: one standard deviation over folds or seeds"
        source = f"candidate trained {run.experiment.search.epochs} epochs" + (f", mean of {n} folds" if n > 1 else "")
        return metric(name, trial.value(name), "validation", source, trial.std(name), note)
    found = trial.costs.get(name)
    if found is None:
        return Number(name=name, value=None, unit=OBJECTIVES[name].unit, stage="predicted", source="none",
                      note="no cost model of this run gives it")  # fmt: skip
    return number(name, found["quantity"])


def _designs(run: Run, every_stage: bool) -> list[DesignAnswer]:
    from weft.report.read import describe
    from weft.run.compare import compare
    from weft.run.summary import describe as described

    made, rows = list[DesignAnswer](), compare(run).rows if every_stage else ()
    limits = run.experiment.target.budget.limits()
    for design in run.designs():
        found, verdict = described(design), design.read("verification.json")
        numbers = [
            metric(name, one["value"], "test", f"finalised model, {one['n']} rows", one.get("error"),
                   "interval: one standard error" if one.get("error") is not None else None)
            for name, one in found["metrics"].items()
        ]  # fmt: skip
        if every_stage:
            shown = [row for row in rows if design.id in row.values and row.quantity in SHOWN_COSTS]
            numbers += [number(row.quantity, row.values[design.id].model_dump(mode="json")) for row in shown]
        else:
            numbers += [number(name, found["cost"][name]) for name in SHOWN_COSTS if name in found["cost"]]
            routed: dict[str, Any] = found["routing"] or {}
            numbers += [number(name, routed[name]) for name in ("fmax_mhz",) if name in routed]
        made.append(
            DesignAnswer(
                design=f"{run.path.name}/{design.id}",
                network=describe(found["architecture"]),
                verification="NOT VERIFIED yet" if verdict is None else f"{verdict['status']}: {verdict['sentence']}",
                meets_budget=_meets(limits, found["cost"]),
                budget_stages=sorted({found["cost"][name]["stage"] for name in limits if name in found["cost"]}),
                numbers=numbers,
            )
        )
    return made


def _meets(limits: Mapping[str, float], cost: Mapping[str, Mapping[str, Any]]) -> bool | None:
    """Return whether the strongest numbers are within the budget; None where there is none, or a number is missing."""
    values: list[tuple[float | None, float]] = [
        (cost.get(name, {}).get("value"), limit) for name, limit in limits.items()
    ]
    within = [value <= limit for value, limit in values if value is not None]
    return all(within) if limits and len(within) == len(values) else None


def _after_comparison(run: Run, designs: list[DesignAnswer]) -> str:
    if not designs:
        return f"run '{run.path.name}' has no designs yet: select_design, then start_compression"
    if any(design.verification.startswith("NOT") for design in designs):
        return f"start_firmware with run '{run.path.name}': without it nothing here is verified or synthesised"
    if any("exact" not in design.verification for design in designs):
        return f"explain_failure with run '{run.path.name}'; never use firmware with a mismatch"
    return "the firmware lies in the run, under designs/<id>/firmware; report.html shows everything"


def _design_path(run: Run, name: str) -> Any:
    short_name = name.removeprefix(f"{run.path.name}/")
    if not NAME.fullmatch(short_name):
        raise AccessError(f"'{name[:80]}' is no name of a design; compare_designs lists them")
    if short_name not in {design.id for design in run.designs()}:
        raise RunError(f"run '{run.path.name}' has no design '{short_name}'; compare_designs lists them")
    return run.design(short_name).path


def _name_of(path: str, model: str | None) -> str:
    return model if model is not None else path.removesuffix("/model.keras").rpartition("/")[2]


def _as_front(answer: Any) -> Front:
    assert isinstance(answer, Front)
    return answer

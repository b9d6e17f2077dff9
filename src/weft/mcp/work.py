"""Tools that start long work and look after it: each start answers at once with a job that outlives the server."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Annotated

import anyio
from mcp.server.mcpserver import Context
from pydantic import Field

from weft.config import Experiment
from weft.config.compress import recipes_of
from weft.errors import RunError
from weft.mcp.answers import JobAnswer, JobList, short
from weft.mcp.desk import Desk
from weft.mcp.experiments import Config
from weft.mcp.jobs import ENDED, Job

RunName = Annotated[str, Field(description="The name of a run, as list_jobs shows it.")]
JobId = Annotated[str, Field(description="The id of a job, as the start_* tools and list_jobs give it.")]
Key = Annotated[
    str | None,
    Field(max_length=200, description="The same key with the same call gives the same job again: safe to repeat."),
]
Minutes = Annotated[float | None, Field(gt=0, description="Longest run; then it is stopped, resumable.")]
Memory = Annotated[float | None, Field(gt=0, description="Most memory of all processes together, GiB.")]
DryRun = Annotated[bool, Field(description="Only say what it would do; nothing is started.")]

LONGEST_WAIT_S = 50.0
"""Many clients end a call after 60 s."""

_AFTER = {
    "search": "get_pareto, then select_design",
    "compression": "start_firmware",
    "firmware": "compare_designs",
    "estimate": "estimate_hardware again with the same arguments",
    "dataset": "inspect_dataset again with the same arguments",
}


class Work:
    """The tools, on one desk."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def start_search(
        self,
        config: Config,
        run: Annotated[
            str | None, Field(description="Name of the run; null: the experiment's. The same run is gone on with.")
        ] = None,
        trials: Annotated[int | None, Field(ge=1, description="Instead of search.trials.")] = None,
        max_minutes: Minutes = None,
        max_memory_gib: Memory = None,
        idempotency_key: Key = None,
        dry_run: DryRun = False,
    ) -> JobAnswer:
        """Start the search of an experiment as a job; answers at once. Then wait_for_job, then get_pareto."""
        experiment = self._desk.experiment(config, [] if trials is None else [f"search.trials={trials}"])
        name = run or experiment.name
        place = self._desk.sandbox.run(name)
        commands = [["search", str(self._desk.resolved(experiment)), "--out", str(place), "--json"]]
        return self._start(
            "search", commands, name, _search_cost(experiment), max_minutes, max_memory_gib, idempotency_key, dry_run
        )

    def start_compression(
        self,
        run: RunName,
        max_minutes: Minutes = None,
        max_memory_gib: Memory = None,
        idempotency_key: Key = None,
        dry_run: DryRun = False,
    ) -> JobAnswer:
        """Compress the trials that select_design picked, by the recipe of the experiment; a job, answers at once."""
        opened = self._desk.checked_run(run)
        if not (opened.path / "selection.json").exists():
            raise RunError(f"run '{run}' has no selection yet; call select_design first")
        recipes = [one for _, one in recipes_of(opened.experiment.compress)]
        work = " and ".join(f"recipe {one.recipe}, {getattr(one, 'epochs', 0)} epochs" for one in recipes)
        cost = f"{work} for each picked trial"
        commands = [["compress", str(opened.path), "--json"]]
        return self._start("compression", commands, run, cost, max_minutes, max_memory_gib, idempotency_key, dry_run)

    def start_firmware(
        self,
        run: RunName,
        synth: Annotated[bool, Field(description="Whether the designs are synthesised, too.")] = True,
        max_minutes: Minutes = None,
        max_memory_gib: Memory = None,
        idempotency_key: Key = None,
        dry_run: DryRun = False,
    ) -> JobAnswer:
        """Write the firmware of every design, prove it equal to its model bit for bit, synthesise, report; a job."""
        opened = self._desk.checked_run(run)
        designs, firmware = opened.designs(), opened.experiment.firmware
        if not designs:
            raise RunError(f"run '{run}' has no designs yet; call start_compression first")
        steps = ["build", "verify" if firmware.hls is None else "hls"]
        steps += ["synth"] if synth and firmware.synth != "none" else []
        steps += ["route"] if synth and firmware.route != "none" else []
        commands = [[step, str(opened.path), "--json"] for step in steps] + [["report", str(opened.path)]]
        cost = f"{', '.join(steps)} and a report for {len(designs)} designs"
        return self._start("firmware", commands, run, cost, max_minutes, max_memory_gib, idempotency_key, dry_run)

    def get_job(
        self,
        job_id: JobId,
        log_lines: Annotated[int, Field(ge=0, le=100, description="Last lines of its log.")] = 10,
    ) -> JobAnswer:
        """Say how far a job is; wait_for_job is cheaper than asking again and again."""
        return self._answer(self._desk.jobs.get(job_id), log_lines)

    async def wait_for_job(
        self,
        job_id: JobId,
        ctx: Context,
        timeout_s: Annotated[float, Field(gt=0, le=LONGEST_WAIT_S, description="Longest wait.")] = LONGEST_WAIT_S,
    ) -> JobAnswer:
        """Wait until a job ends, or goes into another stage, or timeout_s is over."""
        until = time.monotonic() + timeout_s
        first = job = await anyio.to_thread.run_sync(self._desk.jobs.get, job_id)
        while job.status not in ENDED and time.monotonic() < until:
            await anyio.sleep(min(0.5, max(until - time.monotonic(), 0.01)))
            job = await anyio.to_thread.run_sync(self._desk.jobs.get, job_id)
            await ctx.report_progress(job.done or 0, job.total, f"{job.stage or job.status} {job.note}")
            if (job.status, job.stage) != (first.status, first.stage) and first.stage is not None:
                break
        return await anyio.to_thread.run_sync(self._answer, job, 5)

    def cancel_job(self, job_id: JobId) -> JobAnswer:
        """Stop a job: it is asked to finish what it writes, and killed if it does not. What is finished stays."""
        return self._answer(self._desk.jobs.cancel(job_id), 5)

    def list_jobs(
        self,
        run: Annotated[str | None, Field(description="Only jobs of this run.")] = None,
        limit: Annotated[int, Field(ge=1, le=100)] = 10,
    ) -> JobList:
        """List jobs, newest first, also those that another server started, and all runs."""
        found = self._desk.jobs.all(run, limit)
        answer = JobList(jobs=[self._answer(job, 0) for job in found], runs=self._desk.sandbox.runs()[:50])
        made = short(answer, "list_jobs with a run, or a smaller limit")
        assert isinstance(made, JobList)
        return made

    def _start(
        self,
        kind: str,
        commands: Sequence[Sequence[str]],
        run: str,
        cost: str,
        minutes: float | None,
        memory: float | None,
        key: str | None,
        dry_run: bool,
    ) -> JobAnswer:
        if dry_run:
            return JobAnswer(
                job_id=None, kind=kind, run=run, status="preview", cost=cost, next_step="the same call without dry_run"
            )
        job, repeated = self._desk.jobs.start(
            kind, commands, self._desk.cwd(), run=run, key=key, minutes=minutes, memory_gib=memory
        )
        return self._answer(job, 0).model_copy(update={"repeated": repeated, "cost": cost})

    def _answer(self, job: Job, lines: int) -> JobAnswer:
        match job.status:
            case "finished":
                after = f"{_AFTER[job.kind]}" + (f" with run '{job.run}'" if job.run else "")
            case "failed":
                after = f"explain_failure with job_id '{job.id}'"
            case "cancelled":
                after = "the same start_* call goes on from here"
            case _:
                after = f"wait_for_job with job_id '{job.id}'"
        left = job.eta_s or 10.0
        hide = self._desk.sandbox.hide
        log = [hide(line)[:300] for line in self._desk.jobs.log(job.id, lines)] if lines else []
        answer = JobAnswer(
            job_id=job.id, kind=job.kind, run=job.run, status=job.status, stage=job.stage, done=job.done,
            total=job.total, seconds=job.seconds, eta_s=None if job.status in ENDED else job.eta_s,
            poll_after_s=0.0 if job.status in ENDED else round(min(max(left, 2.0), 50.0), 1),
            message=hide(job.reason or job.note), log=log, next_step=after,
        )  # fmt: skip
        made = short(answer, f"resource job://{job.id}/log")
        assert isinstance(made, JobAnswer)
        return made


def _search_cost(experiment: Experiment) -> str:
    search, folds = experiment.search, experiment.data.folds
    rows = experiment.data.rows.train
    of_rows = "all training rows" if rows is None else f"{rows} training rows"
    return (
        f"at most {search.trials} candidates x {folds} fold{'s' * (folds > 1)} x {search.epochs} epochs on {of_rows}, "
        f"{search.workers} workers; no time is known before the first candidates are through"
    )

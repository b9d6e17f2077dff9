"""The search coordinator: asks Optuna for candidates, has them evaluated, and tells what came of them.

The result depends on the seed and the history alone, not on how many workers there are, how fast they are, or how
often the search was killed and resumed:

- Candidates are asked for one generation at a time, and none is told before all of a generation are asked for. The
  journal notes which trials make up the generation before the first is asked.
- Every draw has its own seed, see `weft.search.sampler`.
- The result of each fold is in the journal as soon as it is there. A resumed search evaluates what is missing.
- The seed of an evaluation follows from the genotype, so that equal genotypes, which genetic search proposes often, are
  evaluated once and share the numbers they would all have had.

A candidate without numbers is a failed trial with its reason. A worker that dies is replaced, and its job tried again.
"""

from __future__ import annotations

import collections
import dataclasses
import logging
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from weft.config.search import SearchConfig
from weft.config.tune import TuneConfig
from weft.errors import RunError
from weft.search import calibrate
from weft.search import folds as fold_results
from weft.search._disk import writing
from weft.search._interrupt import Interrupts
from weft.search.baselines import sort_baselines
from weft.search.constraints import relative_violation
from weft.search.job import Job, Result, SearchSpace
from weft.search.results import ROUNDS, SearchResults, TrialRecord, collect, metric_of, record
from weft.search.sampler import make_sampler, seed_of
from weft.search.study import SEARCH, create_or_resume, running_trial
from weft.search.tables import write_tables
from weft.search.workers import LocalWorkers, Lost, Workers, local_count
from weft.types import Progress, no_progress

logger = logging.getLogger(__name__)

TRIALS = "trials"
"""Directory of a run with one directory per trial, `trials/<number>/fold<k>`, for weights."""


@dataclass(frozen=True)
class Searched:
    """How a search ended, and what it has found. After a `timeout` the same call goes on with it."""

    status: Literal["finished", "timeout"]
    results: SearchResults


def search(
    config: SearchConfig | TuneConfig,
    space: SearchSpace,
    evaluate: str,
    directory: Path | str,
    *,
    folds: int = 1,
    baselines: Sequence[Mapping[str, Any]] = (),
    payload: Mapping[str, Any] | None = None,
    identity: Mapping[str, Any] | None = None,
    keep: Mapping[str, str] | None = None,
    workers: Workers | None = None,
    progress: Progress = no_progress,
    name: str = SEARCH,
    sampler: BaseSampler | None = None,
    tables: Callable[[Path, SearchResults], None] = write_tables,
    told: Callable[[TrialRecord], None] | None = None,
) -> Searched:
    """Search, or go on with the search in `directory`; the caller holds its `weft.lock.RunLock`.

    `trials`, `timeout_minutes`, `attempts` and `workers` may change between calls; the rest may not. With more trials a
    finished search goes on as if it had never stopped (exactly so for nsga2 and random).

    Args:
        config: Section `search` or `tune` of the experiment.
        space: Draws genotypes.
        evaluate: `"module:function"`, called in the workers with a `Job`; returns a `Result`.
        directory: The run directory: journal, tables, weights of the front.
        folds: Evaluations of each trial; 1 for a fixed validation split.
        baselines: Genotypes to evaluate first. One inside the space takes part in the search as a parent; one outside
            it is evaluated and compared.
        payload: JSON that every job carries.
        identity: JSON that says what else must not change (data, space); a resume with another is refused.
        keep: Further constraints (those of section `select`): the weights of the front under them are kept as well.
        workers: Closed at the end; by default as many processes as `config.workers` says.
        progress: Called after each trial with the number done, the number in all, and the best so far.
        name: Of the study in the journal.
        sampler: Instead of the one that `config` names.
        tables: Writes the tables into the directory, after each generation and at the end.
        told: Called with each finished trial, those of earlier calls first.

    Returns:
        The results. Everything is in the run directory as well, see `weft.search.results.read`.

    Raises:
        RunError: all trials of the first generation failed; the directory cannot be written, is damaged, or holds
            another search; or no worker can evaluate anything.
        ConfigError: a baseline that the space claims to hold comes out of it as another network.
        KeyboardInterrupt: on Ctrl-C or SIGTERM, after the tables are written; the same call resumes.
    """
    directory = Path(directory)
    fixed = ("objectives", "constraints", "sampler", "population", "seed", "epochs")
    inside, outside = sort_baselines(space, baselines)
    keys = [space.key(genotype) for genotype in baselines]
    studies = create_or_resume(
        directory,
        config.objectives,
        sampler or make_sampler(config.sampler, config.population, config.seed),
        {**{key: getattr(config, key) for key in fixed}, "folds": folds, "baselines": keys, **(identity or {})},
        name,
    )
    if workers is None:
        workers = _open_workers(config, evaluate, directory / "workers")
    with workers, Interrupts() as interrupts:
        coordinator = _Coordinator(
            config,
            space,
            directory,
            folds,
            dict(payload or {}),
            dict(keep or {}),
            inside,
            outside,
            studies,
            workers,
            interrupts,
            progress,
            tables,
            told or (lambda trial: None),
        )
        try:
            status = coordinator.run()
        except KeyboardInterrupt as interrupt:
            results = coordinator.report()
            logger.warning(
                "stopped by %s; %d trials are kept in %s, and the same command goes on from there",
                interrupt or "Ctrl-C", results.summary()["trials"], directory,
            )  # fmt: skip
            raise
        return Searched(status, coordinator.report())


@dataclass
class _Coordinator:
    config: SearchConfig | TuneConfig
    space: SearchSpace
    directory: Path
    folds: int
    payload: dict[str, Any]
    keep: dict[str, str]  # constraints under which the front's weights are kept as well
    inside: list[dict[str, Any]]  # parameters of the baselines that the space holds
    outside: list[Mapping[str, Any]]  # genotypes of the baselines that it does not hold
    studies: tuple[Study, Study]  # of the sampled trials, and of the baselines outside the space
    workers: Workers
    interrupts: Interrupts
    progress: Progress
    tables: Callable[[Path, SearchResults], None]
    told: Callable[[TrialRecord], None]

    def __post_init__(self) -> None:
        minutes = self.config.timeout_minutes
        self.deadline = math.inf if minutes is None else time.monotonic() + 60 * minutes
        self.metric = metric_of(self.config.objectives, self.config.constraints)
        self.needed = (*self.config.objectives, *self.config.constraints, *self.keep)
        self.first_of: dict[str, int] = {}  # key to the number of the trial that is evaluated for it
        self.done = 0
        self.report_at = 0.0
        self.best: TrialRecord | None = None
        for trial in collect(*self.studies).trials:
            if trial.key is not None:
                self.first_of.setdefault(trial.key, trial.number)
            if trial.state != "running":
                self._count(trial)

    def run(self) -> Literal["finished", "timeout"]:
        self._calibrate()  # a round that an interrupted search did not come to
        while (generation := self._next_generation()) is not None:
            handles = {}
            for number in generation:
                self.interrupts.check()
                handle = self._ask(number)
                if handle is not None:
                    handles[number] = handle
            if not self._evaluate(handles):
                return "timeout"
            self._calibrate()
            if time.monotonic() > self.report_at:  # with many trials, not so often that it takes much of the time
                begun = time.monotonic()
                self.report()
                self.report_at = time.monotonic() + 20 * (time.monotonic() - begun)
        return "finished"

    def report(self) -> SearchResults:
        """Write the tables and remove the weights of all trials that are neither on a front nor running."""
        results = collect(*self.studies)
        self.tables(self.directory, results)
        running = [trial for trial in results.trials if trial.state == "running"]
        keep = {str(trial.number) for trial in (*results.front(), *results.front(self.keep), *running)}
        weights = self.directory / TRIALS
        with writing(weights):
            for found in weights.iterdir() if weights.exists() else ():
                if found.name not in keep:
                    shutil.rmtree(found)
        return results

    def _calibrate(self) -> None:
        """Synthesise some candidates, if it is time for that, and note what came of it; see `weft.search.calibrate`."""
        config = getattr(self.config, "calibrate", None)
        if config is None or time.monotonic() >= self.deadline:
            return
        before = collect(*self.studies)
        rounds = before.rounds
        if len(before.evaluated) // config.every <= len(rounds):
            return
        weights = {t.number: t.weights[0] for t in before.evaluated if t.weights and t.weights[0] is not None}
        able = {number for number, path in weights.items() if (self.directory / path).exists()}
        chosen = dict(calibrate.choose(before, able, config.designs, self.config.seed))
        jobs = collections.deque(
            dataclasses.replace(
                self._jobs(number, self._trials()[number])[0],
                directory=str(self.directory / TRIALS / str(number) / "synthesis"),
                synthesise=str(self.directory / weights[number]),
            )
            for number in chosen
        )
        trials: dict[str, Any] = {}
        for job, result in self._replies(jobs):
            trial = before.trials[job.number]
            trials[str(job.number)] = calibrate.entry(trial, result.costs, chosen[job.number])
            if result.error is not None:
                logger.warning("synthesis of trial %d failed: %s", job.number, result.error)
                trials[str(job.number)]["error"] = result.error
            self.progress(self.done, self.config.trials, f"synthesis of trial {job.number}")
        if jobs:  # the time was up
            return
        found = {"evaluated": len(before.evaluated), "trials": {str(n): trials[str(n)] for n in sorted(chosen)}}
        found |= calibrate.compared(before, collect(*self.studies, rounds=[*rounds, found]))
        self.studies[0].set_user_attr(ROUNDS, [*rounds, found])
        logger.info(
            "synthesised %d candidates; rank correlation of sizes before and after %.3f; front: %d joined, %d left",
            len(trials), found["rank_correlation"], len(found["joined"]), len(found["left"]),
        )  # fmt: skip

    def _next_generation(self) -> range | None:
        """Return the trials to evaluate next, or None at the end; of an interrupted generation, all of it."""
        study = self.studies[0]
        trials = self._trials()
        noted = study.user_attrs.get("generation", [0, 0])
        generation = range(noted[0], noted[0] + noted[1])
        if any(number >= len(trials) or not trials[number].state.is_finished() for number in generation):
            return generation
        sampled = trials[len(self.outside) :]
        complete = sum(trial.state == TrialState.COMPLETE for trial in sampled)
        if sampled and not complete and any(trial.user_attrs["failure"]["kind"] != "invalid" for trial in sampled):
            raise RunError(_all_failed(trials, self.directory))
        first = generation.stop
        missing = self.config.population - complete % self.config.population + (0 if trials else len(self.outside))
        size = min(missing, self.config.trials - first)
        if size <= 0:
            return None
        logger.info("trials %d to %d of %d", first, first + size - 1, self.config.trials)
        study.set_user_attr("generation", [first, size])
        return range(first, first + size)

    def _ask(self, number: int) -> Trial | None:
        """Begin a trial and draw its genotype, or go on where an interrupted search stopped; None if it is finished."""
        is_outside = number < len(self.outside)
        study = self.studies[1 if is_outside else 0]
        index = number if is_outside else number - len(self.outside)
        trials = study.get_trials(deepcopy=False)
        if index < len(trials) and trials[index].state.is_finished():
            return None
        if index < len(trials) and trials[index].state == TrialState.RUNNING:
            handle = running_trial(study, index)
        else:
            if index == len(trials) and not is_outside and index < len(self.inside):
                study.enqueue_trial(self.inside[index])
            handle = study.ask()  # a waiting trial comes before a new one
            assert handle.number == index
        if "design" not in handle.user_attrs:
            if is_outside:
                genotype = dict(self.outside[number])
            else:
                _ = handle.relative_params  # gives the trial its generation, also where no parameter is drawn
                genotype = self.space.sample(handle)
            key = self.space.key(genotype)
            handle.set_user_attr("design", {"key": key, "genotype": genotype})
            self.first_of.setdefault(key, number)
        return handle

    def _evaluate(self, handles: Mapping[int, Trial]) -> bool:
        """Evaluate trials and tell what came of them; False where the time was up before all were evaluated."""
        waiting: dict[int, list[int]] = collections.defaultdict(list)  # trial to its duplicates
        queue: collections.deque[Job] = collections.deque()
        for number, handle in handles.items():
            original = self.first_of[handle.user_attrs["design"]["key"]]
            if original == number:
                missing = [job for job in self._jobs(number, handle) if f"fold {job.fold}" not in handle.user_attrs]
                queue.extend(missing)
                if not missing:
                    self._finish(handles, number, waiting)
            elif self._trials()[original].state.is_finished():
                self._tell_duplicate(number, handle, original)
            else:
                waiting[original].append(number)
        for job, reply in self._replies(queue):
            self._store(handles[job.number], reply)
            if all(f"fold {fold}" in handles[job.number].user_attrs for fold in range(self.folds)):
                self._finish(handles, job.number, waiting)
        return not queue

    def _replies(self, queue: collections.deque[Job]) -> Iterator[tuple[Job, Result]]:
        """Let the workers do jobs, and yield what comes back; what the time does not suffice for stays in `queue`."""
        lost: collections.Counter[tuple[int, int]] = collections.Counter()
        running = 0
        while True:
            while queue and self.workers.free and time.monotonic() < self.deadline:
                self._start(queue.popleft())
                running += 1
            if not running:
                return
            with self.interrupts.waiting():
                back = self.workers.wait()
            for job, reply in back:
                running -= 1
                if isinstance(reply, Lost):
                    lost[job.number, job.fold] += 1
                    attempt = lost[job.number, job.fold]
                    logger.warning("trial %d, fold %d, attempt %d: %s", job.number, job.fold, attempt, reply.reason)
                    if attempt < self.config.attempts:
                        queue.appendleft(job)
                        continue
                    reason = f"{reply.reason}; attempt {attempt} of {self.config.attempts}"
                    reply = Result(job.number, job.fold, error=reason, error_kind="crash")
                yield job, reply

    def _jobs(self, number: int, handle: Trial | FrozenTrial) -> list[Job]:
        design = handle.user_attrs["design"]
        return [
            Job(
                number=number,
                key=design["key"],
                genotype=design["genotype"],
                seed=seed_of(self.config.seed, design["key"], fold),
                fold=fold,
                n_folds=self.folds,
                epochs=self.config.epochs,
                directory=str(self.directory / TRIALS / str(number) / f"fold{fold}"),
                payload=self.payload,
            )
            for fold in range(self.folds)
        ]

    def _start(self, job: Job) -> None:
        with writing(job.directory):
            shutil.rmtree(job.directory, ignore_errors=True)  # what an earlier attempt left
            Path(job.directory).mkdir(parents=True)
        self.workers.start(job)

    def _store(self, handle: Trial, result: Result) -> None:
        stored = fold_results.refused(result, self.needed).to_dict()
        if stored["weights"] is not None:
            stored["weights"] = os.path.relpath(stored["weights"], self.directory)
            if Path(stored["weights"]).parts[:1] != (TRIALS,):
                raise RunError(
                    f"the evaluation of trial {handle.number} stored its weights as {result.weights}, where the search "
                    "cannot remove them; an evaluation must write into the directory of its job"
                )
        handle.set_user_attr(f"fold {result.fold}", stored)

    def _finish(self, handles: Mapping[int, Trial], number: int, waiting: dict[int, list[int]]) -> None:
        """Tell a trial whose folds are all back, and the duplicates that wait for it."""
        handle = handles[number]
        results = [Result(**handle.user_attrs[f"fold {fold}"]) for fold in range(self.folds)]
        failure = fold_results.failure(results)
        self._tell(number, handle, fold_results.merge(results) if failure is None else None, failure)
        for duplicate in waiting.pop(number, ()):
            self._tell_duplicate(duplicate, handles[duplicate], number)

    def _tell_duplicate(self, number: int, handle: Trial, original: int) -> None:
        first = self._trials()[original]
        handle.set_user_attr("duplicate_of", original)
        failure = first.user_attrs.get("failure")
        if failure is not None:
            reason = f"same design as trial {original}, which failed: {failure['reason']}"
            self._tell(number, handle, None, {**failure, "reason": reason})
        else:
            self._tell(number, handle, {**first.user_attrs["outcome"], "seconds": 0.0, "compile_seconds": 0.0}, None)

    def _tell(self, number: int, handle: Trial, outcome: dict[str, Any] | None, failure: dict[str, str] | None) -> None:
        if outcome is None:
            handle.set_user_attr("failure", failure)
            handle.study.tell(handle, state=TrialState.FAIL)
        else:
            handle.set_user_attr("outcome", outcome)
            values = {name: entry["mean"] for name, entry in outcome["metrics"].items()}
            values |= {name: entry["quantity"]["value"] for name, entry in outcome["costs"].items()}
            for name, text in self.config.constraints.items():
                if name not in handle.constraints:
                    handle.set_constraint(name, relative_violation(text, values[name]))
            handle.study.tell(handle, [values[name] for name in self.config.objectives])
        self._count(record(number, self._trials()[number]))
        note = "no feasible design yet"
        if self.best is not None:
            note = f"best {self.metric} {self.best.value(self.metric):.4g} (trial {self.best.number})"
        self.progress(self.done, self.config.trials, note)

    def _count(self, trial: TrialRecord) -> None:
        self.done += 1
        if trial.state == "complete" and trial.feasible:
            rivals = [trial] if self.best is None else [self.best, trial]
            self.best = min(rivals, key=lambda rival: rival.losses([self.metric]))
        self.told(trial)

    def _trials(self) -> list[FrozenTrial]:
        return [*self.studies[1].get_trials(deepcopy=False), *self.studies[0].get_trials(deepcopy=False)]


def _open_workers(config: SearchConfig, evaluate: str, log_directory: Path) -> Workers:
    minutes = config.trial_timeout_minutes
    seconds = None if minutes is None else 60 * minutes
    if config.workers == "auto" or isinstance(config.workers, int):
        return LocalWorkers(local_count(config.workers), evaluate, log_directory, seconds)
    from weft.search.workers.dask import open_dask

    return open_dask(config.workers, evaluate, log_directory, seconds)


def _all_failed(trials: Sequence[FrozenTrial], directory: Path) -> str:
    failures = [trial.user_attrs["failure"] for trial in trials if "failure" in trial.user_attrs]
    counted = collections.Counter(f"{failure['kind']}: {failure['reason']}" for failure in failures)
    reasons = "\n".join(f"  {count} x {reason}" for reason, count in counted.most_common(5))
    return (
        f"all {len(failures)} trials of the first generation failed, so the search stops:\n{reasons}\n"
        f"trials.csv and workers/*.log in {directory} say more; mend the cause and search in a new directory"
    )

"""The search coordinator: asks Optuna for candidates, has them evaluated, and tells what came of them.

The result depends on the seed and the history alone, not on how many workers there are, how fast they are, or how
often the search was killed and resumed:

- Candidates are asked for one generation at a time, and none is told before all of a generation are asked for. The
  journal notes which trials make up the generation before the first is asked.
- Every draw has its own seed, see `weft.search.sampler`.
- The result of each fold is in the journal as soon as it is there. A resumed search evaluates what is missing.
- The seed of an evaluation follows from the genotype, so that equal genotypes, which genetic search proposes often, are
  evaluated once and share the numbers they would all have had (with inherited weights: those of one parent).

With successive halving a generation runs up rungs: all its candidates are evaluated with little training, and the best
go on, trained anew (see `weft.search.halving`). A rung is judged when all of it is there, from what the journal holds,
so a resumed search judges the same. Those that stay behind are stopped trials (`PRUNED`): NSGA-II breeds from complete
ones alone, whose numbers are of one fidelity; TPE takes stopped ones for worse than any complete one. A generation is
larger by those that will be stopped. Baselines are always evaluated in full, and an equal genotype shares the fate of
the first one.

After the last generation designs of the front may be evaluated once more, see `weft.search.final`.

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
from typing import Any, Literal, TypeVar

from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from weft.config.fidelity import Fidelity
from weft.config.sampler import EXHAUSTIVE
from weft.config.search import SearchConfig
from weft.config.tune import TuneConfig
from weft.errors import RunError
from weft.objectives import OBJECTIVES
from weft.search import calibrate, final, halving, inherit, teams
from weft.search import folds as fold_results
from weft.search._disk import writing
from weft.search._interrupt import Interrupts
from weft.search.baselines import locate, sort_baselines
from weft.search.constraints import relative_violation, total_violation
from weft.search.job import TRIALS, Job, Result, SearchSpace
from weft.search.results import ROUNDS, SearchResults, TrialRecord, collect, metric_of, record
from weft.search.sampler import KNOWING, make_sampler, seed_of, size_of
from weft.search.study import SEARCH, create_or_resume, running_trial, trial_at
from weft.search.tables import write_tables
from weft.search.workers import LocalWorkers, Lost, Workers, local_count
from weft.types import Progress, no_progress

logger = logging.getLogger(__name__)

VMAP = "vmap"
"""Of the study: whether candidates train together, with what was measured."""

_Config = TypeVar("_Config", bound=SearchConfig | TuneConfig)


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
    enqueue: Sequence[Mapping[str, Any]] = (),
    payload: Mapping[str, Any] | None = None,
    identity: Mapping[str, Any] | None = None,
    keep: Mapping[str, str] | None = None,
    compared: Sequence[str] = (),
    workers: Workers | None = None,
    progress: Progress = no_progress,
    name: str = SEARCH,
    sampler: BaseSampler | None = None,
    tables: Callable[[Path, SearchResults], None] = write_tables,
    told: Callable[[TrialRecord], None] | None = None,
) -> Searched:
    """Search, or go on with the search in `directory`; the caller holds its `weft.lock.RunLock`.

    `trials`, `timeout_minutes`, `attempts` and `workers` may change between calls; the rest may not. With more trials a
    finished search goes on as if it had not (exactly so, without halving, for nsga2, nsga3, random, grid and qmc).

    Args:
        config: Section `search` or `tune` of the experiment.
        space: Draws genotypes.
        evaluate: `"module:function"`, called in the workers with a `Job`; returns a `Result`.
        directory: The run directory: journal, tables, weights of the front.
        folds: Evaluations of each trial; 1 for a fixed validation split.
        baselines: Genotypes to evaluate first. One inside the space takes part in the search as a parent; one outside
            it is evaluated and compared.
        enqueue: Further genotypes, all inside the space, that are evaluated after the baselines.
        payload: JSON that every job carries.
        identity: JSON that says what else must not change (data, space); a resume with another is refused.
        keep: Further constraints (those of section `select`): the weights of the front under them are kept as well.
        compared: Further quantities that the selection compares: a design without one fails with the reason.
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
    directory = Path(directory).resolve()  # a worker may have another working directory
    fixed = ("objectives", "constraints", "sampler", "population", "seed", "epochs")
    halved = getattr(config, "halving", None)
    further = {"halving": halved.model_dump(mode="json")} if halved else {}  # older journals do not have these
    further |= {"inherit": True} if getattr(config, "inherit", False) else {}
    inside, outside = sort_baselines(space, baselines)
    inside += [locate(space, genotype)[0] for genotype in enqueue]
    given = {
        "baselines": [space.key(genotype) for genotype in baselines],
        "warm_start": [space.key(genotype) for genotype in enqueue] or None,
    }
    if sampler is None:
        config, sampler = _sampler(config, space, len(inside), len(outside))
    studies = create_or_resume(
        directory,
        config.objectives,
        sampler,
        {**{key: getattr(config, key) for key in fixed}, "folds": folds, **given, **further, **(identity or {})},
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
            compared,
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
    compared: Sequence[str]  # what a design must have for the selection
    inside: list[dict[str, Any]]  # parameters of what is evaluated first
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
        self.halving = getattr(self.config, "halving", None)
        self.width = self.halving.width if self.halving else 1
        self.rungs = (
            self.halving.fidelities(self.config.epochs, self.folds)
            if self.halving
            else (Fidelity(self.config.epochs, 1.0, self.folds),)
        )
        self.needed = (*self.config.objectives, *self.config.constraints, *self.keep, *self.compared)
        self.inherits = getattr(self.config, "inherit", False)
        self.parents: dict[int, FrozenTrial] = {}  # whose weights the candidates of this generation may start from
        self.first_of: dict[tuple[str, int | None], int] = {}  # key and parent to the trial that is evaluated for them
        self.settled = False  # whether no round of synthesis may still want the weights of the last generation
        self.done = 0
        self.report_at = 0.0
        self.best: TrialRecord | None = None
        for trial in collect(*self.studies).trials:
            if trial.key is not None:
                self.first_of.setdefault((trial.key, trial.parent), trial.number)
            if trial.state != "running":
                self._count(trial)

    def run(self) -> Literal["finished", "timeout"]:
        if self._is_told() and not self._calibrate():  # a round that an interrupted search did not come to
            return "timeout"
        while (generation := self._next_generation()) is not None:
            handles = {}
            self.parents = self._parents(generation.start) if self.inherits else {}
            for number in generation:
                self.interrupts.check()
                handle = self._ask(number)
                if handle is not None:
                    handles[number] = handle
            self.settled = False
            if not self._evaluate(generation, handles) or not self._calibrate():
                return "timeout"
            if time.monotonic() > self.report_at:  # with many trials, not so often that it takes much of the time
                begun = time.monotonic()
                self.report()
                self.report_at = time.monotonic() + 20 * (time.monotonic() - begun)
        return "finished" if self._measure_front() and self._reevaluate() else "timeout"

    def report(self) -> SearchResults:
        """Write the tables and remove the weights of all trials that are neither on a front nor running."""
        results = collect(*self.studies)
        self.tables(self.directory, results)
        running = [trial for trial in results.trials if trial.state == "running"]
        searched = dataclasses.replace(results, final=())  # its front holds all that was chosen for a re-evaluation
        keep = {str(trial.number) for trial in (*searched.front(), *searched.front(self.keep), *running)}
        if getattr(self.config, "calibrate", None) and not self.settled:
            keep |= {str(number) for number in self._generation()}
        if self.inherits:
            keep |= {str(trial.parent) for trial in running} | {str(number) for number in self._parents()}
        weights = self.directory / TRIALS
        with writing(weights):
            for found in weights.iterdir() if weights.exists() else ():
                if found.name not in keep:
                    shutil.rmtree(found)
        return results

    def _calibrate(self) -> bool:
        """Synthesise some candidates, if it is time for that, and note what came of it; see `weft.search.calibrate`.

        Called between generations. Candidates are those on the front or of the last generation, whose weights are there
        however often the search was interrupted. False where the time was up before.
        """
        config = getattr(self.config, "calibrate", None)
        before = collect(*self.studies) if config else None
        ordinary = [one for one in before.rounds if not one.get("last")] if before else []
        if config is None or before is None or len(before.evaluated) // config.every <= len(ordinary):
            self.settled = True
            return True
        near = {trial.number for trial in before.front()} | set(self._generation())
        chosen = calibrate.choose(before, near & self._weights(before).keys(), config.designs, self.config.seed)
        self.settled = self._synthesise(before, dict(chosen))
        return self.settled

    def _measure_front(self) -> bool:
        """Synthesise what is left of the front, if any is synthesised at all; False where the time was up before.

        What is measured may change the front, and what joins it then is measured, too.
        """
        while getattr(self.config, "calibrate", None) is not None:
            before = collect(*self.studies)
            front = {trial.number for trial in (*before.front(), *before.front(self.keep))}
            left = front & self._weights(before).keys() - calibrate.measured(before.rounds).keys()
            if not left:
                break
            if not self._synthesise(before, dict.fromkeys(sorted(left), "on the front at the end"), last=True):
                return False
        return True

    def _weights(self, results: SearchResults) -> dict[int, str]:
        """Return the weights that are there, by trial."""
        weights = {t.number: t.weights[0] for t in results.evaluated if t.weights and t.weights[0] is not None}
        return {number: path for number, path in weights.items() if (self.directory / path).exists()}

    def _synthesise(self, before: SearchResults, chosen: Mapping[int, str], last: bool = False) -> bool:
        """Hold a round of synthesis of trials, each with the reason; False where the time was up before its end."""
        rounds, weights = before.rounds, self._weights(before)
        jobs = collections.deque(
            dataclasses.replace(
                self._jobs(number, self._trials()[number], self.rungs[-1])[0],
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
        if jobs:
            return False
        found = {"evaluated": len(before.evaluated), "trials": {str(n): trials[str(n)] for n in sorted(chosen)}}
        found |= {"last": True} if last else {}
        found |= calibrate.compared(before, collect(*self.studies, rounds=[*rounds, found]))
        self.studies[0].set_user_attr(ROUNDS, [*rounds, found])
        logger.info(
            "synthesised %d candidates; rank correlation of sizes before and after %.3f; front: %d joined, %d left",
            len(trials), found["rank_correlation"], len(found["joined"]), len(found["left"]),
        )  # fmt: skip
        return True

    def _generation(self) -> range:
        """Return the numbers of the last generation that was begun; none before the first."""
        first, size = self.studies[0].user_attrs.get("generation", (0, 0))
        return range(first, first + size)

    def _is_told(self) -> bool:
        """Say whether all of the last generation is told."""
        trials = self._trials()
        return all(number < len(trials) and trials[number].state.is_finished() for number in self._generation())

    def _reevaluate(self) -> bool:
        """Evaluate designs of the front once more, see `weft.search.final`; False where the time was up before."""
        config = getattr(self.config, "final", None)
        if config is None:
            return True
        study, results = self.studies[0], collect(*self.studies)
        plan = {
            "after": len(results.trials),
            "count": config.count,
            "seeds": config.seeds,
            "epochs": config.epochs or self.config.epochs,
            "folds": config.folds or self.folds,
        }
        noted = study.user_attrs.get(final.FINAL, {})
        if {name: noted.get(name) for name in plan} != plan:
            searched = dataclasses.replace(results, final=())
            noted = {**plan, "trials": final.choose(searched, self.keep, config.count)}
            study.set_user_attr(final.FINAL, noted)
        places = {
            final.name(noted, number, seed, fold): (number, seed, fold)
            for number in noted["trials"]
            for seed in range(noted["seeds"])
            for fold in range(noted["folds"])
        }
        attrs = study.user_attrs
        jobs = {name: self._final_job(noted, *place) for name, place in places.items()}
        names = {job.directory: name for name, job in jobs.items() if name not in attrs}
        queue: collections.deque[Job] = collections.deque()
        done = len(places) - len(names)
        for job, reply in self._trained(list(jobs.values()), set(names), queue):
            study.set_user_attr(names[job.directory], self._stored(job, reply))
            done += 1
            self.progress(self.done, self.config.trials, f"re-evaluation {done} of {len(places)}")
        if queue:
            return False
        found = collect(*self.studies).final
        for trial in (one for one in found if one.state == "failed"):
            logger.warning("re-evaluation of trial %d failed: %s", trial.number, trial.reason)
        if found and all(trial.state == "failed" for trial in found):
            reasons = "\n".join(f"  trial {trial.number}: {trial.reason}" for trial in found)
            raise RunError(
                f"the re-evaluation of all {len(found)} designs failed, so none is left to select:\n{reasons}\n"
                f"workers/*.log in {self.directory} say more; mend the cause and search in a new directory"
            )
        return True

    def _final_job(self, plan: final.Plan, number: int, seed: int, fold: int) -> Job:
        design = self._trials()[number].user_attrs["design"]
        return Job(
            number=number,
            key=design["key"],
            genotype=design["genotype"],
            seed=seed_of(self.config.seed, design["key"], fold, "final", seed),
            fold=fold,
            n_folds=plan["folds"],
            epochs=plan["epochs"],
            directory=str(self.directory / TRIALS / str(number) / "final" / f"seed{seed}-fold{fold}"),
            payload=self.payload,
        )

    def _next_generation(self) -> range | None:
        """Return the trials to evaluate next, or None at the end; of an interrupted generation, all of it."""
        study = self.studies[0]
        generation = self._generation()
        if not self._is_told():
            return generation
        trials = self._trials()
        sampled = trials[len(self.outside) :]
        complete = sum(trial.state == TrialState.COMPLETE for trial in sampled)
        failed = [trial.user_attrs["failure"]["kind"] for trial in sampled if "failure" in trial.user_attrs]
        if sampled and not complete and any(kind != "invalid" for kind in failed):
            raise RunError(_all_failed(trials, self.directory))
        first = generation.stop
        done = (
            0 if self.halving else complete % self.config.population
        )  # a cohort that rungs thinned out is not filled up
        missing = self.config.population - done
        known = min(missing, max(len(self.inside) - len(sampled), 0))  # baselines, which no rung stops
        size = known + (missing - known) * self.width + (0 if trials else len(self.outside))
        size = min(size, self.config.trials - first)
        if size <= 0:
            return None
        logger.info("trials %d to %d of %d", first, first + size - 1, self.config.trials)
        study.set_user_attr("generation", [first, size])
        return range(first, first + size)

    def _parents(self, end: int | None = None) -> dict[int, FrozenTrial]:
        """Return the designs whose weights a candidate may start from, of the trials before `end`, by raw numbers."""
        raw, trials = collect(*self.studies, rounds=()), self._trials()
        front = dataclasses.replace(raw, trials=raw.trials[:end], final=()).front()
        return {trial.number: trials[trial.number] for trial in front if trial.params and None not in trial.weights}

    def _ask(self, number: int) -> Trial | None:
        """Begin a trial and draw its genotype, or go on where an interrupted search stopped; None if it is finished."""
        is_outside = number < len(self.outside)
        study = self.studies[1 if is_outside else 0]
        index = number if is_outside else number - len(self.outside)
        before = trial_at(study, index)
        if before is not None and before.state.is_finished():
            return None
        if before is not None and before.state == TrialState.RUNNING:
            handle = running_trial(study, index)
        else:
            if before is None and not is_outside and index < len(self.inside):
                study.enqueue_trial(self.inside[index])
            handle = study.ask()  # a waiting trial comes before a new one
            assert handle.number == index
        if "design" not in handle.user_attrs:
            if is_outside:
                genotype = dict(self.outside[number])
            else:
                _ = handle.relative_params  # gives the trial its generation, also where no parameter is drawn
                genotype = self.space.sample(handle)
            design = {"key": self.space.key(genotype), "genotype": genotype}
            if self.inherits and not is_outside and index >= len(self.inside):
                design |= self._inherited(design["key"], handle)
            handle.set_user_attr("design", design)
            self.first_of.setdefault(_evaluation(design), number)
        return handle

    def _inherited(self, key: str, handle: Trial) -> dict[str, Any]:
        """Return what a design notes of its parent: the number, and its weights for each fold; nothing without one."""
        others = {n: trial for n, trial in self.parents.items() if trial.user_attrs["design"]["key"] != key}
        parent = inherit.nearest(handle, others)
        return {} if parent is None else {"parent": parent, "weights": others[parent].user_attrs["outcome"]["weights"]}

    def _evaluate(self, generation: range, handles: Mapping[int, Trial]) -> bool:
        """Evaluate trials and tell what came of them; False where the time was up before all were evaluated.

        `handles` are those of the generation that are not told yet; the others are compared with them all the same.
        """
        trials = self._trials()
        waiting: dict[int, list[int]] = collections.defaultdict(list)  # trial to its duplicates
        runners: list[int] = []
        for number in generation:
            original = self.first_of[_evaluation(trials[number].user_attrs["design"])]
            if original == number:
                runners.append(number)
            elif number in handles and trials[original].state.is_finished():
                self._tell_duplicate(number, handles[number], original)
            elif number in handles:
                waiting[original].append(number)
        known = len(self.outside) + len(self.inside)
        for rung, fidelity in enumerate(self.rungs):
            is_last = rung == len(self.rungs) - 1
            racing = runners if is_last else [number for number in runners if number >= known]
            queue: collections.deque[Job] = collections.deque()
            missing = {
                number: self._missing(number, handles[number], fidelity) for number in racing if number in handles
            }
            for number, jobs in missing.items():
                if not jobs:
                    self._finish(handles, number, waiting, rung)
            trials = self._trials()
            jobs = [job for number in racing for job in self._jobs(number, trials[number], fidelity)]
            left = {job.directory for some in missing.values() for job in some}
            for job, reply in self._trained(jobs, left, queue):
                handle = handles[job.number]
                handle.set_user_attr(self._name(job), self._stored(job, reply))
                noted = handle.user_attrs
                if all(self._name(one) in noted for one in self._jobs(job.number, handle, fidelity)):
                    self._finish(handles, job.number, waiting, rung)
            if queue:
                return False
            if not is_last:
                ahead = self._promoted(racing, fidelity)
                for number in racing:
                    if number in handles and number not in ahead:
                        self._stop(handles, number, waiting, rung)
                runners = [number for number in runners if number < known or number in ahead]
        return True

    def _missing(self, number: int, handle: Trial, fidelity: Fidelity) -> list[Job]:
        """Return the jobs of a trial on a rung whose results are not noted yet."""
        noted = handle.user_attrs
        return [job for job in self._jobs(number, handle, fidelity) if self._name(job) not in noted]

    def _trained(
        self, jobs: Sequence[Job], left: set[str], queue: collections.deque[Job]
    ) -> Iterator[tuple[Job, Result]]:
        """Do those of some jobs that are left, by directory, alone or in a team; see `weft.search.teams`.

        Yields their results; what the time does not suffice for is in `queue` afterwards.
        """
        packed = teams.teams(jobs, self.space.kin) if self._together(jobs) else jobs  # type: ignore[attr-defined]
        queue.extend(job for job in packed if any(one.directory in left for one in teams.members(job)))
        for job, reply in self._replies(queue):
            if job.directory in left:
                yield job, reply

    def _together(self, jobs: Sequence[Job]) -> bool:
        """Say whether jobs train in teams: as configured, or as the first team was measured."""
        mode, kin = getattr(self.config, "vmap", "never"), getattr(self.space, "kin", None)
        if kin is None or mode == "never":
            return False
        if mode == "always":
            return True
        study = self.studies[0]
        if VMAP not in study.user_attrs:
            team = max(teams.teams(jobs, kin), key=lambda job: len(job.others), default=None)
            if team is None or not team.others:
                return False
            queue = collections.deque([dataclasses.replace(team, measure=True)])
            for _, reply in self._replies(queue):
                study.set_user_attr(VMAP, teams.chosen(reply))
            if VMAP not in study.user_attrs:  # the time was up
                return False
            logger.info("training together: %s", study.user_attrs[VMAP]["reason"])
        return study.user_attrs[VMAP]["chosen"]

    def _promoted(self, racing: Sequence[int], fidelity: Fidelity) -> set[int]:
        """Return the trials that go on from a rung on which all are evaluated; those that failed there do not."""
        assert self.halving is not None  # without it there is one rung
        trials = self._trials()
        merged = {number: self._merged(number, trials[number], fidelity) for number in racing}
        found = {number: fold_results.values(outcome) for number, (outcome, _) in merged.items() if outcome is not None}
        losses = [[OBJECTIVES[n].loss(values[n]) for n in self.config.objectives] for values in found.values()]
        bounds = self.config.constraints
        missed = [[relative_violation(bounds[n], values[n]) for n in bounds] for values in found.values()]
        ahead = halving.promoted(losses, [total_violation(each) for each in missed], self.halving.factor)
        return {list(found)[index] for index in ahead}

    def _replies(self, queue: collections.deque[Job]) -> Iterator[tuple[Job, Result]]:
        """Let the workers do jobs, and yield what comes back; what the time does not suffice for stays in `queue`."""
        lost: collections.Counter[str] = collections.Counter()
        running = 0
        while True:
            if time.monotonic() >= self.deadline:
                unbegun = self.workers.give_back()
                queue.extendleft(reversed(unbegun))
                running -= len(unbegun)
            while queue and self.workers.free and time.monotonic() < self.deadline:
                self._start(self.workers.take(queue))
                running += 1
            if not running:
                return
            with self.interrupts.waiting():
                back = self.workers.wait()
            for job, reply in back:
                running -= 1
                if job.others and not job.measure:
                    found = None if isinstance(reply, Lost) else teams.results(job, reply)
                    if found is None:  # one of them may be poison
                        queue.extendleft(reversed(teams.members(job)))
                    else:
                        yield from found
                    continue
                if isinstance(reply, Lost):
                    lost[job.directory] += 1
                    attempt = lost[job.directory]
                    logger.warning("trial %d, fold %d, attempt %d: %s", job.number, job.fold, attempt, reply.reason)
                    if attempt < self.config.attempts:
                        queue.appendleft(job)
                        continue
                    reason = f"{reply.reason}; attempt {attempt} of {self.config.attempts}"
                    reply = Result(job.number, job.fold, error=reason, error_kind="crash")
                yield job, reply

    def _jobs(self, number: int, handle: Trial | FrozenTrial, fidelity: Fidelity) -> list[Job]:
        design = handle.user_attrs["design"]
        given = design.get("weights")  # of the parent, for each fold
        return [
            Job(
                number=number,
                key=design["key"],
                genotype=design["genotype"],
                seed=seed_of(self.config.seed, design["key"], fold),
                fold=fold,
                n_folds=self.folds,
                epochs=fidelity.epochs,
                directory=str(self.directory / TRIALS / str(number) / f"fold{fold}"),
                payload=self.payload,
                rows=fidelity.rows,
                inherit=str(self.directory / given[fold]) if given else None,
            )
            for fold in range(fidelity.folds)
        ]

    def _name(self, job: Job) -> str:
        """Return under what a result is noted in its trial: equal trainings, also of two rungs, are one."""
        complete = (job.epochs, job.rows) == self.rungs[-1][:2]
        return f"fold {job.fold}" + ("" if complete else f" at {job.epochs} epochs, {job.rows:.6g} of the rows")

    def _start(self, job: Job) -> None:
        for one in teams.members(job):
            with writing(one.directory):
                shutil.rmtree(one.directory, ignore_errors=True)  # what an earlier attempt left
                Path(one.directory).mkdir(parents=True)
        self.workers.start(job)

    def _stored(self, job: Job, result: Result) -> dict[str, Any]:
        """Return a result as the journal holds it."""
        stored = fold_results.refused(result, self.needed).to_dict()
        if stored["weights"] is not None:
            stored["weights"] = os.path.relpath(stored["weights"], self.directory)
            if Path(stored["weights"]).parts[:1] != (TRIALS,):
                raise RunError(
                    f"the evaluation of trial {job.number} stored its weights as {result.weights}, where the search "
                    "cannot remove them; an evaluation must write into the directory of its job"
                )
        return stored

    def _merged(
        self, number: int, trial: Trial | FrozenTrial, fidelity: Fidelity
    ) -> tuple[dict[str, Any] | None, dict[str, str] | None]:
        """Return what all folds of a rung found together, or why there are no numbers; the time is of all rungs."""
        attrs = trial.user_attrs
        results = [Result(**attrs[self._name(job)]) for job in self._jobs(number, trial, fidelity)]
        failure = fold_results.failure(results)
        if failure is not None:
            return None, failure
        spent = [value for name, value in attrs.items() if name.startswith("fold ")]
        times = {name: sum(one[name] for one in spent) for name in ("seconds", "compile_seconds")}
        return {**fold_results.merge(results), **times}, None

    def _finish(self, handles: Mapping[int, Trial], number: int, waiting: dict[int, list[int]], rung: int) -> None:
        """Tell a trial whose folds are all back, unless other rungs follow, and the duplicates that wait for it."""
        outcome, failure = self._merged(number, handles[number], self.rungs[rung])
        if failure is not None or rung == len(self.rungs) - 1:
            self._tell(number, handles[number], outcome, failure)
            self._tell_waiting(handles, number, waiting)
        else:
            self.progress(self.done, self.config.trials, f"trial {number} on rung {rung} of {len(self.rungs)}")

    def _stop(self, handles: Mapping[int, Trial], number: int, waiting: dict[int, list[int]], rung: int) -> None:
        """Tell a trial that does not go on from a rung; one that failed there is told already."""
        outcome, failure = self._merged(number, handles[number], self.rungs[rung])
        if failure is None:
            self._tell(number, handles[number], outcome, None, rung)
            self._tell_waiting(handles, number, waiting)

    def _tell_waiting(self, handles: Mapping[int, Trial], number: int, waiting: dict[int, list[int]]) -> None:
        for duplicate in waiting.pop(number, ()):
            self._tell_duplicate(duplicate, handles[duplicate], number)

    def _tell_duplicate(self, number: int, handle: Trial, original: int) -> None:
        first = self._trial(original)
        handle.set_user_attr("duplicate_of", original)
        failure = first.user_attrs.get("failure")
        if failure is not None:
            reason = f"same design as trial {original}, which failed: {failure['reason']}"
            self._tell(number, handle, None, {**failure, "reason": reason})
        else:
            outcome = {**first.user_attrs["outcome"], "seconds": 0.0, "compile_seconds": 0.0}
            self._tell(number, handle, outcome, None, first.user_attrs.get("rung"))

    def _tell(
        self,
        number: int,
        handle: Trial,
        outcome: dict[str, Any] | None,
        failure: dict[str, str] | None,
        rung: int | None = None,  # on which it was stopped
    ) -> None:
        if outcome is None:
            handle.set_user_attr("failure", failure)
            handle.study.tell(handle, state=TrialState.FAIL)
        else:
            handle.set_user_attr("outcome", outcome)
            values = fold_results.values(outcome)
            for name, text in self.config.constraints.items():
                if name not in handle.constraints:
                    handle.set_constraint(name, relative_violation(text, values[name]))
            if rung is None:
                handle.study.tell(handle, [values[name] for name in self.config.objectives])
            else:
                handle.set_user_attr("rung", rung)
                handle.study.tell(handle, state=TrialState.PRUNED)
        self._count(record(number, self._trial(number)))
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

    def _trial(self, number: int) -> FrozenTrial:
        is_outside = number < len(self.outside)
        found = trial_at(self.studies[1 if is_outside else 0], number if is_outside else number - len(self.outside))
        assert found is not None
        return found

    def _trials(self) -> list[FrozenTrial]:
        return [*self.studies[1].get_trials(deepcopy=False), *self.studies[0].get_trials(deepcopy=False)]


def _evaluation(design: Mapping[str, Any]) -> tuple[str, int | None]:
    """Return what an evaluation depends on: designs for which it is equal are evaluated once."""
    return design["key"], design.get("parent")


def _sampler(config: _Config, space: SearchSpace, n_inside: int, n_outside: int) -> tuple[_Config, BaseSampler]:
    """Return the sampler that a section names, and the section with no more trials than that has combinations."""
    known = space.distributions() if config.sampler in (*KNOWING, *EXHAUSTIVE) else None
    sampler = make_sampler(config.sampler, config.population, config.seed, known, n_inside)
    if known is not None and config.sampler in EXHAUSTIVE:
        all_of_them = size_of(known) + n_inside + n_outside
        config = config.model_copy(update={"trials": min(config.trials, all_of_them)})
    return config, sampler


def _open_workers(config: SearchConfig | TuneConfig, evaluate: str, log_directory: Path) -> Workers:
    minutes = config.trial_timeout_minutes
    seconds = None if minutes is None else 60 * minutes
    if config.workers == "auto" or isinstance(config.workers, int):
        return LocalWorkers(local_count(config.workers), evaluate, log_directory, seconds)
    from weft.search.workers.dask import open_dask

    minutes = config.worker_timeout_minutes
    return open_dask(config.workers, evaluate, log_directory, seconds, None if minutes is None else 60 * minutes)


def _all_failed(trials: Sequence[FrozenTrial], directory: Path) -> str:
    failures = [trial.user_attrs["failure"] for trial in trials if "failure" in trial.user_attrs]
    counted = collections.Counter(f"{failure['kind']}: {failure['reason']}" for failure in failures)
    reasons = "\n".join(f"  {count} x {reason}" for reason, count in counted.most_common(5))
    return (
        f"all {len(failures)} trials of the first generation failed, so the search stops:\n{reasons}\n"
        f"trials.csv and workers/*.log in {directory} say more; mend the cause and search in a new directory"
    )

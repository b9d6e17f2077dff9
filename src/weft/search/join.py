"""A search that many processes join by a shared Optuna storage: each asks, evaluates and tells by itself.

There is no coordinator: a process may come or go at any time, on any machine that reaches the database. A heartbeat
says that a trial's process lives; when it stops, the next process that looks marks the trial failed and enqueues its
parameters again, up to `attempts` times. At the end each process writes the whole search into its own run directory, as
the journal and the tables that a coordinator would have written, so all later stages go on from there.

What a trial draws depends on who finished before it, so the search repeats exactly with one process only.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import logging
import math
import os
import shutil
import socket
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.exceptions import DuplicatedStudyError, ExperimentalWarning, StorageInternalError, UpdateFinishedTrialError
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.storages._heartbeat import get_heartbeat_thread
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy import exc

from weft.config.sampler import EXHAUSTIVE
from weft.config.search import SearchConfig
from weft.errors import ConfigError, RunError, ToolNotFoundError
from weft.search import folds as fold_results
from weft.search._disk import writing
from weft.search._interrupt import Interrupts
from weft.search.baselines import sort_baselines
from weft.search.constraints import relative_violation
from weft.search.job import TRIALS, Job, Result, SearchSpace
from weft.search.journal import JOURNAL, Journal, Storage
from weft.search.results import SearchResults, collect
from weft.search.sampler import KNOWING, make_sampler, seed_of
from weft.search.study import OUTSIDE, SEARCH, directions_of, require_same
from weft.search.tables import write_tables
from weft.search.workers import LocalWorkers, Lost, Workers
from weft.types import Progress, no_progress

logger = logging.getLogger(__name__)

HEARTBEAT = 30
"""Seconds between two signs of life of a trial; one that gives none for four times as long is lost."""

CONNECT = 10
"""How long, in seconds, a database server may take to answer."""

LOST = {"kind": "crash", "reason": "its process was lost, or had not finished when the results were collected"}


def join(
    url: str,
    name: str,
    config: SearchConfig,
    space: SearchSpace,
    evaluate: str,
    directory: Path | str,
    *,
    folds: int = 1,
    baselines: Sequence[Mapping[str, Any]] = (),
    payload: Mapping[str, Any] | None = None,
    identity: Mapping[str, Any] | None = None,
    keep: Mapping[str, str] | None = None,
    compared: Sequence[str] = (),
    heartbeat: int = HEARTBEAT,
    workers: Workers | None = None,
    progress: Progress = no_progress,
) -> SearchResults:
    """Evaluate trials of a shared search until it has `config.trials`, and collect all of it into `directory`.

    A process that joins when nothing is left to do collects alone, and also makes the weights of the front that it
    cannot reach, by evaluating those designs again: the same job gives the same weights.

    Args:
        url: Of an Optuna RDB storage, such as postgresql://user@host/database.
        name: Of the shared study.
        config: As for `weft.search.coordinator.search`; the first process begins the study, all others must agree.
        space: Draws genotypes.
        evaluate: `"module:function"`.
        directory: The run directory of this process alone; the caller holds its lock.
        folds, baselines, payload, identity, keep, compared: As for `weft.search.coordinator.search`.
        heartbeat: Seconds between two signs of life.
        workers: Closed at the end; by default one process.
        progress: Called with trials finished, trials in all.

    Raises:
        ConfigError: the URL is none; or the search asks for what needs a coordinator.
        ToolNotFoundError: the database's driver is not installed.
        RunError: the database cannot be reached, or holds another search of this name.
    """
    directory = Path(directory).resolve()
    inside, outside = sort_baselines(space, baselines)
    optional = ("calibrate", "halving", "final", "inherit", "warm_start")
    asked = [f"search.{name}" for name in optional if getattr(config, name)]
    asked += ["search.vmap=always"] if config.vmap == "always" else []
    asked += [f"the sampler {config.sampler}"] if config.sampler in (*KNOWING, *EXHAUSTIVE) else []
    asked += [f"the baseline {dict(genotype)} outside the space" for genotype in outside]
    if asked:
        raise ConfigError(
            f"{asked[0]} needs a coordinator, and a joined search has none; leave it out, or do without --join"
        )
    if not (config.workers == "auto" or isinstance(config.workers, int)):
        raise ConfigError(
            "search.workers names a cluster, and a joined process trains by itself: set search.workers=auto, and start "
            "this command in as many jobs of the batch system as are to train; or do without --join"
        )
    fixed = ("objectives", "constraints", "sampler", "population", "seed", "epochs")
    keys = [space.key(genotype) for genotype in baselines]
    same = {**{key: getattr(config, key) for key in fixed}, "folds": folds, "baselines": keys, **(identity or {})}
    seconds = None if config.trial_timeout_minutes is None else 60 * config.trial_timeout_minutes
    minutes = math.inf if config.timeout_minutes is None else config.timeout_minutes
    deadline = time.monotonic() + 60 * minutes
    with (
        workers or LocalWorkers(1, evaluate, directory / "workers", seconds) as own,
        Interrupts() as interrupts,
        _reached(url),
    ):
        storage = _storage(url, heartbeat, config.attempts)
        try:
            study = _open(storage, f"the shared search '{name}' in {_hidden(url)}", name, config, same, inside)
            member = _Member(
                study, config, space, directory, folds, dict(payload or {}), dict(keep or {}), compared, deadline, own,
                interrupts,
            )  # fmt: skip
            evaluated = member.run(progress)
            results = _write(study, directory)
            member.fetch(results, make=not evaluated)
        finally:
            storage.remove_session()
            storage.engine.dispose()
    return results


@dataclasses.dataclass
class _Member:
    study: Study
    config: SearchConfig
    space: SearchSpace
    directory: Path
    folds: int
    payload: dict[str, Any]
    keep: dict[str, str]
    compared: Sequence[str]
    deadline: float  # by `time.monotonic`; no evaluation begins after it
    workers: Workers
    interrupts: Interrupts

    def run(self, progress: Progress) -> int:
        """Evaluate until the search has its trials, or the time is up; return how many were evaluated here."""
        mine = 0
        while True:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)
                optuna.storages.fail_stale_trials(self.study)
            trials = self.study.get_trials(deepcopy=False)
            finished = sum(_is_finished(trial) for trial in trials)
            progress(min(finished, self.config.trials), self.config.trials, f"{mine} of them here")
            if finished >= self.config.trials:
                return mine
            if time.monotonic() >= self.deadline:
                logger.info(
                    "the time is up with %d of %d trials; the same command goes on", finished, self.config.trials
                )
                return mine
            running = sum(trial.state == TrialState.RUNNING for trial in trials)
            waiting = any(trial.state == TrialState.WAITING for trial in trials)
            if not waiting and finished + running >= self.config.trials:
                with self.interrupts.waiting():  # others have the last ones; what they lose is done here
                    time.sleep(1.0)
                continue
            mine += self._try()

    def _try(self) -> bool:
        """Ask, evaluate and tell one trial; False where another process took it for lost meanwhile."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that heartbeats belong to `optimize`: here they do not
            trial = self.study.ask()
        try:
            with get_heartbeat_thread(trial._trial_id, self.study._storage):
                values = self._evaluate(trial)
            self.study.tell(trial, values, TrialState.FAIL if values is None else None)
        except KeyboardInterrupt:
            self.study.tell(trial, state=TrialState.FAIL)
            self.study.enqueue_trial(trial.params)
            raise
        except (UpdateFinishedTrialError, ValueError):
            if self.study._storage.get_trial(trial._trial_id).state == TrialState.RUNNING:
                raise
            logger.warning("trial %d gave no sign of life for so long that others took it for lost", trial.number)
            return False
        return True

    def fetch(self, results: SearchResults, make: bool) -> None:
        """Copy the weights of the front from where they can be reached; `make` the others by evaluating again."""
        trials = self.study.get_trials(deepcopy=False)
        front = {trial.number: trial for trial in (*results.front(), *results.front(self.keep))}
        for trial in front.values():
            place = Path(trials[trial.number].user_attrs["place"])
            for fold, path in enumerate(trial.weights):
                if path is None or (self.directory / path).exists():
                    continue
                if (place / path).exists():
                    with writing(self.directory / path):
                        (self.directory / path).parent.mkdir(parents=True, exist_ok=True)
                        shutil.copyfile(place / path, self.directory / path)
                elif make and time.monotonic() < self.deadline:
                    assert trial.key is not None and trial.genotype is not None
                    self._result(self._job(trial.number, trial.key, trial.genotype, fold))
        for found in (self.directory / TRIALS).glob("*"):
            if found.name not in map(str, front):
                shutil.rmtree(found)

    def _evaluate(self, trial: Trial) -> list[float] | None:
        _ = trial.relative_params  # gives the trial its generation, also where no parameter is drawn
        genotype = self.space.sample(trial)
        key = self.space.key(genotype)
        trial.set_user_attr("design", {"key": key, "genotype": genotype})
        first = next((one for one in self.study.get_trials(deepcopy=False) if _is_original(one, key)), None)
        if first is not None:
            trial.set_user_attr("duplicate_of", first.number)
            outcome = {**first.user_attrs["outcome"], "seconds": 0.0, "compile_seconds": 0.0}
        else:
            results = self._results(trial.number, key, genotype)
            failure = fold_results.failure(results)
            if failure is not None:
                trial.set_user_attr("failure", failure)
                return None
            outcome = fold_results.merge(results)
            paths = [None if path is None else os.path.relpath(path, self.directory) for path in outcome["weights"]]
            outcome["weights"] = paths
            trial.set_user_attr("place", str(self.directory))
        trial.set_user_attr("outcome", outcome)
        values = fold_results.values(outcome)
        for constraint, text in self.config.constraints.items():
            trial.set_constraint(constraint, relative_violation(text, values[constraint]))
        return [values[objective] for objective in self.config.objectives]

    def _results(self, number: int, key: str, genotype: Mapping[str, Any]) -> list[Result]:
        needed = (*self.config.objectives, *self.config.constraints, *self.keep, *self.compared)
        jobs = [self._job(number, key, genotype, fold) for fold in range(self.folds)]
        return [fold_results.refused(self._result(job), needed) for job in jobs]

    def _job(self, number: int, key: str, genotype: Mapping[str, Any], fold: int) -> Job:
        return Job(
            number=number,
            key=key,
            genotype=dict(genotype),
            seed=seed_of(self.config.seed, key, fold),
            fold=fold,
            n_folds=self.folds,
            epochs=self.config.epochs,
            directory=str(self.directory / TRIALS / str(number) / f"fold{fold}"),
            payload=self.payload,
        )

    def _result(self, job: Job) -> Result:
        """Evaluate one job; a process that dies is replaced, as often as `attempts` says."""
        attempts, reason = self.config.attempts, ""
        for attempt in range(1, attempts + 1):
            with writing(job.directory):
                shutil.rmtree(job.directory, ignore_errors=True)
                Path(job.directory).mkdir(parents=True)
            self.workers.start(job)
            with self.interrupts.waiting():
                ((_, reply),) = self.workers.wait()
            if not isinstance(reply, Lost):
                return reply
            reason = f"{reply.reason}; attempt {attempt} of {attempts}"
            logger.warning("trial %d, fold %d: %s", job.number, job.fold, reason)
        return Result(job.number, job.fold, error=reason, error_kind="crash")


def _is_finished(trial: FrozenTrial) -> bool:
    """Whether a trial has numbers or a reason for none; one whose process was lost has neither."""
    return trial.state == TrialState.COMPLETE or (trial.state == TrialState.FAIL and "failure" in trial.user_attrs)


def _is_original(trial: FrozenTrial, key: str) -> bool:
    attrs = trial.user_attrs
    return trial.state == TrialState.COMPLETE and "duplicate_of" not in attrs and attrs["design"]["key"] == key


def _open(
    storage: RDBStorage,
    what: str,
    name: str,
    config: SearchConfig,
    identity: Mapping[str, Any],
    inside: Sequence[Mapping[str, Any]],
) -> Study:
    """Begin the shared study, or load the one that another process has begun; `what` names it in errors."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler = make_sampler(config.sampler, config.population, config.seed)
    try:
        study = optuna.create_study(
            study_name=name, storage=storage, sampler=sampler, directions=directions_of(config.objectives)
        )
    except DuplicatedStudyError:
        study = optuna.load_study(study_name=name, storage=storage, sampler=sampler)
        deadline = time.monotonic() + 2 * CONNECT
        while "identity" not in study.user_attrs:
            if time.monotonic() > deadline:
                raise RunError(
                    f"{what} was begun by a process that was killed at once; "
                    f"remove it with 'optuna delete-study --study-name {name} --storage URL', and begin again"
                ) from None
            time.sleep(0.5)
        require_same(what, study, identity)
        return study
    for params in inside:
        study.enqueue_trial(dict(params))
    study.set_user_attr("identity", dict(identity))
    return study


def _storage(url: str, heartbeat: int, attempts: int) -> RDBStorage:
    try:
        parsed = sqlalchemy.make_url(url)
    except exc.ArgumentError as error:
        raise ConfigError(
            f"--join: {url!r} is no URL of a database; write postgresql://USER:PASSWORD@HOST/DATABASE"
        ) from error
    options: dict[str, Any] = {"pool_pre_ping": True}  # a server that was restarted is connected to again
    if parsed.drivername in ("postgresql", "postgresql+psycopg"):
        if importlib.util.find_spec("psycopg") is None:
            raise ToolNotFoundError(
                "--join postgresql:// needs the package 'psycopg', which is not installed: pip install 'weft[cluster]'"
            )
        parsed = parsed.set(drivername="postgresql+psycopg")
        options["connect_args"] = {"connect_timeout": CONNECT}
    for attempt in range(1, 11):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)
                return RDBStorage(
                    parsed.render_as_string(hide_password=False),
                    engine_kwargs=options,
                    heartbeat_interval=heartbeat,
                    grace_period=4 * heartbeat,
                    heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(max_retry=attempts - 1),
                )
        except exc.DatabaseError as error:
            same_time = isinstance(error, (exc.IntegrityError, exc.ProgrammingError))
            if attempt == 10 or not (same_time or "already exists" in str(error.orig)):
                raise
            time.sleep(0.5)  # processes that make the tables at the same time
    raise AssertionError


@contextlib.contextmanager
def _reached(url: str) -> Iterator[None]:
    """Turn the errors of a database into a message."""
    try:
        yield
    except (exc.SQLAlchemyError, StorageInternalError) as error:
        reason = (
            str(getattr(error.__cause__ or error, "orig", None) or error.__cause__ or error).strip().splitlines()[0]
        )
        raise RunError(
            f"the database {_hidden(url)} of --join failed: {reason}; see that its server runs and that this machine "
            "may connect, then start the same command again: what is finished is kept"
        ) from error


def _hidden(url: str) -> str:
    return sqlalchemy.make_url(url).render_as_string(hide_password=True)


def _write(study: Study, directory: Path) -> SearchResults:
    """Write the shared study into a run directory, as a coordinator would have left it."""
    path, fresh = directory / JOURNAL, directory / f"{JOURNAL}.new"
    trials = study.get_trials(deepcopy=False)
    with writing(path):
        fresh.unlink(missing_ok=True)
        storage = Storage(Journal(fresh, alone=True))
    made = [
        optuna.create_study(study_name=name, storage=storage, directions=study.directions) for name in (SEARCH, OUTSIDE)
    ]
    made[0].set_user_attr("identity", study.user_attrs["identity"])
    made[0].set_user_attr("generation", [0, len(trials)])
    for trial in trials:
        if not _is_finished(trial):
            attrs = {**trial.user_attrs, "failure": LOST}
            trial = optuna.trial.create_trial(
                state=TrialState.FAIL, params=trial.params, distributions=trial.distributions, user_attrs=attrs
            )
        made[0].add_trial(trial)
    with writing(path):
        fresh.replace(path)
    results = collect(made[0], made[1])
    write_tables(directory, results)
    return results


def place_of_this_process() -> str:
    """Return what tells the run directories of joined processes apart."""
    return f"-{socket.gethostname().split('.')[0]}-{os.getpid()}"

"""A search that several processes join by a database: here SQLite, with a real PostgreSQL in `tests/cluster`."""

import importlib.util
import json
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import optuna
import pytest

from weft.config.search import SearchConfig
from weft.errors import ConfigError, RunError, ToolNotFoundError
from weft.search import join as joining
from weft.search.join import join
from weft.search.results import read
from weft.search.workers import InlineWorkers

from . import toy
from .helpers import EVALUATE, SETTINGS, run, tables


def joined(
    url,
    directory,
    inline=True,
    baselines=(),
    payload=None,
    heartbeat=30,
    name="toy",
    identity=None,
    keep=None,
    compared=(),
    **settings,
):
    """Join the toy search, with evaluations in this process or in one of their own."""
    directory.mkdir(parents=True, exist_ok=True)
    return join(
        url,
        name,
        SearchConfig(**{**SETTINGS, **settings}),
        toy.ToySpace(),
        EVALUATE,
        directory,
        baselines=baselines,
        payload=payload,
        identity=identity,
        keep=keep,
        compared=compared,
        heartbeat=heartbeat,
        workers=InlineWorkers(EVALUATE) if inline else None,
    )


def begin(url, directory, **arguments) -> subprocess.Popen:
    """Join in a process of its own."""
    code = (
        "import importlib, json, pathlib, sys; "
        "sys.path[:], module, url, directory, arguments = json.loads(sys.argv[1]); "
        "importlib.import_module(module).joined(url, pathlib.Path(directory), inline=False, **arguments)"
    )
    argument = json.dumps([sys.path, __name__, url, str(directory), arguments])
    return subprocess.Popen([sys.executable, "-c", code, argument], stderr=subprocess.PIPE, process_group=0)


def kill_one_of(count, url, tmp_path, trials, heartbeat=1):
    """Let `count` processes search, kill the first with -9 in the middle of a trial; return what a late one finds."""
    settings = {"trials": trials, "payload": {"sleep": 0.4}, "heartbeat": heartbeat}
    processes = [begin(url, tmp_path / str(number), **settings) for number in range(count)]
    deadline = time.monotonic() + 60
    while not list((tmp_path / "0" / "trials").glob("*/fold0")) and time.monotonic() < deadline:
        time.sleep(0.02)
    processes[0].send_signal(signal.SIGKILL)
    for number, process in enumerate(processes):
        _, said = process.communicate(timeout=120)
        assert process.returncode == (0 if number else -signal.SIGKILL), said.decode()
    return joined(url, tmp_path / "late", **{**settings, "payload": None})


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/shared.db"


def test_one_process_alone_repeats_itself(tmp_path, url):
    first = joined(url, tmp_path / "one", baselines=[{"a": 3, "b": 4}])
    joined(f"sqlite:///{tmp_path}/other.db", tmp_path / "two", baselines=[{"a": 3, "b": 4}])
    assert tables(tmp_path / "one") == tables(tmp_path / "two")
    assert len(first.trials) == 12 and first.trials[0].genotype == {"a": 3, "b": 4}
    again = {trial.key for trial in first.trials if trial.duplicate_of is not None}
    assert len(first.evaluated) == len({trial.key for trial in first.trials}) and again


def test_one_that_is_killed_loses_nothing_and_any_other_collects_all(tmp_path, url):
    results = kill_one_of(2, url, tmp_path, trials=8)
    lost = [trial for trial in results.trials if trial.state == "failed"]
    assert [trial.reason for trial in lost] == [joining.LOST["reason"]]
    assert sum(trial.state == "complete" for trial in results.trials) >= 8
    assert lost[0].params in [trial.params for trial in results.trials if trial.state == "complete"]
    for directory in ("1", "late"):
        assert read(tmp_path / directory) == results
        weights = [tmp_path / directory / path for trial in results.front() for path in trial.weights]
        assert weights and all(path.exists() for path in weights)
    assert tables(tmp_path / "1") == tables(tmp_path / "late")


def test_processes_that_come_first_at_the_same_time_share_the_tables(url):
    with ThreadPoolExecutor(6) as pool:
        storages = list(pool.map(lambda _: joining._storage(url, 30, 3), range(6)))
    storages[0].create_new_study([optuna.study.StudyDirection.MINIMIZE], "one")
    assert [storage.get_study_id_from_name("one") for storage in storages] == [1] * 6
    for storage in storages:
        storage.remove_session()
        storage.engine.dispose()


def test_a_collected_search_is_one_that_has_ended(tmp_path, url):
    space = toy.ToySpace()
    joined(url, tmp_path / "run", identity={"space": 1})
    before = tables(tmp_path / "run")
    from weft.search.coordinator import search

    config = SearchConfig(**SETTINGS)
    search(config, space, "no_module:here", tmp_path / "run", identity={"space": 1}, workers=NoWorkers())
    assert tables(tmp_path / "run") == before


class NoWorkers(InlineWorkers):
    """Nothing may be evaluated."""

    def __init__(self):
        self._job = None

    def start(self, job):
        raise AssertionError(job)


def test_weights_out_of_reach_are_made_again(tmp_path, url):
    results = joined(url, tmp_path / "one")
    (tmp_path / "one").rename(tmp_path / "elsewhere")
    joined(url, tmp_path / "two")
    paths = [path for trial in results.front() for path in trial.weights]
    assert paths
    for path in paths:
        assert (tmp_path / "two" / path).read_bytes() == (tmp_path / "elsewhere" / path).read_bytes()
    kept = {path.name for path in (tmp_path / "two" / "trials").iterdir()}
    assert kept == {str(trial.number) for trial in results.front()}


def test_weights_that_the_selection_may_pick_are_kept_and_fetched(tmp_path, url):
    keep = {"latency_cycles": "<= 3"}
    for name in ("one", "two"):  # the second fetches them
        results = joined(url, tmp_path / name, trials=30, keep=keep, constraints={})
        chosen = {trial.number for trial in results.front(keep)}
        assert chosen - {trial.number for trial in results.front()}
        weights = [tmp_path / name / path for number in chosen for path in results.trials[number].weights]
        assert all(path.exists() for path in weights)


def test_a_design_without_what_the_selection_compares_fails_with_the_reason(tmp_path, url):
    first = {"baselines": [{"a": 3, "b": 4}], "payload": {"actions": {"3-4": "no_lut"}}}
    first |= {"objectives": ["accuracy"], "constraints": {}}
    results = joined(url, tmp_path, trials=2, compared=("lut",), **first)
    assert results.trials[0].reason == "lut has no value: the solver gave up"
    assert joined(url, tmp_path, trials=2, name="other", **first).trials[0].state == "complete"


def test_a_poisoned_trial_fails_with_its_reason_and_alone(tmp_path, url):
    payload = {"actions": {"3-4": "kill"}}
    results = joined(url, tmp_path, inline=False, trials=3, attempts=2, payload=payload, baselines=[{"a": 3, "b": 4}])
    assert [trial.state for trial in results.trials] == ["failed", "complete", "complete"]
    assert results.trials[0].reason.startswith("worker killed by SIGKILL")
    assert results.trials[0].reason.endswith("attempt 2 of 2")


def test_a_trial_that_was_given_to_another_is_left_to_it(tmp_path, url, monkeypatch, caplog):
    """As after a machine was suspended: the trial is failed as lost while it is evaluated here."""
    evaluate = joining._Member._evaluate
    slept = []

    def suspended(self, trial):
        values = evaluate(self, trial)
        if not slept:
            slept.append(trial.number)
            self.study._storage.set_trial_state_values(trial._trial_id, optuna.trial.TrialState.FAIL)
        return values

    monkeypatch.setattr(joining._Member, "_evaluate", suspended)
    results = joined(url, tmp_path, trials=4)
    assert sum(trial.state == "complete" for trial in results.trials) == 4 and results.trials[0].state == "failed"
    assert "trial 0 gave no sign of life for so long that others took it for lost" in caplog.text


def test_another_search_of_the_same_name_is_refused(tmp_path, url):
    joined(url, tmp_path, trials=2)
    with pytest.raises(RunError, match=r"cannot go on with the shared search 'toy' in .*: seed was 3 and is now 4"):
        joined(url, tmp_path, trials=2, seed=4)
    joined(url, tmp_path / "other", trials=2, seed=4, name="other")


def test_a_study_whose_beginning_was_killed_is_named(tmp_path, url, monkeypatch):
    monkeypatch.setattr(joining, "CONNECT", 0.2)
    optuna.create_study(storage=url, study_name="toy", directions=["maximize", "minimize"])
    with pytest.raises(RunError, match=r"'toy' in sqlite:.* was begun by a process that was killed at once; "):
        joined(url, tmp_path)


@pytest.mark.skipif(importlib.util.find_spec("psycopg") is None, reason="needs psycopg")
def test_a_server_that_does_not_answer_is_an_error_without_the_password(tmp_path):
    begun = time.monotonic()
    with pytest.raises(RunError, match=r"the database postgresql://me:\*\*\*@127.0.0.1:9/x of --join failed: .*ref"):
        joined("postgresql://me:secret@127.0.0.1:9/x", tmp_path)
    assert time.monotonic() - begun < 15


def test_a_missing_driver_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(joining.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ToolNotFoundError, match=r"needs the package 'psycopg', .* pip install 'weft\[cluster\]'"):
        joined("postgresql://host/x", tmp_path)


def test_what_is_no_url_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"--join: 'host' is no URL of a database; write postgresql://USER:PASSWORD@"):
        joined("host", tmp_path)


def test_what_needs_a_coordinator_is_refused(tmp_path, url):
    with pytest.raises(ConfigError, match=r"the baseline {'a': 9, 'b': 9} outside the space needs a coordinator"):
        joined(url, tmp_path, baselines=[{"a": 9, "b": 9}])
    with pytest.raises(ConfigError, match=r"search.final needs a coordinator, and a joined search has none; leave it"):
        joined(url, tmp_path, final={"seeds": 2})
    with pytest.raises(ConfigError, match=r"the sampler grid needs a coordinator"):
        joined(url, tmp_path, sampler="grid")
    with pytest.raises(ConfigError, match=r"search.calibrate needs a coordinator"):
        joined(url, tmp_path, calibrate={"every": 2})


@pytest.mark.parametrize("workers", ["dask://a:1", {"cluster": "slurm", "jobs": 2}])
def test_workers_on_a_cluster_are_refused_with_what_to_do_instead(tmp_path, url, workers):
    with pytest.raises(
        ConfigError, match=r"search.workers names a cluster, .* set search.workers=auto, and start this"
    ):
        joined(url, tmp_path, workers=workers)


def test_one_whose_time_is_up_ends_with_what_is_there_and_any_goes_on(tmp_path, url):
    begun = time.monotonic()
    baselines = [{"a": number, "b": 4} for number in range(5)]
    settings = {"baselines": baselines, "trials": 9}
    results = joined(url, tmp_path / "one", payload={"sleep": 0.4}, timeout_minutes=1 / 60, **settings)
    assert time.monotonic() - begun < 6
    done = [trial for trial in results.trials if trial.state == "complete"]
    assert 1 <= len(done) <= 4 and {trial.reason for trial in results.trials[len(done) :]} == {joining.LOST["reason"]}
    assert all((tmp_path / "one" / path).exists() for trial in results.front() for path in trial.weights)
    assert len(joined(url, tmp_path / "two", **settings).evaluated) >= 5


def test_weights_are_not_made_again_when_the_time_is_up(tmp_path, url):
    joined(url, tmp_path / "one")
    (tmp_path / "one").rename(tmp_path / "elsewhere")
    joined(url, tmp_path / "two", timeout_minutes=1e-9)
    assert not list((tmp_path / "two" / "trials").glob("*"))


def test_an_interrupt_gives_the_trial_back(tmp_path, url):
    process = begin(url, tmp_path / "one", trials=3, payload={"sleep": 30})
    deadline = time.monotonic() + 60
    while not list((tmp_path / "one" / "trials").glob("*/fold0")) and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    study = optuna.load_study(storage=url, study_name="toy")
    assert [trial.state.name for trial in study.trials] == ["FAIL", "WAITING"]
    results = joined(url, tmp_path / "two", trials=3)
    assert results.trials[1].params == study.trials[0].params and len(results.evaluated) >= 2
    run(tmp_path / "alone", trials=3)

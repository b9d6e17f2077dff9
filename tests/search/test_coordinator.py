import collections
import csv
import json
import re
import time
from pathlib import Path

import pytest

from weft.config.search import SearchConfig
from weft.config.select import SelectConfig
from weft.errors import ConfigError, RunError
from weft.search.coordinator import search
from weft.search.results import read
from weft.search.select import select
from weft.search.workers import InlineWorkers

from . import toy
from .helpers import EVALUATE, run, tables


def rows(directory, name="trials.csv"):
    with open(Path(directory) / name, newline="") as handle:
        return list(csv.DictReader(handle))


@pytest.mark.parametrize("sampler", ["nsga2", "random", "tpe"])
def test_the_number_of_workers_does_not_change_the_result(tmp_path, sampler):
    counts = ["inline", 1, 2] if sampler == "nsga2" else ["inline", 2]
    for workers in counts:
        found = run(tmp_path / str(workers), workers=workers, folds=2, sampler=sampler, payload={"sleep": 0.002})
        assert found.status == "finished"
        assert tables(tmp_path / str(workers)) == tables(tmp_path / "inline")


@pytest.mark.parametrize("sampler", ["nsga2", "random", "tpe"])
def test_the_seed_changes_the_result(tmp_path, sampler):
    for seed in (1, 2):
        run(tmp_path / str(seed), toy.FloatSpace(), sampler=sampler, seed=seed)
    assert tables(tmp_path / "1") != tables(tmp_path / "2")


@pytest.mark.parametrize("sampler", ["nsga2", "random"])
def test_a_search_that_is_given_more_trials_goes_on_as_if_it_had_not_stopped(tmp_path, sampler):
    run(tmp_path / "whole", toy.FloatSpace(), sampler=sampler, trials=14)
    for trials in (3, 6, 6, 14):
        run(tmp_path / "parts", toy.FloatSpace(), sampler=sampler, trials=trials)
    assert tables(tmp_path / "parts") == tables(tmp_path / "whole")


def test_genetic_search_beats_random_search(tmp_path):
    volumes = {}
    for sampler in ("nsga2", "random"):
        results = [
            run(tmp_path / f"{sampler}{seed}", toy.FloatSpace(), sampler=sampler, trials=60, population=10, seed=seed)
            for seed in range(2)
        ]
        box = {"reference": {"accuracy": 0.0, "lut": 880.0}, "ideal": {"accuracy": 1.0, "lut": 0.0}}
        volumes[sampler] = [found.results.hypervolume(**box).value for found in results]
    assert sum(volumes["nsga2"]) > sum(volumes["random"])


def test_each_design_is_evaluated_once_and_duplicates_share_its_numbers(tmp_path):
    run(tmp_path, folds=2, trials=40, payload={"marks": str(tmp_path)})
    evaluated = (tmp_path / "evaluated").read_text().splitlines()
    assert len(evaluated) == len(set(evaluated))
    trials = read(tmp_path).trials
    by_key = collections.defaultdict(list)
    for trial in trials:
        by_key[trial.key].append(trial)
    assert len(evaluated) == 2 * len(by_key) < 2 * len(trials)
    for first, *others in by_key.values():
        assert first.duplicate_of is None
        for other in others:
            assert other.duplicate_of == first.number
            assert (other.metrics, other.costs, other.weights) == (first.metrics, first.costs, first.weights)
            assert other.violations == first.violations and other.seconds == 0


def test_baselines_come_first_and_one_inside_the_space_becomes_a_parent(tmp_path):
    results = run(tmp_path).results
    assert [trial.key for trial in results.trials[:2]] == ["9-9", "3-4"]  # outside the space, then inside
    assert results.trials[0].params == {} and results.trials[0].metrics
    from weft.search.study import open_to_read

    search_study, outside = open_to_read(tmp_path)
    assert len(outside.trials) == 1
    generations = [trial.system_attrs["NSGAIISampler:generation"] for trial in search_study.trials]
    assert generations == [0] * 4 + [1] * 4 + [2] * 3


def test_a_generation_is_asked_for_before_any_of_it_is_told(tmp_path):
    run(tmp_path)
    operations = [json.loads(line) for line in (tmp_path / "study.journal").read_text().splitlines()]
    finished, created = set(), []
    for operation in operations:
        if operation["op_code"] == 4 and operation["study_id"] == 0:
            created.append(len(finished))
        elif operation["op_code"] == 6 and operation["state"] == 1:
            finished.add(operation["trial_id"])
    assert created == [0] * 4 + [5] * 4 + [9] * 3  # with the baseline outside the space


def test_a_failed_generation_is_filled_up(tmp_path):
    results = run(tmp_path, payload={"actions": {"3-4": "raise"}}).results
    assert sum(trial.state == "failed" for trial in results.trials) >= 1
    from weft.search.study import open_to_read

    complete = [trial for trial in open_to_read(tmp_path)[0].trials if trial.state.name == "COMPLETE"]
    assert [trial.system_attrs["NSGAIISampler:generation"] for trial in complete][:8] == [0] * 4 + [1] * 4


@pytest.mark.parametrize(
    ("action", "kind", "reason"),
    [
        ("raise", "crash", "ValueError: design 3-4 is not to my taste"),
        ("diverge", "diverged", "the loss is nan in epoch 2"),
        ("unsupported", "unsupported", "no such activation"),
        ("nan", "diverged", "accuracy is nan"),
        ("no_lut", "unsupported", "lut has no value: the solver gave up"),
    ],
)
def test_a_trial_without_numbers_fails_with_its_reason(tmp_path, action, kind, reason):
    run(tmp_path, payload={"actions": {"3-4": action}})
    row = rows(tmp_path)[1]
    assert (row["state"], row["error_kind"], row["reason"]) == ("failed", kind, reason)
    assert row["accuracy"] == row["lut"] == row["violation"] == row["feasible"] == ""
    assert not (tmp_path / "trials" / "1").exists()
    assert read(tmp_path).summary()["failed"] >= 1


def test_a_design_without_what_the_selection_compares_fails_with_the_reason(tmp_path):
    settings = {"objectives": ["accuracy"], "constraints": {}, "payload": {"actions": {"3-4": "no_lut"}}}
    assert run(tmp_path / "alone", **settings).results.trials[1].state == "complete"
    rule = SelectConfig(rule="cheapest", cost="lut")
    results = run(tmp_path / "chosen", compared=rule.compared, **settings).results
    assert (results.trials[1].error_kind, results.trials[1].reason) == (
        "unsupported",
        "lut has no value: the solver gave up",
    )
    assert select(results, rule)


def test_a_duplicate_of_a_failed_trial_fails_with_the_same_reason(tmp_path):
    class Twice(toy.ToySpace):
        def sample(self, trial):
            drawn = super().sample(trial)
            return {"a": 3, "b": 4} if drawn["a"] > 3 else drawn

    found = run(tmp_path, Twice(), payload={"actions": {"3-4": "diverge"}}, trials=20).results
    failed = [trial for trial in found.trials if trial.key == "3-4"]
    assert len(failed) > 1 and {trial.state for trial in failed} == {"failed"}
    assert {trial.duplicate_of for trial in failed} == {None, failed[0].number}
    expected = f"same design as trial {failed[0].number}, which failed: the loss is nan in epoch 2"
    assert {trial.reason for trial in failed[1:]} == {expected}


def test_with_folds_the_reason_names_the_fold(tmp_path):
    run(tmp_path, folds=3, payload={"actions": {"3-4": "diverge"}})
    assert rows(tmp_path)[1]["reason"] == "fold 0: the loss is nan in epoch 2"


def test_a_job_whose_worker_is_killed_is_tried_again(tmp_path):
    marks = tmp_path / "marks"
    marks.mkdir()
    run(tmp_path / "killed", workers=2, payload={"actions": {"3-4": "kill once"}, "marks": str(marks)})
    assert (marks / "3-4").exists()
    run(tmp_path / "calm")
    assert tables(tmp_path / "killed") == tables(tmp_path / "calm")


@pytest.mark.parametrize(
    ("action", "reason"),
    [
        ("kill", r"worker killed by SIGKILL \(the system does this when memory runs out\); attempt 2 of 2"),
        ("exit", r"worker exited with code 3; its last words: giving up; attempt 2 of 2"),
    ],
)
def test_a_job_that_kills_its_workers_fails_after_the_last_attempt(tmp_path, action, reason):
    run(tmp_path, workers=1, attempts=2, payload={"actions": {"3-4": action}})
    row = rows(tmp_path)[1]
    assert (row["state"], row["error_kind"]) == ("failed", "crash")
    assert re.fullmatch(reason, row["reason"])
    assert sum(row["state"] == "complete" for row in rows(tmp_path)) >= 9


def test_a_first_generation_without_numbers_stops_the_search_and_says_why(tmp_path):
    actions = {"*": "raise", "3-4": "diverge"}
    for _ in range(2):  # the same again on resume
        with pytest.raises(RunError, match=r"(?s)all 5 trials of the first generation failed.*1 x diverged: the loss"):
            run(tmp_path, payload={"actions": actions})
    assert [row["state"] for row in rows(tmp_path)] == ["failed"] * 5


def test_a_full_disk_in_a_worker_stops_the_search_and_fails_no_trial(tmp_path):
    for workers in ("inline", 1):
        with pytest.raises(RunError, match=r"could not write the results of trial 1 .*No space left.*what is finished"):
            run(tmp_path / str(workers), workers=workers, payload={"actions": {"3-4": "full"}})
        run(tmp_path / str(workers), workers=workers)
        assert {row["state"] for row in rows(tmp_path / str(workers))} == {"complete"}


def test_an_evaluation_that_cannot_be_imported_stops_the_search(tmp_path):
    for workers in ("inline", 1):
        with pytest.raises(RunError, match=r"cannot import the evaluation 'no_such:thing': ModuleNotFoundError"):
            run(tmp_path, workers=workers, evaluate="no_such:thing")


def test_an_evaluation_that_returns_no_result_fails(tmp_path):
    with pytest.raises(RunError, match=r"5 x crash: TypeError: the evaluation returned NoneType, not a weft"):
        run(tmp_path, evaluate=f"{toy.__name__}:returns_none")


def test_weights_outside_the_directory_of_the_job_are_refused(tmp_path):
    with pytest.raises(RunError, match=r"stored its weights as /elsewhere/w, where the search cannot remove them"):
        run(tmp_path, evaluate=f"{toy.__name__}:stores_elsewhere")


def test_weights_are_kept_for_the_front_alone(tmp_path):
    results = run(tmp_path, folds=2, trials=24).results
    front = {trial.number for trial in results.front()}
    assert {int(path.name) for path in (tmp_path / "trials").iterdir()} == front
    for trial in results.front():
        contents = [(tmp_path / path).read_text() for path in trial.weights]
        assert contents == [f"{trial.key} 0", f"{trial.key} 1"]
    duplicates = [trial for trial in results.trials if trial.duplicate_of in front]
    assert duplicates and all((tmp_path / trial.weights[0]).exists() for trial in duplicates)


def test_workers_are_told_a_directory_that_does_not_depend_on_theirs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    told = []

    class Elsewhere(InlineWorkers):
        def start(self, job):
            told.append(Path(job.directory))
            super().start(job)

    config = SearchConfig(trials=2, population=2, objectives=["accuracy"])
    results = search(config, toy.ToySpace(), EVALUATE, "runs/a", workers=Elsewhere(EVALUATE)).results
    assert told and all(path.is_absolute() and path.is_relative_to(tmp_path / "runs" / "a") for path in told)
    assert results.front()[0].weights == (f"trials/{results.front()[0].number}/fold0/weights.txt",)
    assert (tmp_path / "runs" / "a" / results.front()[0].weights[0]).exists()


def test_weights_that_the_selection_may_pick_are_kept_too(tmp_path):
    keep = {"latency_cycles": "<= 3"}
    results = run(tmp_path, trials=30, keep=keep, constraints={}).results
    kept = {int(path.name) for path in (tmp_path / "trials").iterdir()}
    assert kept == {trial.number for trial in (*results.front(), *results.front(keep))}
    assert kept > {trial.number for trial in results.front()}
    picked = select(results, SelectConfig(count=9, constraints=keep))
    assert {selection.number for selection in picked} <= kept
    assert all(results.trials[selection.number].value("latency_cycles") <= 3 for selection in picked)


def test_a_search_whose_time_is_up_goes_on_later(tmp_path):
    run(tmp_path / "whole", folds=2)
    begun = time.monotonic()
    found = run(tmp_path / "parts", folds=2, payload={"sleep": 0.1}, timeout_minutes=0.35 / 60)
    assert found.status == "timeout" and time.monotonic() - begun < 2.0
    done = sum(trial.state != "running" for trial in found.results.trials)
    assert 1 <= done < 12 and len(rows(tmp_path / "parts")) == len(found.results.trials)
    assert run(tmp_path / "parts", folds=2).status == "finished"
    assert tables(tmp_path / "parts") == tables(tmp_path / "whole")


def test_progress_counts_trials_and_names_the_best(tmp_path):
    seen = []
    search(
        SearchConfig(trials=6, population=3, objectives=["accuracy", "lut"], constraints={"lut": "<= 500"}),
        toy.ToySpace(),
        EVALUATE,
        tmp_path,
        baselines=[{"a": 7, "b": 7}, {"a": 4, "b": 5}],
        workers=InlineWorkers(EVALUATE),
        progress=lambda *call: seen.append(call),
    )
    assert [(done, total) for done, total, _ in seen] == [(n, 6) for n in range(1, 7)]
    assert seen[0][2] == "no feasible design yet"
    assert seen[1][2].startswith("best accuracy 0.9") and seen[1][2].endswith("(trial 1)")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"population": 5}, "population was 4 and is now 5; put the old value back"),
        ({"objectives": ["accuracy", "latency_cycles"]}, "objectives was"),
        ({"folds": 2}, "folds was 1 and is now 2"),
        ({"seed": 4, "epochs": 9}, "seed was 3 and is now 4, epochs was 5 and is now 9"),
    ],
)
def test_another_search_in_the_same_directory_is_refused(tmp_path, change, message):
    run(tmp_path)
    with pytest.raises(RunError, match=message):
        run(tmp_path, **change)
    run(tmp_path, trials=13, attempts=1, timeout_minutes=9.0)  # these may change


def test_the_callers_identity_is_compared_too(tmp_path):
    config = SearchConfig(trials=2, population=2, objectives=["accuracy"])
    for identity, fits in (({"data": "x"}, True), ({"data": "x"}, True), ({"data": "y"}, False)):
        arguments = (config, toy.ToySpace(), EVALUATE, tmp_path)
        if fits:
            search(*arguments, identity=identity, workers=InlineWorkers(EVALUATE))
        else:
            with pytest.raises(RunError, match="data was 'x' and is now 'y'"):
                search(*arguments, identity=identity, workers=InlineWorkers(EVALUATE))


def test_a_baseline_that_the_space_mistakes_is_refused(tmp_path):
    class Mistaken(toy.ToySpace):
        def params_of(self, genotype):
            return {"a": genotype["b"], "b": genotype["a"]}

    config = SearchConfig(trials=2, population=2, objectives=["accuracy"])
    with pytest.raises(ConfigError, match=r"the space turns the baseline \{'a': 1, 'b': 2\} into another network"):
        search(config, Mistaken(), EVALUATE, tmp_path, baselines=[{"a": 1, "b": 2}])


def test_one_objective_is_enough(tmp_path):
    results = run(tmp_path, objectives=["accuracy"], constraints={}, trials=30).results
    (best, *ties) = results.front()
    assert best.value("accuracy") == max(trial.value("accuracy") for trial in results.evaluated)
    assert not ties


def test_the_coordinator_may_run_outside_the_main_thread(tmp_path):
    import threading

    errors = []

    def work():
        try:
            run(tmp_path, workers=1)
        except BaseException as error:  # noqa: BLE001  # it must reach the test's own thread
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert not errors and len(read(tmp_path).trials) == 12

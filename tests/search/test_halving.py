"""Successive halving: who goes on, what is evaluated with how much, and that a killed search judges the same."""

from __future__ import annotations

import collections
import csv
from itertools import product

import numpy as np
import pytest
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from weft.config import loads
from weft.config.fidelity import Fidelity, HalvingConfig
from weft.data import Split
from weft.errors import ConfigError, RunError
from weft.search.evaluate import some_rows
from weft.search.front import ranks
from weft.search.halving import crowding, order, promoted
from weft.search.results import read
from weft.search.study import open_to_read

from . import toy
from .helpers import run, tables
from .test_front import populations
from .test_kill import Killed, kill_at

HALVING = {"factor": 3, "rungs": 2}
LEARNING = {"learning": 9}


def halved(directory, space=None, **more):
    """Search with two rungs: 3 and 9 epochs; little training says less."""
    settings = {"epochs": 9, "halving": HALVING, "trials": 26, "population": 4, **more}
    payload = {**LEARNING, **settings.pop("payload", {})}
    return run(directory, space, payload=payload, **settings).results


@given(arrays(float, st.tuples(st.integers(1, 9), st.integers(1, 3)), elements=st.integers(-9, 9).map(float)))
def test_crowding_distances_are_those_of_optuna(losses):
    from optuna.samplers.nsgaii._elite_population_selection_strategy import _calc_crowding_distance
    from optuna.trial import create_trial

    assume(all(len(set(column)) == len(column) or len(set(column)) == 1 for column in losses.T))  # ties have no order
    trials = [create_trial(values=list(row)) for row in losses]
    for number, trial in enumerate(trials):
        trial.number = number
    theirs = _calc_crowding_distance(trials)
    np.testing.assert_allclose(crowding(losses), [theirs[number] for number in range(len(losses))])


@given(populations(), st.integers(2, 5))
def test_no_one_goes_on_before_a_better_rank(population, factor):
    losses, violations = population
    ahead = promoted(losses, violations, factor)
    assert len(ahead) == -(-len(losses) // factor) and list(ahead) == sorted(set(ahead))
    rank = ranks(losses, violations)
    behind = np.setdiff1d(np.arange(len(losses)), ahead)
    assert not len(behind) or rank[ahead].max() <= rank[behind].min()


def test_of_one_rank_the_isolated_go_on_and_the_infeasible_come_last():
    front = [[0.0, 9.0], [4.0, 4.0], [4.1, 3.9], [9.0, 0.0], [7.0, 2.0]]
    assert list(order(front, np.zeros(5))) == [0, 3, 1, 4, 2]
    assert list(promoted(front, [0, 0, 0.2, 0.1, 0], 2)) == [0, 1, 4]
    assert list(order([[1.0], [0.0], [0.0]], [0.0, 0.3, 0.1])) == [0, 2, 1]
    assert promoted(np.zeros((0, 2)), [], 3).shape == (0,)


def test_rungs_have_their_share_of_what_is_listed():
    of = HalvingConfig(fidelity=["epochs", "rows", "folds"], factor=3, rungs=3)
    assert of.fidelities(20, 6) == (Fidelity(2, 1 / 9, 1), Fidelity(7, 1 / 3, 2), Fidelity(20, 1.0, 6))
    assert HalvingConfig().fidelities(5, 2) == (Fidelity(2, 1.0, 2), Fidelity(5, 1.0, 2))
    assert (of.width, HalvingConfig().width) == (9, 3)


def test_a_share_of_the_rows_has_its_share_of_each_class():
    y = np.repeat([0, 1, 2], [60, 30, 10]).astype(np.int32)
    whole = Split(np.arange(100.0)[:, None], y, np.ones(100, np.float32))
    some = some_rows(whole, 0.3, True, seed=1)
    assert list(np.bincount(some.y)) == [18, 9, 3] and len(some.weight) == 30
    assert len(np.unique(some.x)) == 30 and (y[some.x[:, 0].astype(int)] == some.y).all()
    np.testing.assert_array_equal(some_rows(whole, 0.3, True, seed=1).x, some.x)
    assert some_rows(whole, 1.0, True, seed=1) is whole
    targets = Split(whole.x, whole.x.astype(np.float32))
    assert len(some_rows(targets, 0.25, False, seed=1)) == 25
    assert len(some_rows(targets, 1e-6, False, seed=1)) == 1


def test_the_best_third_goes_on_and_generations_have_as_many_complete_designs_as_ever(tmp_path):
    results = halved(tmp_path, toy.FloatSpace())  # 12 candidates a generation, of which 4 are to complete
    study, _ = open_to_read(tmp_path)
    generations = [trial.system_attrs["NSGAIISampler:generation"] for trial in study.trials]
    assert generations == [0] * 12 + [1] * 12 + [2] * 2  # the trials ran out
    for start in (0, 12):
        racing = [trial for trial in results.trials[start : start + 12] if trial.duplicate_of is None]
        early = [study.trials[t.number].user_attrs["fold 0 at 3 epochs, 1 of the rows"] for t in racing]
        losses = [[-one["metrics"]["accuracy"], one["costs"]["lut"]["value"]] for one in early]
        ahead = promoted(losses, [max(0.0, lut / 500 - 1) for _, lut in losses], 3)
        assert [racing[index] for index in ahead] == [trial for trial in racing if trial.state == "complete"]
        assert len(racing) > 10 and len(ahead) == 4


def test_only_complete_trials_are_compared_and_stopped_ones_keep_their_numbers(tmp_path):
    results = halved(tmp_path)
    stopped = [trial for trial in results.trials if trial.state == "stopped"]
    assert len(stopped) > 10 and results.summary()["stopped"] == len(stopped)
    assert {trial.number for trial in results.front()} <= {t.number for t in results.trials if t.state == "complete"}
    assert not {trial.number for trial in stopped} & {trial.number for trial in results.evaluated}
    with open(tmp_path / "trials.csv", newline="") as lines:
        rows = list(csv.DictReader(lines))
    for trial in stopped:
        row = rows[trial.number]
        assert (row["state"], row["rung"], row["feasible"]) == ("stopped", "0", str(trial.feasible))
        assert float(row["accuracy"]) == trial.value("accuracy") and float(row["lut"]) == trial.value("lut")
        assert trial.weights == () and not (tmp_path / "trials" / str(trial.number)).exists()
    for trial in results.evaluated:
        inside = trial.params != {} and trial.number >= 2
        assert trial.rung is None and trial.seconds == (1.0 if inside else 0.5)  # both rungs took 0.5
    assert read(tmp_path) == results


def test_equal_designs_are_evaluated_once_a_rung_and_share_their_fate(tmp_path):
    results = halved(tmp_path, payload={"marks": str(tmp_path)}, folds=2, trials=60)
    lines = [tuple(line.split()) for line in (tmp_path / "evaluated").read_text().splitlines()]
    assert len(lines) == len(set(lines))
    epochs_of, seeds_of = collections.defaultdict(set), collections.defaultdict(set)
    for key, fold, epochs, _, seed, _ in lines:
        epochs_of[key].add(epochs)
        seeds_of[key, fold].add(seed)
    assert all(len(seeds) == 1 for seeds in seeds_of.values())  # anew, from the same seed
    duplicates = [trial for trial in results.trials if trial.duplicate_of is not None]
    assert {trial.state for trial in duplicates} == {"complete", "stopped"}
    for trial in duplicates:
        first = results.trials[trial.duplicate_of]
        assert (trial.state, trial.rung, trial.metrics, trial.seconds) == (first.state, first.rung, first.metrics, 0)
    for trial in results.trials:
        if trial.key in ("9-9", "3-4"):  # the baselines
            assert epochs_of[trial.key] == {"9"}
            continue
        assert epochs_of[trial.key] == ({"3"} if trial.state == "stopped" else {"3", "9"})


def test_baselines_are_evaluated_in_full_whatever_they_are_worth(tmp_path):
    results = halved(tmp_path, payload={"marks": str(tmp_path)})
    assert [trial.state for trial in results.trials[:2]] == ["complete"] * 2
    lines = (tmp_path / "evaluated").read_text().splitlines()
    assert [line.split()[2] for line in lines if line.split()[0] in ("9-9", "3-4")] == ["9", "9"]
    first = [trial for trial in results.trials[2:11] if trial.duplicate_of is None]  # beside 1 baseline of 4
    assert sum(trial.state == "complete" for trial in first) == -(-len(first) // 3)


def test_folds_alone_are_not_trained_again_on_the_next_rung(tmp_path):
    halving = {"fidelity": ["folds"], "factor": 2, "rungs": 3}
    results = halved(tmp_path, payload={"marks": str(tmp_path)}, folds=4, halving=halving, trials=40)
    lines = [tuple(line.split()[:3]) for line in (tmp_path / "evaluated").read_text().splitlines()]
    assert len(lines) == len(set(lines)) and {epochs for *_, epochs in lines} == {"9"}
    folds_of = collections.Counter(key for key, *_ in lines)
    assert set(folds_of.values()) == {1, 2, 4}
    for trial in results.trials[2:]:
        assert folds_of[trial.key] == (4 if trial.state == "complete" else 2**trial.rung)
        assert trial.seconds in (0.0, 0.5 * folds_of[trial.key])


def test_a_design_that_fails_on_an_early_rung_is_a_failed_trial_and_takes_no_place(tmp_path):
    actions = {f"{a}-{b}": "diverge" for a, b in product(range(8), range(0, 8, 2)) if f"{a}-{b}" != "3-4"}
    results = halved(tmp_path, payload={"actions": actions})
    failed = [trial for trial in results.trials if trial.state == "failed"]
    assert failed and {trial.reason for trial in failed if trial.duplicate_of is None} == {"the loss is nan in epoch 2"}
    first = [trial for trial in results.trials[2:11] if trial.duplicate_of is None and trial.state != "failed"]
    assert sum(trial.state == "complete" for trial in first) == -(-len(first) // 3)
    with pytest.raises(RunError, match=r"all \d+ trials of the first generation failed"):
        halved(tmp_path / "all", toy.FloatSpace(), payload={"actions": {"*": "diverge"}})


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_the_number_of_workers_does_not_change_who_goes_on(tmp_path, sampler):
    halving = {"fidelity": ["epochs", "rows"], "factor": 2, "rungs": 3}
    for workers in ("inline", 2):
        halved(tmp_path / str(workers), sampler=sampler, workers=workers, halving=halving)
    assert tables(tmp_path / "2") == tables(tmp_path / "inline")
    assert {trial.rung for trial in read(tmp_path / "2").trials} == {None, 0, 1}


@pytest.mark.parametrize(("torn", "step"), [(True, 11), (False, 13)])
def test_a_kill_at_any_journal_write_changes_nothing(tmp_path, monkeypatch, torn, step):
    settings = {"trials": 11, "population": 3, "folds": 2, "halving": {"factor": 2, "rungs": 3}}
    halved(tmp_path / "whole", **settings)
    writes = len((tmp_path / "whole" / "study.journal").read_text().splitlines())
    assert writes > 100
    for count in range(0, writes, step):
        with monkeypatch.context() as patch:
            kill_at(patch, count, torn)
            with pytest.raises(Killed):
                halved(tmp_path / str(count), **settings)
        halved(tmp_path / str(count), **settings)
        assert tables(tmp_path / str(count)) == tables(tmp_path / "whole"), count


def test_a_search_whose_time_is_up_on_a_rung_goes_on_later(tmp_path):
    halved(tmp_path / "whole", payload={"sleep": 0.03})
    for _ in range(40):
        found = run(tmp_path / "parts", payload={**LEARNING, "sleep": 0.03}, timeout_minutes=0.2 / 60,
                    epochs=9, halving=HALVING, trials=26)  # fmt: skip
        if found.status == "finished":
            break
    assert found.status == "finished" and tables(tmp_path / "parts") == tables(tmp_path / "whole")


def test_other_rungs_in_the_same_directory_are_refused(tmp_path):
    halved(tmp_path)
    with pytest.raises(RunError, match=r"halving was \{.*'rungs': 2.*\} and is now None"):
        halved(tmp_path, halving=None)


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ({"epochs": 2, "halving": {"rungs": 3}}, r"search.halving.rungs: rungs 0 and 1 of 3 are the same \(1 epochs"),
        ({"halving": {"fidelity": ["folds"]}}, r"are the same \(5 epochs, 1 of the rows, 1 folds\); take fewer rungs"),
        ({"halving": {"factor": 1}}, r"search.halving.factor: must be >= 2"),
        ({"halving": {"fidelity": ["time"]}}, r"search.halving.fidelity"),
    ],
)
def test_rungs_that_are_no_ladder_are_refused(search, message):
    raw = {"version": 1, "name": "x", "data": {"name": "jets-hlf"}, "search": search}
    with pytest.raises(ConfigError, match=message):
        loads(yaml.safe_dump(raw), "experiment")

"""Re-evaluation of the front: which designs, which numbers count afterwards, and that a killed search agrees."""

from __future__ import annotations

import csv
import dataclasses
import statistics

import numpy as np
import pytest

from weft.config.select import SelectConfig
from weft.errors import RunError
from weft.search.final import choose
from weft.search.results import SearchResults, read
from weft.search.select import select
from weft.search.study import open_to_read

from . import toy
from .helpers import run, tables
from .test_kill import Killed, kill_at
from .test_select import trial as made

FINAL = {"seeds": 3, "epochs": 20, "count": 4}


def reevaluated(directory, space=None, **more):
    settings = {"final": FINAL, **more}
    return run(directory, space, **settings).results


def rows(directory, name):
    with open(directory / name, newline="") as lines:
        return list(csv.DictReader(lines))


def test_the_front_is_evaluated_anew_in_full_from_seeds_of_its_own(tmp_path):
    results = reevaluated(tmp_path, payload={"marks": str(tmp_path)}, folds=2, trials=24)
    lines = [line.split() for line in (tmp_path / "evaluated").read_text().splitlines()]
    again = [(key, fold, seed) for key, fold, epochs, _, seed, _ in lines if epochs == "20"]
    assert len(again) == len(results.final) * 3 * 2 == len(set(again))
    assert not {seed for *_, seed in again} & {seed for *_, epochs, _, seed, _ in lines if epochs == "5"}
    searched = {trial.number for trial in dataclasses.replace(results, final=()).front()}
    assert {trial.number for trial in results.final} <= searched and len(results.final) <= 4
    assert read(tmp_path) == results and results.summary()["reevaluated"] == len(results.final)


def test_mean_and_deviation_over_seeds_count_from_then_on(tmp_path):
    results = reevaluated(tmp_path, trials=24)
    study, _ = open_to_read(tmp_path)
    for trial in results.final:
        found = [study.user_attrs[f"final {trial.number}: seed {seed}, fold 0 of 1, 20 epochs"] for seed in range(3)]
        values = [one["metrics"]["accuracy"] for one in found]
        assert len(set(values)) == 3
        assert trial.value("accuracy") == pytest.approx(statistics.fmean(values))
        assert trial.std("accuracy") == pytest.approx(statistics.stdev(values))
        assert trial.violations == pytest.approx({"lut": trial.value("lut") / 500 - 1}) and trial.seeds == 3
        assert results.trials[trial.number].value("accuracy") not in (trial.value("accuracy"), *values)
        assert results.chosen(trial.number) == trial
    others = [t for t in results.evaluated if t.number not in {trial.number for trial in results.final}]
    assert others and all(results.chosen(t.number) == t and t.seeds is None for t in others)
    front = results.front()
    assert front and {trial.seeds for trial in front} == {3}
    assert [int(row["number"]) for row in rows(tmp_path, "pareto.csv")] == [trial.number for trial in front]
    shown = rows(tmp_path, "pareto.csv")[0]
    assert shown["seeds"] == "3" and float(shown["accuracy_std"]) == front[0].std("accuracy")
    assert [int(row["number"]) for row in rows(tmp_path, "final.csv")] == [trial.number for trial in results.final]
    assert "accuracy_std" not in rows(tmp_path, "trials.csv")[0]  # the search's own numbers
    (best,) = select(results, SelectConfig(count=1))
    assert best.number == front[0].number
    assert f"{front[0].value('accuracy'):.6g} ± " in best.reason and ", re-evaluated over 3 seeds: " in best.reason


def test_the_weights_are_those_of_the_first_seed_and_the_front_of_the_search_keeps_its_own(tmp_path):
    results = reevaluated(tmp_path, trials=24, folds=2)
    for trial in results.front():
        assert trial.weights[0] == f"trials/{trial.number}/final/seed0-fold0/weights.txt"
        assert len(trial.weights) == 6 and all((tmp_path / path).exists() for path in trial.weights)
    searched = dataclasses.replace(results, final=()).front()
    assert all((tmp_path / path).exists() for trial in searched for path in trial.weights)


def test_of_a_long_front_the_ends_and_the_isolated_are_taken_and_equal_networks_once():
    trials = [made(n, a, lut) for n, (a, lut) in enumerate([(0.7, 100), (0.71, 110), (0.72, 120), (0.9, 900)])]
    results = SearchResults(("accuracy", "lut"), {}, tuple(trials))
    assert choose(results, {}, 2) == [0, 3] and choose(results, {}, 3) == [0, 2, 3] and len(choose(results, {}, 9)) == 4
    twins = (*trials, dataclasses.replace(made(4, 0.95, 1000), key="3"))
    assert choose(SearchResults(("accuracy", "lut"), {}, twins), {}, 9) == [0, 1, 2, 4]
    bound = (made(0, 0.9, 100, ff=9.0), made(1, 0.8, 100, ff=1.0))
    assert choose(SearchResults(("accuracy", "lut"), {}, bound), {"ff": "<= 5"}, 9) == [0, 1]
    assert choose(SearchResults(("accuracy", "lut"), {}, ()), {}, 9) == []


def test_the_number_of_workers_and_kills_do_not_change_the_numbers(tmp_path, monkeypatch):
    settings = {"trials": 8, "final": {"seeds": 2, "folds": 2}}
    reevaluated(tmp_path / "whole", **settings)
    reevaluated(tmp_path / "two", workers=2, **settings)
    whole = (*tables(tmp_path / "whole"), (tmp_path / "whole" / "final.csv").read_text())
    assert (*tables(tmp_path / "two"), (tmp_path / "two" / "final.csv").read_text()) == whole
    journal = (tmp_path / "whole" / "study.journal").read_text().splitlines()
    first = next(index for index, line in enumerate(journal) if '"final' in line)
    assert len(journal) - first > 8
    for count in range(first, len(journal)):
        directory = tmp_path / str(count)
        with monkeypatch.context() as patch:
            kill_at(patch, count, torn=count % 2 == 1)
            with pytest.raises(Killed):
                reevaluated(directory, **settings)
        assert read(directory).final == ()  # before all are there, none counts
        reevaluated(directory, **settings)
        assert (*tables(directory), (directory / "final.csv").read_text()) == whole, count


def test_more_trials_are_searched_by_their_own_numbers_and_re_evaluated_again(tmp_path):
    run(tmp_path / "whole", trials=16)
    reevaluated(tmp_path / "parts", trials=8)
    assert read(tmp_path / "parts").final
    found = reevaluated(tmp_path / "parts", trials=16)
    assert tables(tmp_path / "parts")[0] == tables(tmp_path / "whole")[0]
    assert found.final and found.summary()["trials"] == 16
    assert len(reevaluated(tmp_path / "parts", trials=16, final={**FINAL, "count": 1}).final) == 1
    marks = {"marks": str(tmp_path)}
    assert reevaluated(tmp_path / "parts", trials=16, payload=marks) == found  # what is known is not trained again
    assert not (tmp_path / "evaluated").exists()


def test_a_search_whose_time_is_up_before_goes_on_later(tmp_path):
    whole = reevaluated(tmp_path / "whole", trials=6)
    settings = {"trials": 6, "final": FINAL, "payload": {"sleep": 0.05}}
    for _ in range(30):
        found = run(tmp_path / "parts", timeout_minutes=0.2 / 60, **settings)
        if found.status == "finished":
            break
        assert not found.results.final
    assert found.status == "finished" and found.results.final == whole.final


def test_a_design_that_fails_with_one_seed_is_out_with_its_reason(tmp_path, caplog):
    chosen = [trial.key for trial in reevaluated(tmp_path / "calm", trials=24).final]
    once = {"diverging seeds": {chosen[0]: 1}}
    results = reevaluated(tmp_path / "one", trials=24, payload=once)
    (failed,) = [trial for trial in results.final if trial.state == "failed"]
    assert failed.key == chosen[0] and failed.reason.startswith("seed ") and failed.metrics == {}
    assert failed.number not in {trial.number for trial in results.front()}
    assert results.trials[failed.number].state == "complete"
    assert f"re-evaluation of trial {failed.number} failed: seed " in caplog.text
    row = next(row for row in rows(tmp_path / "one", "final.csv") if int(row["number"]) == failed.number)
    assert row["state"] == "failed" and "the loss is nan" in row["reason"] and row["accuracy"] == ""
    for _ in range(2):  # the same again on resume
        with pytest.raises(
            RunError, match=r"(?s)the re-evaluation of all \d designs failed.*trial \d+: seed 0, fold 0: "
        ):
            reevaluated(tmp_path / "all", trials=24, payload={"diverging seeds": dict.fromkeys(chosen, 3)})
    assert read(tmp_path / "all").front()  # what the search found is still there to be looked at


def test_calibration_reaches_the_means_and_measured_sizes_stay_with_the_weights_they_are_of(tmp_path):
    results = reevaluated(tmp_path, trials=16, calibrate={"every": 4, "designs": 3}, final={"seeds": 1})
    known = {int(number) for one in results.rounds for number in one["trials"]}
    assert known & {trial.number for trial in results.final}
    for trial in results.final:
        cost = trial.costs["lut"]
        assert cost["quantity"]["stage"] == "solver" and "put right by" in cost["quantity"]["reason"]
        assert cost["quantity"]["value"] > cost["raw"] and np.isclose(trial.violations["lut"],
                                                                      cost["quantity"]["value"] / 500 - 1)  # fmt: skip


def test_a_search_without_a_re_evaluation_is_as_before(tmp_path):
    results = run(tmp_path, toy.FloatSpace()).results
    assert results.final == () and results.candidates == results.evaluated and not (tmp_path / "final.csv").exists()

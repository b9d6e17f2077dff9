"""Synthesis during a search: who is chosen, what becomes of estimates and fronts, and that a killed search agrees."""

from __future__ import annotations

import csv
import math

import numpy as np
import pytest
import yaml

from weft.config import loads
from weft.errors import ConfigError
from weft.search.calibrate import choose, measured, rescored
from weft.search.results import SearchResults, TrialRecord, read

from . import toy
from .helpers import begin, run, tables

CALIBRATE = {"every": 4, "designs": 3}


def record(
    number: int, accuracy: float, lut: float, low: float | None = None, high: float | None = None, name: str = "lut"
) -> TrialRecord:
    quantity = {**toy.quantity(lut), "low": low, "high": high}
    return TrialRecord(
        number, "complete", f"k{number}", {}, {}, metrics={"accuracy": {"mean": accuracy, "std": None}},
        costs={name: {"quantity": quantity, "std": None}}, violations={name: lut / 500 - 1}, weights=("w",),
    )  # fmt: skip


def found(estimate: float, value: float, name: str = "lut") -> dict:
    quantity = {
        "estimate": estimate,
        "low": None,
        "high": None,
        "measured": {**toy.quantity(value), "stage": "synthesis"},
    }
    return {"reason": "at random", "quantities": {name: quantity}}


def one_round(pairs: dict[int, tuple[float, float]], name: str = "lut") -> dict:
    return {"evaluated": 9, "trials": {str(number): found(*pair, name) for number, pair in pairs.items()}}


def test_a_round_takes_the_uncertain_the_unlike_and_one_at_random():
    trials = [record(0, 0.7, 100, 99, 101), record(1, 0.8, 200, 50, 800), record(2, 0.81, 5000, 4990, 5010)]
    trials += [record(3 + i, 0.6, 110 + i, 109, 112) for i in range(5)]
    results = SearchResults(("accuracy", "lut"), {}, tuple(trials))
    able = {trial.number for trial in trials}
    chosen = choose(results, able, 3, seed=1)
    assert [number for number, _ in chosen[:2]] == [1, 2]
    assert [reason for _, reason in chosen] == [
        "its size may change the front most", "least like those measured before", "at random",
    ]  # fmt: skip
    assert choose(results, able, 3, seed=1) == chosen
    assert len({choose(results, able, 3, seed=seed)[2] for seed in range(20)}) > 2
    later = SearchResults(("accuracy", "lut"), {}, tuple(trials), (one_round({1: (200, 240), 2: (5000, 5500)}),))
    assert not {1, 2} & {number for number, _ in choose(later, able, 8, seed=1)}
    assert choose(later, {3}, 3, seed=1)[0][0] == 3 and choose(later, set(), 3, seed=1) == []


@pytest.mark.parametrize("name", ["lut", "lut_fraction"])
def test_measured_trials_show_what_was_measured_and_the_others_the_calibrated_estimate(name):
    trials = [record(i, 0.7, 100.0 * (i + 1), name=name) for i in range(14)]
    pairs = {i: (100.0 * (i + 1), 120.0 * (i + 1)) for i in range(12)}
    after = rescored(trials, [one_round(pairs, name)], {name: "<= 500"})
    for i in range(12):
        quantity = after[i].costs[name]["quantity"]
        assert (quantity["stage"], quantity["value"]) == ("synthesis", 120.0 * (i + 1))
        assert f"estimated as {100 * (i + 1)}" in quantity["reason"]
    last = after[13].costs[name]
    assert last["quantity"]["value"] == pytest.approx(1680.0) and last["raw"] == 1400.0
    assert (
        last["quantity"]["low"] == pytest.approx(1680.0) and "put right by 12 syntheses" in last["quantity"]["reason"]
    )
    assert trials[4].violations[name] <= 0 < after[4].violations[name]  # 500 by the estimate, 600 in truth
    assert rescored(trials, [], {name: "<= 500"}) == tuple(trials)


def test_with_folds_the_mean_is_calibrated_and_not_replaced():
    trial = TrialRecord(
        0, "complete", "k", {}, {}, costs={"lut": {"quantity": toy.quantity(100.0), "std": 1.0}}, weights=("a", "b")
    )
    (after,) = rescored([trial], [one_round({0: (99.0, 198.0)})], {})
    assert after.costs["lut"]["quantity"]["stage"] == "solver"
    assert after.costs["lut"]["quantity"]["value"] == pytest.approx(200.0)


def test_a_search_with_synthesis_measures_rescores_and_writes_it_down(tmp_path, caplog):
    caplog.set_level("INFO", logger="weft")
    results = run(tmp_path, trials=16, calibrate=CALIBRATE).results
    known = measured(results.rounds)
    assert len(results.rounds) == 3 and len(known) == 9
    for trial in results.evaluated:
        cost = trial.costs["lut"]
        if trial.number in known:
            assert cost["quantity"]["stage"] == "synthesis"
        assert cost["raw"] == 100 * trial.genotype["a"] + 10 * trial.genotype["b"]
    assert read(tmp_path) == results
    with open(tmp_path / "calibration.csv", newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert {int(row["trial"]) for row in rows} == set(known)
    assert all(float(row["synthesis"]) == pytest.approx(1.2 * (float(row["estimate"]) + 1)) for row in rows)
    assert {row["inside"] for row in rows} <= {"", "True", "False"}
    assert "rank correlation of sizes before and after" in caplog.text
    for one in results.rounds:
        assert -1 <= one["rank_correlation"] <= 1 and not set(one["joined"]) & set(one["left"])


def test_the_number_of_workers_and_a_kill_do_not_change_what_is_synthesised(tmp_path):
    arguments = {"calibrate": CALIBRATE, "trials": 16}
    whole = run(tmp_path / "whole", **arguments).results
    run(tmp_path / "two", workers=2, **arguments)
    assert tables(tmp_path / "two") == tables(tmp_path / "whole")
    (tmp_path / "marks").mkdir()
    payload = {"marks": str(tmp_path / "marks"), "in synthesis": {t.key: "kill once" for t in whole.evaluated[:6]}}
    process = begin(tmp_path / "killed", payload=payload, **arguments)  # it dies with the first synthesis of these
    process.communicate(timeout=120)
    deaths = 0
    while process.returncode and deaths < 8:
        deaths += 1
        process = begin(tmp_path / "killed", payload=payload, **arguments)
        process.communicate(timeout=120)
    assert deaths >= 1 and process.returncode == 0
    assert tables(tmp_path / "killed") == tables(tmp_path / "whole")
    assert (tmp_path / "killed" / "calibration.csv").read_text() == (tmp_path / "whole" / "calibration.csv").read_text()


def test_pauses_do_not_change_what_is_synthesised(tmp_path):
    arguments = {"calibrate": {"every": 3, "designs": 2}, "trials": 14}
    run(tmp_path / "whole", **arguments)
    for _ in range(60):  # in generations and in rounds; each pause removes weights
        found = run(tmp_path / "paused", timeout_minutes=0.05 / 60, payload={"sleep": 0.02}, **arguments)
        if found.status == "finished":
            break
    assert found.status == "finished"
    assert tables(tmp_path / "paused") == tables(tmp_path / "whole")
    assert (tmp_path / "paused" / "calibration.csv").read_text() == (tmp_path / "whole" / "calibration.csv").read_text()
    assert {int(path.name) for path in (tmp_path / "paused" / "trials").iterdir()} == {
        trial.number for trial in found.results.front()
    }


def test_a_failed_synthesis_is_noted_and_leaves_the_estimates(tmp_path, caplog):
    keys = [f"{a}-{b}" for a in range(10) for b in range(10)]
    results = run(tmp_path, trials=8, calibrate=CALIBRATE, payload={"unsynthesisable": keys}).results
    assert len([one for one in results.rounds if not one.get("last")]) == 2
    assert all(one["error"] == "the tool gave up" for one in measured(results.rounds).values())
    assert all(trial.costs["lut"]["quantity"]["stage"] == "solver" for trial in results.evaluated)
    assert "the tool gave up" in (tmp_path / "calibration.csv").read_text()
    assert "failed: the tool gave up" in caplog.text


def test_at_the_end_all_of_the_front_is_measured_also_what_joins_it_by_that(tmp_path):
    arguments = {"trials": 24, "calibrate": {"every": 8, "designs": 1}, "constraints": {}}
    results = run(tmp_path, **arguments).results
    last = [one for one in results.rounds if one.get("last")]
    known = measured(results.rounds)
    ordinary = len(results.rounds) - len(last)
    assert ordinary == len(results.evaluated) // 8 and last
    assert all(trial.number in known for trial in results.front())
    assert all(one["reason"] == "on the front at the end" for one in measured(last).values())
    assert run(tmp_path, **arguments).results == results  # nothing is measured twice
    longer = run(tmp_path, **{**arguments, "trials": 32}).results
    assert len([one for one in longer.rounds if not one.get("last")]) == len(longer.evaluated) // 8 > ordinary


def test_coverage_of_ranges_is_that_of_the_numbers_before_the_round(tmp_path):
    results = run(tmp_path, toy.FloatSpace(), trials=120, population=20, calibrate={"every": 20, "designs": 6},
                  constraints={}).results  # fmt: skip
    late = [q for one in results.rounds[3:] for t in one["trials"].values() for q in t["quantities"].values()]
    assert late and all(q["low"] is not None for q in late)
    inside = [q["low"] - 1e-9 <= q["measured"]["value"] <= q["high"] + 1e-9 for q in late]
    assert np.mean(inside) > 0.6 and math.isfinite(late[0]["estimate"])


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"firmware": {"synth": "none"}}, "search.calibrate: needs synthesis, and firmware.synth is none"),
        (
            {"objectives": ["accuracy", "ebops"]},
            "search.calibrate: puts lut and ff right, and the search asks for neither",
        ),
    ],
)
def test_what_cannot_be_calibrated_is_refused(sections, message):
    search = {"calibrate": {}, **{k: v for k, v in sections.items() if k == "objectives"}}
    rest = {k: v for k, v in sections.items() if k != "objectives"}
    raw = {"version": 1, "name": "x", "data": {"name": "jets-hlf"}, "search": search, **rest}
    with pytest.raises(ConfigError, match=message):
        loads(yaml.safe_dump(raw), "experiment")

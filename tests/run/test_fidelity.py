"""Halving, inheritance, re-evaluation and several seeds in one real search, from the command line."""

from __future__ import annotations

import csv
import json

import numpy as np

from tests.run.conftest import EXPERIMENT, weft, write_experiment
from weft.search.results import read

SEARCH = """
search:
  {trials: 6, population: 2, epochs: 4, batch_size: 64, objectives: [accuracy, parameters], workers: 1, inherit: true,
   halving: {fidelity: [epochs, rows], factor: 2}, final: {seeds: 2, epochs: 3, count: 1}}
"""
TEXT = "\n".join(line for line in EXPERIMENT.splitlines() if not line.startswith("search:")) + SEARCH
TEXT = TEXT.replace("{mode: hgq, bits0: 3, beta: [1e-6, 1e-4, log]}", "float").replace("depth: [1, 2]", "depth: [1, 3]")


def test_a_search_with_everything_and_two_seeds(tmp_path):
    out = tmp_path / "seeds"
    command = ("search", write_experiment(tmp_path, TEXT), "--out", out, "--seeds", "0,5", "--json")
    done = weft(*command)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["seeds"] == [0, 5] and 0 <= summary["hypervolume"]["mean"] <= 1
    for seed in (0, 5):
        results = read(out / f"seed-{seed}")
        states = {trial.state for trial in results.trials}
        assert states == {"complete", "stopped"} and {trial.rung for trial in results.trials} == {None, 0}
        children = [trial for trial in results.trials if trial.parent is not None]
        assert children and min(trial.number for trial in children) == 4
        assert len(results.final) == 1
        for trial in results.front():
            assert trial.seeds == 2 and trial.std("accuracy") is not None and 0.2 < trial.value("accuracy") <= 1
            assert trial.value("parameters") == results.trials[trial.number].value("parameters")
            with np.load(out / f"seed-{seed}" / trial.weights[0]) as weights:
                assert weights["output/kernel"].shape[1] == 3
    with open(out / "fronts.csv", newline="") as lines:
        assert {row["seed"] for row in csv.DictReader(lines)} == {"0", "5"}
    again = weft(*command[:-1])  # everything is there
    page = (out / "seeds.html").read_text()
    mean, std = summary["hypervolume"]["mean"], summary["hypervolume"]["std"]
    assert "with seeds 0, 5 have a hypervolume of" in page and f"{mean:.3f} ± {std:.3f} of the common box" in page
    assert f"report: {out / 'seeds.html'}" in again.stdout
    assert "hypervolume_mean" in again.stdout and json.loads((out / "seeds.json").read_text()) == summary
    picked = weft("select", out / "seed-5", "--json")
    assert "re-evaluated over 2 seeds" in json.loads(picked.stdout)[0]["reason"]


def test_seeds_that_are_no_numbers_are_refused(tmp_path):
    done = weft("search", write_experiment(tmp_path), "--seeds", "0..3")
    assert done.returncode == 2
    assert "--seeds takes whole numbers with commas between them, such as 0,1,2; got '0..3'" in done.stderr


def test_an_objective_that_never_varies_is_named_with_its_value(tmp_path):
    text = TEXT.replace("[accuracy, parameters]", "[accuracy, dsp, parameters]").replace(
        "inherit: true", "inherit: false"
    )
    text = text[: text.index("   halving")].rstrip(", \n") + "}\n"
    done = weft("search", write_experiment(tmp_path, text), "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    results = read(tmp_path / "run")
    note = f"Objective 'dsp' is 0 in all {len(results.evaluated)} networks that were evaluated, so it chose nothing"
    assert f"note: {note}" in done.stderr and "'accuracy'" not in done.stderr
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["search"]["constant"] == {"dsp": 0} and any(one.startswith(note) for one in summary["notes"])
    values = {(trial.value("accuracy"), trial.value("parameters")) for trial in results.front()}
    worse = [t for t in results.evaluated if any(a >= t.value("accuracy") and p <= t.value("parameters")
             and (a, p) != (t.value("accuracy"), t.value("parameters")) for a, p in values)]  # fmt: skip
    assert not {t.number for t in worse} & {t.number for t in results.front()}  # the others decide as ever

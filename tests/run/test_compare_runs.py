"""Several runs side by side: one box, one joint front, the settings that differ, and what cannot be compared."""

from __future__ import annotations

import json
import logging

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.run.conftest import EXPERIMENT, write_experiment
from tests.search.helpers import EVALUATE
from tests.search.toy import ToySpace
from weft import atomic
from weft.cli import _app
from weft.config import loads
from weft.config.search import SearchConfig
from weft.errors import ConfigError, RunError
from weft.objectives import OBJECTIVES
from weft.run import Run
from weft.run.compare_runs import compare_runs
from weft.search.coordinator import search
from weft.search.front import hypervolume
from weft.search.results import read
from weft.search.workers import InlineWorkers


def make(place, seed, settings="", objectives="accuracy, lut", searched=True, sha="a" * 64, name=None):
    """A run with a toy search; `settings` replaces parts of the file."""
    text = EXPERIMENT.replace("seed: 3}", f"seed: {seed}}}").replace("[accuracy, lut]", f"[{objectives}]") + settings
    path = write_experiment(place, text)
    run = Run.create(place / (name or f"run{seed}"), loads(path.read_text(), str(path)), text)
    atomic.write_json(run.path / "data.json", {"sha256": sha})
    if searched:
        config = SearchConfig(objectives=objectives.split(", "), trials=12, population=4, seed=seed)
        search(config, ToySpace(), EVALUATE, run.path, workers=InlineWorkers(EVALUATE))
    return run


def design(run, name, accuracy, lut):
    place = run.path / "designs" / name
    place.mkdir(parents=True)
    (place / "model.keras").touch()
    made = run.design(name)
    quantity = {"value": lut, "unit": "count", "stage": "solver", "source": "toy"}
    made.write("training.json", {"trial": 0, "recipe": "hgq", "log": {"accuracy": accuracy}})
    made.write("metrics.json", {"test": {"accuracy": {"value": accuracy, "error": 0.01, "n": 9}}})
    made.write("cost.json", {"lut": quantity})
    made.write("verification.json", {"status": "exact", "mismatches": 0, "samples": 9})


@pytest.fixture
def runs(tmp_path):
    found = [make(tmp_path, seed) for seed in (1, 2)]
    design(found[0], "small", 0.6, 100)
    design(found[0], "large", 0.7, 900)
    return found


def test_all_fronts_are_measured_in_one_box(runs):
    found = compare_runs(runs)
    results = [read(run.path) for run in runs]
    losses = [np.array([t.losses(["accuracy", "lut"]) for t in one.evaluated if t.feasible]) for one in results]
    worst, best = np.vstack(losses).max(axis=0), np.vstack(losses).min(axis=0)
    assert [-found.reference["accuracy"], found.reference["lut"]] == pytest.approx(worst)
    assert [-found.ideal["accuracy"], found.ideal["lut"]] == pytest.approx(best)
    for one, mine in zip(found.runs, losses, strict=True):
        assert one.hypervolume == pytest.approx(hypervolume((mine - best) / (worst - best), [1.0, 1.0]))
    assert found.runs[0].hypervolume != found.runs[1].hypervolume


def test_the_joint_front_holds_what_no_trial_of_any_run_beats(runs):
    found = compare_runs(runs)
    every = [t.losses(["accuracy", "lut"]) for run in runs for t in read(run.path).evaluated]
    for run, one in zip(runs, found.runs, strict=True):
        for point in one.front:
            mine = read(run.path).trials[point.trial].losses(["accuracy", "lut"])
            beaten = any(all(a <= b for a, b in zip(o, mine, strict=True)) and o != mine for o in every)
            assert point.joint == (not beaten)
        assert [p.trial for p in one.front] == [t.number for t in read(run.path).front()]
    assert 0 < sum(point.joint for one in found.runs for point in one.front) < sum(len(one.front) for one in found.runs)


def test_settings_that_differ_are_named_and_no_others(tmp_path):
    runs = [make(tmp_path, 1), make(tmp_path, 2, "cost: {models: [ebops]}\n")]
    assert compare_runs(runs).settings == {
        "search.seed": {"run1": 1, "run2": 2},
        "cost.models": {"run1": ["adder_graph", "ebops", "bops", "parameters"], "run2": ["ebops"]},
    }


def test_runs_of_one_name_are_told_apart_by_their_paths(tmp_path):
    for part in ("a", "b"):
        (tmp_path / part).mkdir()
    runs = [make(tmp_path / part, 1, name="run") for part in ("a", "b")]
    found = compare_runs(runs)
    assert [one.run for one in found.runs] == [str(tmp_path / part / "run") for part in ("a", "b")]
    assert found.runs[0].hypervolume == found.runs[1].hypervolume
    assert all(point.joint for one in found.runs for point in one.front)


def test_the_best_design_comes_first(runs):
    first, second = compare_runs(runs).runs
    assert [one.id for one in first.designs] == ["large", "small"] and second.designs == ()
    assert first.designs[0].cost["lut"]["stage"] == "solver" and first.designs[0].verification == "exact"


def test_what_is_not_the_same_is_noted(tmp_path):
    runs = [make(tmp_path, 1), make(tmp_path, 2, objectives="accuracy, lut, latency_cycles", sha="b" * 64)]
    found = compare_runs(runs)
    assert found.objectives == ("accuracy", "lut")
    assert [note.split(":")[0] for note in found.notes] == [
        "the runs have other data",
        "run2 was searched by latency_cycles, too, which other runs were not",
    ]
    assert {OBJECTIVES[name].unit for name in found.runs[1].front[0].values} == {"fraction", "count"}


def test_runs_without_a_common_objective_or_without_a_search_are_refused(tmp_path):
    runs = [make(tmp_path, 1, objectives="accuracy"), make(tmp_path, 2, searched=False)]
    with pytest.raises(RunError, match="run2 holds no search; 'weft search"):
        compare_runs(runs)
    config = SearchConfig(objectives=["lut"], constraints={"accuracy": ">= 0"}, trials=2, population=2)
    search(config, ToySpace(), EVALUATE, runs[1].path, workers=InlineWorkers(EVALUATE))
    with pytest.raises(ConfigError, match=r"no objective in common, .* \(run1: accuracy; run2: lut\)"):
        compare_runs(runs)


def called(*arguments):
    import weft.cli.compare  # noqa: F401 - registers the command

    logging.disable(logging.CRITICAL)
    try:
        return CliRunner().invoke(_app.app, ["compare", *map(str, arguments)])
    finally:
        logging.disable(logging.NOTSET)


def test_the_command_prints_the_same_as_tables_markdown_and_json(runs):
    paths = [run.path for run in runs]
    assert json.loads(called(*paths, "--json").output) == compare_runs(runs).model_dump(mode="json")
    text = called(*paths, "--markdown").output
    for title in ("Searches.", "Fronts.", "The design of each run with the best test metric.", "Settings that differ."):
        assert title in text
    assert "| run1 | large | 0.7000 ± 0.0100 | 900 | exact |" in text and "| search.seed | 1 | 2 |" in text
    assert "- hypervolume: share of the box accuracy " in text
    assert "Settings that differ" in called(*paths).output


def test_a_run_named_twice_is_refused(runs):
    done = called(runs[0].path, runs[0].path)
    assert done.exit_code == 2 and "is named twice; name each run once" in done.output

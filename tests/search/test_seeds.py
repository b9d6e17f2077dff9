"""The spread of searches over seeds: one box for all, and the hypervolume as `SearchResults` has it."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from weft import atomic
from weft.config import loads
from weft.errors import ConfigError, RunError
from weft.run.seeds import search_seeds, write_spread
from weft.search.results import SearchResults
from weft.search.seeds import spread

from . import toy
from .helpers import run
from .test_select import trial


def searches(tmp_path, seeds=(0, 1, 2)):
    return {
        seed: run(tmp_path / str(seed), toy.FloatSpace(), seed=seed, objectives=["accuracy", "lut", "latency_cycles"],
                  trials=20).results
        for seed in seeds
    }  # fmt: skip


def test_progress_ends_at_the_hypervolume_of_each_search_in_the_common_box(tmp_path):
    found = searches(tmp_path)
    result = spread(found)
    box = {"reference": result.reference, "ideal": result.ideal}
    for volumes, results in zip(result.volumes, found.values(), strict=True):
        assert volumes[-1] == pytest.approx(results.hypervolume(**box).value)
        for n in (1, 7, 13):
            numbers = {t.number for t in results.evaluated[:n]}
            part = SearchResults(results.objectives, {}, tuple(t for t in results.trials if t.number in numbers))
            volume = part.hypervolume(**box)
            assert volumes[n - 1] == pytest.approx(volume.value if volume else 0.0)
        assert (np.diff(volumes) >= 0).all()
    best = [max(t.value("accuracy") for t in results.evaluated if t.feasible) for results in found.values()]
    assert result.ideal["accuracy"] == max(best)


def test_rows_hold_mean_and_sample_deviation_and_a_shorter_search_keeps_its_last(tmp_path):
    found = searches(tmp_path)
    short = found[1]
    found[1] = SearchResults(short.objectives, short.constraints, short.trials[:9])
    result = spread(found)
    rows = result.rows()
    assert [row["evaluated"] for row in rows] == list(range(1, max(len(r.evaluated) for r in found.values()) + 1))
    last = rows[-1]
    each = [last[f"seed_{seed}"] for seed in (0, 1, 2)]
    assert last["hypervolume_mean"] == pytest.approx(np.mean(each))
    assert last["hypervolume_std"] == pytest.approx(np.std(each, ddof=1))
    assert len({row["seed_1"] for row in rows[len(found[1].evaluated) - 1 :]}) == 1
    assert spread({0: found[0]}).rows()[-1]["hypervolume_std"] is None


def test_searches_without_a_feasible_design_are_told_so_and_equal_designs_have_no_volume():
    missed = SearchResults(("accuracy", "lut"), {"lut": "<= 1"}, (trial(0, 0.5, 9.0, violations={"lut": 8.0}),))
    with pytest.raises(RunError, match=r"none of the searches with seeds 4, 5 has a feasible design, .*loosen"):
        spread({4: missed, 5: missed})
    same = SearchResults(("accuracy", "lut"), {}, (trial(0, 0.5, 9.0),))
    assert spread({0: same, 1: missed}).volumes.tolist() == [[0.0], [0.0]]


def test_the_tables_hold_every_front(tmp_path):
    found = searches(tmp_path, seeds=(3, 1))
    summary = write_spread(tmp_path, found, spread(found))
    assert atomic.read_json(tmp_path / "seeds.json") == summary and summary["seeds"] == [3, 1]
    with open(tmp_path / "fronts.csv", newline="") as lines:
        rows = list(csv.DictReader(lines))
    expected = [(seed, t.number, t.value("lut")) for seed, results in found.items() for t in results.front()]
    assert [(int(r["seed"]), int(r["trial"]), float(r["lut"])) for r in rows] == expected
    with open(tmp_path / "seeds.csv", newline="") as lines:
        last = list(csv.DictReader(lines))[-1]
    assert float(last["hypervolume_mean"]) == summary["hypervolume"]["mean"]
    assert list(last) == ["evaluated", "hypervolume_mean", "hypervolume_std", "seed_3", "seed_1"]


@pytest.mark.parametrize("seeds", [[], [1, 1], [-1]])
def test_seeds_that_are_none_are_refused(tmp_path, seeds):
    experiment = loads("version: 1\nname: x\ndata: {name: jets-hlf}\n", "experiment")
    with pytest.raises(ConfigError, match=r"seeds must be whole numbers >= 0, each once, such as 0,1,2; got"):
        search_seeds(experiment, "", tmp_path, seeds, lambda title: None)
    assert not list(tmp_path.iterdir())

"""Every sampler of Optuna: seeded, resumable to the same trials, and as good as it says."""

from __future__ import annotations

import csv
import math
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from tests.search.test_kill import Killed, kill_at
from tests.tune.helpers import LISTS, NUMBERS, WORDS, experiment, study, tables
from weft.config.tune import SamplerName
from weft.errors import ConfigError
from weft.search.sampler import Grid, make_sampler, values_of
from weft.tune.space import TuneSpace

SPACES = {"grid": LISTS, "bruteforce": LISTS, "cmaes": NUMBERS}
NAMES = get_args(SamplerName)


def small(sampler: str, **settings: str):
    fixed = {"objectives": "[accuracy]"} if sampler == "cmaes" else {}
    if sampler == "gp":  # a Gaussian process a draw: fewer, and on one thread
        pytest.importorskip("torch").set_num_threads(1)
        fixed |= {"trials": "5", "objectives": "[accuracy]"}
    return experiment(SPACES.get(sampler, WORDS), sampler=sampler, **{**fixed, **settings})


def rows(directory: Path) -> list[dict[str, str]]:
    with open(directory / "trials.csv", newline="") as lines:
        return list(csv.DictReader(lines))


@pytest.mark.parametrize("sampler", NAMES)
def test_a_kill_at_a_journal_write_changes_nothing_whatever_the_sampler(tmp_path, monkeypatch, sampler):
    study(tmp_path / "whole", small(sampler))
    journal = (tmp_path / "whole" / "study.journal").read_text().splitlines()
    moments = list(range(2, len(journal), 11))
    if sampler == "gp":  # it notes a draw before it hands it out: right after that is the worst moment
        moments = [place + 1 for place, line in enumerate(journal) if "gp:relative_params" in line]
    assert len(moments) > 1
    for count in moments:
        directory = tmp_path / str(count)
        with monkeypatch.context() as patch:
            kill_at(patch, count, torn=count % 2 == 0)
            with pytest.raises(Killed):
                study(directory, small(sampler))
        study(directory, small(sampler))
        assert tables(directory) == tables(tmp_path / "whole"), count


@pytest.mark.parametrize("sampler", NAMES)
def test_the_seed_decides_the_trials(tmp_path, sampler):
    for name, seed in (("one", "1"), ("two", "2"), ("again", "1")):
        study(tmp_path / name, small(sampler, seed=seed, trials="4"))
    assert tables(tmp_path / "one") == tables(tmp_path / "again")
    assert tables(tmp_path / "one") != tables(tmp_path / "two")


@pytest.mark.parametrize("sampler", ["grid", "bruteforce"])
def test_an_exhaustive_sampler_tries_each_combination_once_and_then_ends(tmp_path, sampler):
    found = study(tmp_path, small(sampler, trials="100"))
    tried = {(t.genotype["compress.learning_rate"], t.genotype["compress.bits0"]) for t in found.results.trials}
    assert tried == {(rate, bits) for rate in (1e-3, 1e-2) for bits in (4, 5, 6)}
    assert len(found.results.trials) == 6


@pytest.mark.parametrize("sampler", ["tpe", "gp", "cmaes"])
def test_a_sampler_with_a_model_comes_closer_to_the_best_than_its_random_start(tmp_path, sampler):
    found = study(tmp_path, small(sampler, trials="18", population="6", objectives="[accuracy]"))
    values = [trial.value("accuracy") for trial in found.results.trials]
    assert max(values[6:]) > max(values[:6])


def test_quasi_random_points_fill_the_space_more_evenly_than_chance(tmp_path):
    found = study(tmp_path, small("qmc", trials="16"))
    decades = [trial.genotype["compress.learning_rate"] for trial in found.results.trials]
    eighths = {int(8 * (math.log10(rate) + 3) / 2) for rate in decades}
    assert eighths == set(range(8))


def test_equal_combinations_are_evaluated_once(tmp_path):
    found = study(tmp_path, experiment(LISTS, sampler="random", trials="30"), {"marks": str(tmp_path)})
    assert len((tmp_path / "evaluated").read_text().split()) == 6 == len(found.results.evaluated)
    assert len(found.results.trials) == 30
    for trial in found.results.trials:
        first = found.results.trials[trial.number if trial.duplicate_of is None else trial.duplicate_of]
        assert (first.genotype, first.value("accuracy")) == (trial.genotype, trial.value("accuracy"))


def test_an_invalid_combination_is_a_failed_trial_and_never_the_end_of_the_study(tmp_path):
    found = study(tmp_path, small("grid", trials="6"), {"invalid": 5})
    failed = [trial for trial in found.results.trials if trial.state == "failed"]
    assert [trial.genotype["compress.bits0"] for trial in failed] == [5, 5]
    assert {trial.reason for trial in failed} == {"bits0: not to my taste"}
    assert {row["error_kind"] for row in rows(tmp_path) if row["reason"]} == {"invalid"}


def test_a_study_of_which_every_trial_is_invalid_still_ends(tmp_path):
    only = experiment({**LISTS, "compress.bits0": "[5]"}, sampler="random", trials="5")
    found = study(tmp_path, only, {"invalid": 5})
    assert found.status == "finished"
    assert [trial.error_kind for trial in found.results.trials] == ["invalid"] * 5


def test_the_tables_say_the_units(tmp_path):
    study(tmp_path, small("random"))
    head = rows(tmp_path)[0].keys()
    assert {"accuracy [fraction]", "ebops [bit operations]", "seconds [s]", "params_compress.bits0"} <= head


def test_a_grid_is_refused_where_it_is_too_large():
    space = TuneSpace(experiment({f"compress.layers.a{i}.weight.bits": "[1, 2, 3, 4, 5, 6, 7, 8]" for i in range(7)}))
    with pytest.raises(ConfigError, match=r"the grid has 2,097,152 combinations, more than 1,000,000; take the"):
        Grid(space.distributions(), 0)


def test_values_of_a_stepped_range_end_at_its_upper_bound():
    stepped = {"compress.gamma": "{low: 0.1, high: 0.7, step: 0.2}", "compress.bits0": "[2, 9, lin]"}
    space = TuneSpace(experiment(stepped))
    distributions = space.distributions()
    assert values_of(distributions["compress.gamma"]) == pytest.approx([0.1, 0.3, 0.5, 0.7])
    assert values_of(distributions["compress.bits0"]) == list(range(2, 10))
    assert space.size == 4 * 8


@pytest.mark.parametrize(("name", "package"), [("gp", "torch"), ("cmaes", "cmaes")])
def test_a_sampler_whose_package_is_missing_says_how_to_get_it(name, package):
    code = (
        f"import sys; sys.modules[{package!r}] = None\n"
        "from weft.errors import ToolNotFoundError\nfrom weft.search.sampler import make_sampler\n"
        f"try:\n    make_sampler({name!r}, 3, 0)\nexcept ToolNotFoundError as error:\n    print(error)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert f"the sampler '{name}' needs the package '{package}', which is not installed: pip install" in said


def test_every_name_of_the_section_is_a_sampler():
    space = TuneSpace(experiment(LISTS)).distributions()
    made = {name: type(make_sampler(name, 4, 0, space)).__name__ for name in NAMES}
    assert made == {name: {"grid": "Grid", "qmc": "Qmc"}.get(name, "HistorySeeded") for name in NAMES}

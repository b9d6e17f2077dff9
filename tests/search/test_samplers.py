"""Every sampler by its name in a search: the seed decides, a kill changes nothing, and the exhaustive ones end."""

from __future__ import annotations

from typing import get_args

import pytest

from weft.config.sampler import SamplerName
from weft.errors import ConfigError
from weft.search.results import read

from . import toy
from .helpers import run, tables
from .test_kill import Killed, kill_at

NEW = [name for name in get_args(SamplerName) if name not in ("nsga2", "random", "tpe")]  # those: test_kill


def small(sampler, **settings):
    if sampler == "gp":
        pytest.importorskip("torch").set_num_threads(1)
        settings = {"trials": 6, **settings}
    if sampler == "cmaes":
        settings = {"objectives": ["accuracy"], **settings}
    return {"sampler": sampler, "trials": 9, "population": 3, **settings}


@pytest.mark.parametrize("sampler", NEW)
def test_a_kill_at_a_journal_write_changes_nothing(tmp_path, monkeypatch, sampler):
    run(tmp_path / "whole", **small(sampler))
    journal = (tmp_path / "whole" / "study.journal").read_text().splitlines()
    moments = list(range(3, len(journal), 17))
    if sampler == "gp":  # right after it noted a draw, and a few more
        moments = [place + 1 for place, line in enumerate(journal) if "gp:relative_params" in line]
    assert len(moments) > 1
    for count in moments:
        directory = tmp_path / str(count)
        with monkeypatch.context() as patch:
            kill_at(patch, count, torn=count % 2 == 0)
            with pytest.raises(Killed):
                run(directory, **small(sampler))
        run(directory, **small(sampler))
        assert tables(directory) == tables(tmp_path / "whole"), count


@pytest.mark.parametrize("sampler", NEW)
def test_the_seed_decides_the_trials(tmp_path, sampler):
    for name, seed in (("one", 1), ("two", 2), ("again", 1)):
        run(tmp_path / name, **small(sampler, seed=seed))
    assert tables(tmp_path / "one") == tables(tmp_path / "again")
    assert tables(tmp_path / "one") != tables(tmp_path / "two")


@pytest.mark.parametrize("sampler", ["nsga3", "qmc", "grid"])
def test_more_trials_go_on_as_if_the_search_had_not_stopped(tmp_path, sampler):
    run(tmp_path / "whole", **small(sampler, trials=11))
    for trials in (4, 7, 11):
        run(tmp_path / "parts", **small(sampler, trials=trials))
    assert tables(tmp_path / "parts") == tables(tmp_path / "whole")


@pytest.mark.parametrize("sampler", ["grid", "bruteforce"])
def test_an_exhaustive_sampler_tries_every_network_and_ends_however_many_trials_there_may_be(tmp_path, sampler):
    found = run(tmp_path, sampler=sampler, trials=500, population=30)
    trials = found.results.trials
    assert found.status == "finished" and len(trials) == 64 + 2  # one baseline outside the space, one inside
    assert {t.key for t in trials} == {"9-9", *(f"{a}-{b}" for a in range(8) for b in range(8))}
    again = run(tmp_path, sampler=sampler, trials=500, population=30)
    assert again.results.trials == trials


def test_a_grid_of_fewer_trials_repeats_none(tmp_path):
    run(tmp_path, sampler="grid", trials=40, population=10)
    keys = [trial.key for trial in read(tmp_path).trials if trial.number >= 2]
    assert len(set(keys)) == len(keys) == 38


def test_a_search_that_cannot_list_its_grid_leaves_no_directory_behind(tmp_path):
    class Large(toy.ToySpace):
        def distributions(self):
            from optuna.distributions import IntDistribution

            return {f"p{i}": IntDistribution(0, 99) for i in range(4)}

    with pytest.raises(ConfigError, match=r"the grid has 100,000,000 combinations, more than 1,000,000; take"):
        run(tmp_path / "run", Large(), sampler="grid")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("sampler", ["nsga3", "gp", "qmc"])
def test_the_number_of_workers_does_not_change_the_result(tmp_path, sampler):
    for workers in ("inline", 2):
        run(tmp_path / str(workers), workers=workers, **small(sampler))
    assert tables(tmp_path / "2") == tables(tmp_path / "inline")

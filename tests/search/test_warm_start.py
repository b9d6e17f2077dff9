"""A search that begins with what earlier ones found: the best first, what it cannot draw left out, resumed exactly."""

from __future__ import annotations

import json
import logging
import re

import pytest

from tests.config.test_config_sections import refuses
from weft.config import load, loads
from weft.config.search import SearchConfig, WarmStartConfig
from weft.errors import ConfigError, RunError
from weft.search.coordinator import search
from weft.search.results import read
from weft.search.warm_start import warm_start
from weft.search.workers import InlineWorkers
from weft.space.sampling import Space

from . import toy
from .helpers import EVALUATE, SETTINGS, run, tables
from .test_kill import Killed, kill_at


class Small(toy.ToySpace):
    """Of the toy's designs, those with a below 4."""

    def sample(self, trial):
        return {"a": trial.suggest_int("a", 0, 3), "b": trial.suggest_int("b", 0, toy.SIZE - 1)}


@pytest.fixture(scope="module")
def earlier(tmp_path_factory):
    """Two earlier searches."""
    places = [tmp_path_factory.mktemp("earlier") / name for name in ("one", "two")]
    for seed, place in enumerate(places):
        run(place, seed=seed, trials=20, sampler="random")
    return places


def warm(directory, earlier, space=None, trials=100, known=()):
    return warm_start(directory, WarmStartConfig(runs=earlier, trials=trials), space or toy.ToySpace(), known)


def go(directory, enqueue, **settings):
    config = SearchConfig(**{**SETTINGS, **settings})
    return search(config, toy.ToySpace(), EVALUATE, directory, enqueue=enqueue, workers=InlineWorkers(EVALUATE)).results


def test_the_best_fronts_of_all_runs_come_first_and_each_network_once(tmp_path, earlier):
    taken = warm(tmp_path, earlier)
    noted = json.loads((tmp_path / "warm_start.json").read_text())["taken"]
    assert [one["genotype"] for one in noted] == taken
    assert len({one["key"] for one in noted}) == len(noted) == len({(g["a"], g["b"]) for g in taken})
    assert [one["front"] for one in noted] == sorted(one["front"] for one in noted)
    first = [{trial.key for trial in read(place).front()} - {"9-9"} for place in earlier]
    assert {one["key"] for one in noted if one["front"] == 0} == first[0] | first[1]
    everything = {trial.key for place in earlier for trial in read(place).evaluated}
    assert {one["key"] for one in noted} == everything - {"9-9"}


def test_what_lies_outside_the_space_is_logged_with_the_reason(tmp_path, earlier, caplog):
    with caplog.at_level(logging.INFO):
        taken = warm(tmp_path, earlier, Small())
    assert taken and all(genotype["a"] < 4 for genotype in taken)
    left = json.loads((tmp_path / "warm_start.json").read_text())["left_out"]
    found = [trial for place in earlier for trial in read(place).evaluated]
    assert len(left) == sum(trial.genotype["a"] >= 4 for trial in found)
    assert all(re.search("out of range|lies outside|not in|'a'", one["reason"]) for one in left), left
    assert f"trial {left[0]['trial']} of {left[0]['run']} is left out: {left[0]['reason']}" in caplog.text


def test_no_more_are_taken_than_asked_for_and_none_that_is_evaluated_anyway(tmp_path, earlier):
    best = warm(tmp_path / "all", earlier)
    assert warm(tmp_path / "three", earlier, trials=3) == best[:3]
    assert warm(tmp_path / "rest", earlier, trials=3, known=best[:2]) == best[2:5]


def test_they_are_evaluated_first_and_take_part_as_parents(tmp_path, earlier):
    taken = warm(tmp_path, earlier, trials=6)
    results = go(tmp_path, taken)
    assert [trial.genotype for trial in results.trials[:6]] == taken
    assert len({trial.key for trial in results.trials}) > 6


def test_a_resumed_search_begins_with_the_same_whatever_became_of_the_earlier_runs(tmp_path, monkeypatch, earlier):
    taken = warm(tmp_path / "whole", earlier, trials=3)
    go(tmp_path / "whole", taken)
    for count in range(3, 60, 19):
        directory = tmp_path / str(count)
        with monkeypatch.context() as patch:
            kill_at(patch, count, torn=False)
            with pytest.raises(Killed):
                go(directory, warm(directory, earlier, trials=3))
        go(directory, warm(directory, [tmp_path / "gone"], trials=3))
        assert tables(directory) == tables(tmp_path / "whole")
    with pytest.raises(RunError, match=r"cannot go on with the search in .*: warm_start was .* and is now None"):
        go(tmp_path / "whole", [])


@pytest.mark.parametrize("sampler", ["grid", "qmc", "tpe"])
def test_every_sampler_starts_warm(tmp_path, earlier, sampler):
    results = go(tmp_path, warm(tmp_path, earlier, trials=5), sampler=sampler, trials=80)
    if sampler == "grid":
        assert len(results.trials) == 64 + 5 and len(results.evaluated) == 64


def test_a_run_without_a_search_is_named(tmp_path):
    with pytest.raises(RunError, match="empty holds no search"):
        warm(tmp_path, [tmp_path / "empty"])


def test_networks_for_other_data_are_left_out(tmp_path, monkeypatch):
    config = load("jets-demo").space
    before, now = (Space(config, (n,), 5) for n in (16, 8))
    import optuna

    genotype = before.sample(optuna.create_study().ask())
    from weft.search.warm_start import _objection

    assert _objection(before, genotype) is None
    assert _objection(now, genotype) == "it is for other data: its input_shape is [16], and here it is [8]"
    assert "validation error" in _objection(before, {**genotype, "odd": 1})
    wider = {**genotype, "learning_rate": 0.77}
    assert "learning_rate = 0.77 lies outside the space" in _objection(before, wider)


def test_a_list_of_runs_is_enough_and_paths_start_from_the_file(tmp_path):
    text = "version: 1\nname: a\ndata: {name: jets-hlf}\nsearch: {warm_start: [old, older]}\n"
    short = loads(text, "e.yaml").search.warm_start
    assert [str(path) for path in short.runs] == ["old", "older"] and short.trials == 10
    (tmp_path / "e.yaml").write_text(text)
    (tmp_path / "old").mkdir()
    with pytest.raises(ConfigError, match=rf"search.warm_start: there is no run directory {tmp_path}/older; name runs"):
        load(tmp_path / "e.yaml")
    (tmp_path / "older").mkdir()
    assert load(tmp_path / "e.yaml").search.warm_start.runs == [tmp_path / "old", tmp_path / "older"]


def test_a_warm_start_without_runs_is_refused():
    refuses("data: {name: jets-hlf}\nsearch: {warm_start: []}", r"search.warm_start: needs at least 1 entry.*")
    refuses(
        "data: {name: jets-hlf}\nsearch: {warm_start: {runs: [a], count: 2}}", "search.warm_start.count: unknown key.*"
    )

"""What sections `search` and `select` can say, through the command line and real workers, on a user's own file."""

from __future__ import annotations

import json

import pytest

from tests.run.conftest import EXPERIMENT, weft, write_experiment
from weft.search.results import read

FIRST = EXPERIMENT.replace("trials: 4", "trials: 3").replace("workers: 2", "workers: 1, sampler: random")
SECOND = (
    FIRST.replace("sampler: random", "sampler: qmc, warm_start: [first], constraints: {latency_ns: '<= 1 us'}")
    .replace("[accuracy, lut]", "[accuracy, lut_fraction, {function: mine:weights, unit: kB}]")
    .replace(
        "{rule: best_accuracy, count: 2}",
        "{rule: lexicographic, order: [energy_nj, accuracy], constraints: {dsp: '<= 0'}, count: 1}",
    )
)
MINE = "def weights(design, target):\n    return sum(w.size for w in design.model.get_weights()) / 1000\n"


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """Two searches, the second of which begins with what the first found."""
    place = tmp_path_factory.mktemp("searched")
    (place / "mine.py").write_text(MINE)
    for name, text in (("first", FIRST), ("second", SECOND)):
        done = weft("search", write_experiment(place, text), "--out", place / name, cwd=place)
        assert done.returncode == 0, done.stderr
    return place


def test_a_search_begins_warm_and_measures_its_own_objectives(searched):
    first, second = (read(searched / name) for name in ("first", "second"))
    noted = json.loads((searched / "second" / "warm_start.json").read_text())
    assert [one["key"] for one in noted["taken"]] == [trial.key for trial in second.trials[: len(noted["taken"])]]
    assert {one["key"] for one in noted["taken"]} == {trial.key for trial in first.evaluated}
    assert second.objectives == ("accuracy", "lut_fraction", "mine:weights [kB]")
    assert second.constraints == {"latency_ns": "<= 1000"}
    for trial in second.evaluated:
        assert 0 < trial.value("lut_fraction") < 1e-2 and trial.value("mine:weights [kB]") > 0
        assert trial.costs["mine:weights [kB]"]["quantity"]["unit"] == "kB"


def test_what_the_selection_compares_is_there_and_the_choice_keeps_its_inputs(searched):
    done = weft("select", searched / "second", cwd=searched)
    assert done.returncode == 0, done.stderr
    (chosen,) = json.loads((searched / "second" / "selection.json").read_text())
    results = read(searched / "second")
    front = results.front({"dsp": "<= 0"})
    best = min(front, key=lambda trial: trial.losses(["energy_nj", "accuracy"]))
    assert chosen["number"] == best.number and (searched / "second" / best.weights[0]).exists()
    assert chosen["inputs"]["values"] == {name: best.value(name) for name in ("energy_nj", "accuracy")}
    assert chosen["inputs"]["candidates"] == [trial.number for trial in front]
    assert chosen["inputs"]["constraints"] == ["latency_ns <= 1000", "dsp <= 0"]
    assert chosen["rule"]["rule"] == "lexicographic"


def test_runs_are_compared_in_what_they_share(searched):
    done = weft("compare", searched / "first", searched / "second", "--json", cwd=searched)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["objectives"] == ["accuracy"] and {"search.sampler", "select.rule"} <= set(found["settings"])


def test_report_tables_and_front_name_them(searched):
    for command in ("report", "pareto", "status"):
        done = weft(command, searched / "second", cwd=searched)
        assert done.returncode == 0, done.stderr
    page = (searched / "second" / "report.html").read_text()
    assert "LUT share" in page and "mine:weights" in page
    head = (searched / "second" / "trials.csv").read_text().splitlines()[0].split(",")
    assert {"lut_fraction", "mine:weights [kB]", "energy_nj", "dsp"} <= set(head)

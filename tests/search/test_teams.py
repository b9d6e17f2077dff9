"""Teams: jobs that train in one program give what they give alone, also where one fails or the search is killed."""

from __future__ import annotations

import dataclasses
import json
import random
import re

import pytest

from weft.config import Experiment
from weft.search import evaluate, teams
from weft.search.coordinator import VMAP
from weft.search.job import Job, Result
from weft.search.results import read
from weft.search.study import open_to_read
from weft.space.sampling import Space

from . import toy
from .helpers import run, tables
from .test_kill import Killed, kill_at


class KinSpace(toy.ToySpace):
    """Designs of one `a` can train together."""

    def kin(self, genotype):
        return None if genotype["a"] > 5 else str(genotype["a"])


def job(number, a=1, b=1, fold=0, **more):
    return Job(number, f"{a}-{b}", {"a": a, "b": b}, number, fold, 2, 3, f"d/{number}/{fold}", {"x": 1}, **more)


def test_jobs_of_one_kind_and_fidelity_are_a_team_and_come_apart_again():
    jobs = [job(0), job(1, b=5), job(2, a=2), job(3, a=7), job(4, a=7), job(5, rows=0.5), job(6, synthesise="w"),
            job(7, fold=1)]  # fmt: skip
    packed = teams.teams(jobs, KinSpace().kin)
    assert [[one.number for one in teams.members(team)] for team in packed] == [[0, 1, 7], [2], [3], [4], [5], [6]]
    assert sorted((one for team in packed for one in teams.members(team)), key=lambda one: one.number) == jobs
    assert Job.from_json(packed[0].to_json()).number == 0
    again = teams.members(Job.from_json(packed[0].to_json()))
    assert again == [jobs[0], jobs[1], jobs[7]]


def test_a_team_is_no_larger_than_the_most():
    packed = teams.teams([job(n) for n in range(2 * teams.MOST + 1)], KinSpace().kin)
    assert [len(team.others) + 1 for team in packed] == [teams.MOST, teams.MOST, 1]


def test_results_come_back_by_member_and_not_at_all_where_one_is_missing():
    (team,) = teams.teams([job(0), job(1)], KinSpace().kin)
    reply = teams.joined([Result(0, 0, {"accuracy": 0.5}), Result(1, 0, error="the loss is nan")])
    reply = Result.from_json(reply.to_json())
    found = teams.results(team, reply)
    assert [(one.number, result.metrics, result.error) for one, result in found] == [
        (0, {"accuracy": 0.5}, None),
        (1, {}, "the loss is nan"),
    ]
    assert teams.results(team, Result(0, 0, error="out of memory")) is None


@pytest.mark.parametrize(
    ("result", "chosen", "reason"),
    [
        (Result(0, 0, {"alone": 3.0, "together": 1.0}), True, r"^yes, 3.00 times as fast, and 1.5 times is worth it$"),
        (Result(0, 0, {"alone": 1.2, "together": 1.0}), False, r"^no, 1.20 times as fast, and 1.5 times is worth it$"),
        (Result(0, 0), False, r"^no, since the first networks differ in the number of their batches$"),
        (Result(0, 0, error="no memory"), False, r"^no, since the measurement failed: no memory$"),
    ],
)
def test_a_measurement_decides(result, chosen, reason):
    found = teams.chosen(result)
    assert found["chosen"] is chosen

    assert re.search(reason, found["reason"])


def together(job: Job) -> Result:
    """Evaluate toy designs, teams too; `payload["break"]` names designs with which no team comes back."""
    if job.measure:
        return Result(job.number, job.fold, metrics=job.payload.get("times", {}))
    found = [toy.evaluate(one) for one in teams.members(job)]
    if job.others and any(one.key in job.payload.get("break", ()) for one in teams.members(job)):
        raise MemoryError("too much for one program")
    return teams.joined(found)


TOGETHER = f"{__name__}:together"


def in_company(job: Job) -> Result:
    """Evaluate toy designs, whose numbers depend a little on who is trained beside them."""
    team = teams.members(job)
    spread = random.Random(" ".join(f"{one.directory[-12:]} {one.key}" for one in team)).uniform(0.0, 1e-3)
    found = [toy.evaluate(one) for one in team]
    return teams.joined(
        [dataclasses.replace(one, metrics={"accuracy": one.metrics["accuracy"] + spread}) for one in found]
    )


@pytest.mark.parametrize("more", [{}, {"final": {"seeds": 2}, "trials": 4}], ids=["search", "seeds"])
def test_a_killed_search_forms_the_same_teams(tmp_path, monkeypatch, more):
    settings = {
        "evaluate": f"{__name__}:in_company",
        "trials": 7,
        "population": 3,
        "folds": 2,
        "vmap": "always",
        **more,
    }
    run(tmp_path / "whole", space=KinSpace(), **settings)
    journal = (tmp_path / "whole" / "study.journal").read_text().splitlines()
    for count in range(5, len(journal), 3):
        with monkeypatch.context() as patch:
            kill_at(patch, count, torn=count % 2 == 1)
            with pytest.raises(Killed):
                run(tmp_path / str(count), space=KinSpace(), **settings)
        run(tmp_path / str(count), space=KinSpace(), **settings)
        assert tables(tmp_path / str(count)) == tables(tmp_path / "whole"), count


def numbers(directory):
    return [(t.number, t.key, t.state, t.metrics, t.reason) for t in read(directory).trials]


def test_a_search_in_teams_finds_what_it_finds_alone(tmp_path):
    space, settings = KinSpace(), {"evaluate": TOGETHER, "trials": 16, "folds": 2}
    run(tmp_path / "alone", space=space, vmap="never", **settings)
    run(tmp_path / "teams", space=space, vmap="always", **settings)
    assert numbers(tmp_path / "teams") == numbers(tmp_path / "alone")


def test_a_team_that_breaks_is_tried_one_by_one(tmp_path):
    space, settings = KinSpace(), {"evaluate": TOGETHER, "trials": 12}
    run(tmp_path / "alone", space=space, vmap="never", **settings)
    keys = [trial.key for trial in read(tmp_path / "alone").trials]
    run(tmp_path / "teams", space=space, vmap="always", payload={"break": keys}, **settings)
    assert numbers(tmp_path / "teams") == numbers(tmp_path / "alone")


@pytest.mark.parametrize(("times", "chosen"), [({"alone": 4.0, "together": 1.0}, True), ({}, False)])
def test_the_first_team_is_measured_once_and_the_search_notes_it(tmp_path, times, chosen):
    run(tmp_path, space=KinSpace(), evaluate=TOGETHER, trials=12, folds=2, payload={"times": times}, vmap="auto")
    noted = open_to_read(tmp_path)[0].user_attrs[VMAP]
    assert noted["chosen"] is chosen


def test_re_evaluated_seeds_train_together(tmp_path):
    settings = {"evaluate": TOGETHER, "trials": 8, "final": {"seeds": 3}}
    run(tmp_path / "alone", space=KinSpace(), vmap="never", **settings)
    run(tmp_path / "teams", space=KinSpace(), vmap="always", **settings)
    alone, found = (read(tmp_path / name).final for name in ("alone", "teams"))
    assert [dataclasses.replace(t, seconds=None) for t in found] == [
        dataclasses.replace(t, seconds=None) for t in alone
    ]
    assert tables(tmp_path / "teams")[1] == tables(tmp_path / "alone")[1]


def real(tmp_path, **search):
    given = Experiment.model_validate(
        {
            "version": 1,
            "name": "x",
            "data": {"name": "jets-hlf", "rows": {"train": 300, "validation": 90, "test": 90}, "folds": 2},
            "space": {
                "blocks": [{"type": "mlp", "units": [[8]], "depth": 1, "dropout": [0.0, 0.1]}],
                "optimizer": {"learning_rate": [1e-3, 1e-2]},
                "quantization": {"mode": "hgq", "beta": [1e-6, 1e-4, "log"], "bits0": [4, 6]},
            },
            "search": {"epochs": 2, "batch_size": 64, **search},
        }
    )
    space = Space(given.space, (16,), 5)
    return given, space


def test_networks_are_kin_if_only_numbers_of_their_training_differ(tmp_path):
    _, space = real(tmp_path)

    def drawn(**values):
        return space._drawn(lambda name, choice: values.get(name, choice.bounds[0]))

    first = space.kin(drawn())
    for values in ({"learning_rate": 1e-2}, {"beta": 3e-5}, {"bits0": 6}):
        assert space.kin(drawn(**values)) == first
        assert space.key(drawn(**values)) != space.key(drawn())
    assert space.kin(drawn(**{"block0.dropout": 0.1})) != first
    assert space.kin({**drawn(), "pruning": {"method": "pdp", "sparsity": 0.5}}) is None


def test_fixed_networks_are_kin_if_widths_and_points_differ(tmp_path):
    _, space = real(tmp_path)

    def kin(**numbers):
        return space.kin(
            {**space._drawn(lambda name, choice: choice.bounds[0]), "numbers": {"mode": "fixed", **numbers}}
        )

    first, held = kin(), kin(integer_bits=3)
    assert first == kin(total_bits=5) == kin(io_bits=9) and held == kin(total_bits=9, integer_bits=-1)
    assert len({first, held, kin(granularity="channel"), kin(mode="hgq")}) == 4


def test_real_candidates_and_folds_train_together_as_they_do_alone(tmp_path):
    given, space = real(tmp_path)
    shared = evaluate.payload(given, ("lut", "ebops"))
    genotypes = [
        space._drawn(lambda name, choice, i=i: choice.bounds[i if name in ("beta", "learning_rate") else 0])
        for i in (0, 1)
    ]
    jobs = [
        Job(n, space.key(one), one, 5 + n, n, 2, 2, str(tmp_path / f"{n}"), shared) for n, one in enumerate(genotypes)
    ]
    for one in jobs:
        (tmp_path / one.directory).mkdir()
    (team,) = teams.teams(jobs, space.kin)
    reply = evaluate.evaluate(Job.from_json(team.to_json()))
    measured = evaluate.evaluate(dataclasses.replace(team, measure=True)).metrics
    assert measured.keys() == {"alone", "together"} and min(measured.values()) > 0
    for one, found in teams.results(team, Result.from_json(json.dumps(reply.to_dict()))):
        alone = evaluate.evaluate(one)
        assert found.error is None and (found.number, found.fold) == (one.number, one.fold)
        assert found.metrics["accuracy"] == pytest.approx(alone.metrics["accuracy"], abs=0.03)
        assert found.costs["ebops"]["value"] == pytest.approx(alone.costs["ebops"]["value"], rel=0.02)
        assert found.weights == alone.weights

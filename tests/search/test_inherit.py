"""Weight inheritance: whose weights, of which layers, and that a killed search takes the same."""

from __future__ import annotations

import collections
import dataclasses

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import create_trial

from weft.errors import RunError
from weft.search.inherit import distance, nearest
from weft.search.results import SearchResults, read
from weft.search.study import open_to_read

from . import toy
from .helpers import begin, run, tables
from .test_kill import Killed, kill_at

OF = {
    "units": CategoricalDistribution([64, 16, 32]),
    "kind": CategoricalDistribution(["a", "b"]),
    "flag": CategoricalDistribution([0, True]),
    "depth": IntDistribution(1, 5),
    "rate": FloatDistribution(1e-4, 1e-2, log=True),
}


def drawn(**params):
    return create_trial(params=params, distributions={name: OF[name] for name in params}, value=0.0)


def inherited(directory, space=None, **more):
    return run(directory, space, **{"inherit": True, "trials": 20, **more}).results


def test_distances_are_shares_of_the_ranges():
    assert distance(drawn(units=64), drawn(units=32)) == 0.5  # neighbours, whatever their order in the list
    assert distance(drawn(units=64), drawn(units=16)) == 1.0
    assert distance(drawn(kind="a"), drawn(kind="b")) == distance(drawn(flag=0), drawn(flag=True)) == 1.0
    assert distance(drawn(depth=2), drawn(depth=5)) == 0.75
    assert distance(drawn(rate=1e-3), drawn(rate=1e-2)) == pytest.approx(0.5)
    assert distance(drawn(depth=2, kind="a"), drawn(depth=2, units=16)) == 2.0
    assert distance(drawn(depth=1, kind="a"), drawn(depth=3, kind="b")) == 1.5


def test_the_nearest_is_taken_and_the_earliest_of_equals():
    parents = {7: drawn(depth=5), 3: drawn(depth=1), 5: drawn(depth=3)}
    assert nearest(drawn(depth=2), parents) == 3
    assert nearest(drawn(depth=4), parents) == 5
    assert nearest(drawn(depth=4), {}) is None


def test_parents_are_the_nearest_of_the_front_before_the_generation(tmp_path):
    results = inherited(tmp_path, folds=2, trials=24)
    study, _ = open_to_read(tmp_path)
    frozen = [None, *study.trials]  # after the baseline outside the space
    assert all(trial.parent is None for trial in results.trials[:5])  # nothing is known before the first generation
    for start in range(5, 24, 4):
        before = dataclasses.replace(results, trials=results.trials[:start])
        for trial in results.trials[start : start + 4]:
            others = {t.number: frozen[t.number] for t in before.front() if t.params and t.key != trial.key}
            assert trial.parent == nearest(frozen[trial.number], others)
    assert len({trial.parent for trial in results.trials}) > 3


def test_only_equal_genotypes_with_one_parent_are_duplicates(tmp_path):
    results = inherited(tmp_path, payload={"marks": str(tmp_path)}, trials=60)
    lines = [line.split() for line in (tmp_path / "evaluated").read_text().splitlines()]
    assert len(lines) == len({(key, start) for key, *_, start in lines})
    of = collections.defaultdict(set)
    for trial in results.trials:
        of[trial.key].add(trial.parent)
        if trial.duplicate_of is not None:
            first = results.trials[trial.duplicate_of]
            assert (first.key, first.parent, first.metrics) == (trial.key, trial.parent, trial.metrics)
    assert any(len(parents) > 1 for parents in of.values())
    assert any(trial.duplicate_of is not None for trial in results.trials)
    assert len(lines) == sum(map(len, of.values())) == len(results.evaluated)
    header = (tmp_path / "trials.csv").read_text().splitlines()[0]
    assert header.startswith("number,state,parent,key,")
    assert read(tmp_path) == results


def test_a_search_that_inherits_is_another_search(tmp_path):
    inherited(tmp_path / "with")
    run(tmp_path / "without", trials=20)
    assert tables(tmp_path / "with") != tables(tmp_path / "without")
    assert all(trial.parent is None for trial in read(tmp_path / "without").trials)
    with pytest.raises(RunError, match=r"inherit was True and is now None"):
        run(tmp_path / "with", trials=20)


SETTINGS = {"trials": 13, "population": 3, "folds": 2, "calibrate": {"every": 3, "designs": 2}}


@pytest.mark.parametrize("more", [{}, {"epochs": 9, "halving": {"factor": 2}, "final": {"seeds": 2}}])
def test_kills_workers_and_pauses_do_not_change_the_parents(tmp_path, monkeypatch, more):
    settings = {**SETTINGS, **more}
    inherited(tmp_path / "whole", **settings)
    inherited(tmp_path / "two", workers=2, **settings)
    assert tables(tmp_path / "two") == tables(tmp_path / "whole")
    writes = len((tmp_path / "whole" / "study.journal").read_text().splitlines())
    for count in range(60, writes, 23):
        with monkeypatch.context() as patch:
            kill_at(patch, count, torn=False)
            with pytest.raises(Killed):
                inherited(tmp_path / str(count), **settings)
        inherited(tmp_path / str(count), **settings)
        assert tables(tmp_path / str(count)) == tables(tmp_path / "whole"), count
    for _ in range(60):  # each pause removes weights that no one needs any more
        found = run(tmp_path / "paused", inherit=True, timeout_minutes=0.1 / 60, payload={"sleep": 0.02}, **settings)
        if found.status == "finished":
            break
    assert found.status == "finished" and tables(tmp_path / "paused") == tables(tmp_path / "whole")


def test_a_sigkill_in_the_middle_of_children_leaves_their_parents(tmp_path):
    inherited(tmp_path / "whole", trials=12)
    (tmp_path / "marks").mkdir()
    keys = {trial.key: "kill once" for trial in read(tmp_path / "whole").trials[7:10]}
    arguments = {"inherit": True, "payload": {"marks": str(tmp_path / "marks"), "actions": keys}}
    deaths, process = 0, None
    while process is None or (process.returncode and deaths < 12):
        process = begin(tmp_path / "killed", **arguments)
        process.communicate(timeout=60)
        deaths += bool(process.returncode)
    assert deaths >= 2 and process.returncode == 0
    assert tables(tmp_path / "killed") == tables(tmp_path / "whole")


def test_a_re_evaluation_inherits_nothing(tmp_path):
    results = inherited(tmp_path, payload={"marks": str(tmp_path)}, trials=24, final={"seeds": 2, "epochs": 7})
    lines = [line.split() for line in (tmp_path / "evaluated").read_text().splitlines()]
    assert {start for *_, start in lines} > {"None"}
    assert {start for _, _, epochs, _, _, start in lines if epochs == "7"} == {"None"}
    assert all(trial.parent is None for trial in results.final)
    assert len({trial.key for trial in results.final}) == len(results.final)


def test_a_design_outside_the_space_has_no_children(tmp_path):
    class Outside(toy.ToySpace):
        def params_of(self, genotype):
            return None

    results = run(tmp_path, inherit=True, space=None).results
    assert isinstance(results, SearchResults)
    assert 0 not in {trial.parent for trial in results.trials}


@pytest.mark.parametrize("mode", ["float", "hgq"])
@pytest.mark.parametrize("normalization", ["none", "batch"])
def test_leading_slices_of_layers_of_one_name_are_taken_and_the_rest_is_fresh(mode, normalization):
    from weft.blocks import MlpGenes
    from weft.config.numbers import FloatNumbers, HgqNumbers
    from weft.space.architecture import Architecture
    from weft.space.model import build, export_weights, inherit_weights

    def network(*units):
        numbers = FloatNumbers() if mode == "float" else HgqNumbers()
        genes = MlpGenes(units=units, normalization=normalization)
        return Architecture(input_shape=(5,), n_outputs=3, blocks=(genes,), numbers=numbers)

    random = np.random.default_rng(0)
    parent = {name: w + random.uniform(1, 2, w.shape) for name, w in export_weights(build(network(6, 4), 1)).items()}
    child = build(network(4, 7, 2), 2)
    fresh = export_weights(child)
    names = inherit_weights(child, parent)
    found = export_weights(child)
    assert set(names) == {name for name in fresh if name in parent} and not any("dense2" in name for name in names)
    for name, value in found.items():
        given = parent.get(name)
        if given is None:
            np.testing.assert_array_equal(value, fresh[name])
            continue
        shared = tuple(slice(0, min(sizes)) for sizes in zip(value.shape, given.shape, strict=True))
        np.testing.assert_allclose(value[shared], given[shared], rtol=1e-6)
        rest = np.ones(value.shape, bool)
        rest[shared] = False
        np.testing.assert_array_equal(value[rest], fresh[name][rest])
    assert found["block0_dense1/kernel"].shape == (4, 7) and parent["block0_dense1/kernel"].shape == (6, 4)
    assert inherit_weights(child, {"output/kernel": np.zeros(4)}) == []

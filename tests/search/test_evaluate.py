"""An evaluation depends on its job alone, also where it computes with what an earlier one compiled."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from weft.config import Experiment
from weft.search import evaluate, rounded
from weft.search.job import Job
from weft.space.sampling import Space

MODES = {"float": {"mode": "float"}, "hgq": {"mode": "hgq", "beta": [1e-5, 1e-4]}}


def jobs(mode, directory):
    """Two folds of one network, the second at another learning rate, and of another network."""
    given = Experiment.model_validate(
        {
            "version": 1,
            "name": "x",
            "data": {"name": "jets-hlf", "rows": {"train": 500, "validation": 102, "test": 100}, "folds": 2},
            "space": {
                "blocks": [{"type": "mlp", "units": [[8, 12]], "depth": 1, "dropout": [0.1], "l1": [0.0, 1e-4]}],
                "optimizer": {"learning_rate": [1e-3, 1e-2]},
                "quantization": MODES[mode],
            },
            "search": {"epochs": 2, "batch_size": 64},
        }
    )
    space, shared = Space(given.space, (16,), 5), evaluate.payload(given, ("ebops",))

    def job(number, fold, **values):
        genotype = space._drawn(lambda name, choice: values.get(name, choice.bounds[0]))
        place = directory / f"{number}-{fold}"
        place.mkdir(exist_ok=True)
        return Job(number, space.key(genotype), genotype, 5 + fold, fold, 2, 2, str(place), shared)

    chosen = {} if mode == "float" else {"beta": 1e-4}
    return [job(0, 0), job(1, 1, learning_rate=1e-2, **chosen), job(2, 1, **{"block0.l1": 1e-4})]


def outcome(job):
    found = evaluate.evaluate(job)
    assert found.error is None, found.error
    with np.load(found.weights) as stored:
        weights = {name: stored[name] for name in stored.files}
    return found, weights


@pytest.mark.parametrize("mode", MODES)
def test_folds_share_what_is_compiled_and_find_what_each_finds_by_itself(mode, tmp_path, monkeypatch):
    monkeypatch.setattr(evaluate, "_last", None)
    together = [outcome(job) for job in jobs(mode, tmp_path)]
    assert [found.compile_seconds > 0 for found, _ in together] == [True, False, True]
    for job, (found, weights) in zip(jobs(mode, tmp_path), together, strict=True):
        monkeypatch.setattr(evaluate, "_last", None)
        rounded.rounded.cache_clear()
        alone, mine = outcome(job)
        assert dataclasses.replace(alone, seconds=0, compile_seconds=0) == dataclasses.replace(
            found, seconds=0, compile_seconds=0
        )
        assert mine.keys() == weights.keys()
        for name, value in mine.items():
            np.testing.assert_array_equal(value, weights[name], err_msg=name)
    assert not np.array_equal(together[0][1]["output/kernel"], together[1][1]["output/kernel"])

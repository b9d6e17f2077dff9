"""A compression that dies goes on from its checkpoint and ends with the bits of one that did not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.compression.resume_once import EPOCHS, RECIPES, every_epoch_is_saved, train
from weft.train.fit import Plan


class Died(Exception):
    pass


def dies_after(last: int):
    def after_epoch(done: int) -> None:
        if done == last:
            raise Died

    return after_epoch


def assert_the_same(found: Any, expected: Any) -> None:
    assert sorted(found) == sorted(expected)
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


def test_a_training_that_dies_before_it_would_stop_early_stops_where_it_would_have(tmp_path, monkeypatch):
    name = "mdmm, stopped early"
    monkeypatch.setattr(Plan.__init__, "__defaults__", Plan.__init__.__defaults__)
    every_epoch_is_saved()
    whole = train(name, None)
    assert len(whole["log"]) == EPOCHS[name]
    with pytest.raises(Died):
        train(name, tmp_path, dies_after(4))
    assert_the_same(train(name, tmp_path), whole)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", RECIPES)
def test_a_process_that_is_killed_and_started_again_ends_with_the_same_bits(name, tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "KERAS_BACKEND": "jax"}

    def run(folder: str, kill_after: int = -1) -> Path:
        result = tmp_path / f"{folder}.npz"
        command = [sys.executable, "-m", "tests.compression.resume_once", name, str(tmp_path / folder), str(result)]
        code = subprocess.run([*command, str(kill_after)], env=environment, timeout=600).returncode
        assert code == (0 if kill_after < 0 else -signal.SIGKILL)
        return result

    for last in (3, EPOCHS[name] - 1):  # at the end of the train stage, and within the last one
        run("killed", last)
    with np.load(run("killed")) as found, np.load(run("whole")) as expected:
        assert len(expected["log"]) == EPOCHS[name]
        assert_the_same(found, expected)

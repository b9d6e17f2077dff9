"""The loop: what is resumed equals what was never interrupted; what is not finite ends with its reason."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import blobs
from tests.train.conftest import make_engine
from weft.errors import RunError, TrainingError
from weft.train.control import Constant, Cosine, Plateau, TargetEbops
from weft.train.engine import Engine, State
from weft.train.fit import Plan, Rows, fit, row_order
from weft.train.track import KeepBest, KeepFront

TRAIN, VALIDATION = Rows(*blobs(256, seed=1)), Rows(*blobs(100, seed=2))


def plan(epochs: int = 6, **changes) -> Plan:
    controls = {"learning_rate": Plateau(0.01, 0.5, 1, 0.01), "beta": TargetEbops(400, 1e-6, 6)}
    settings = {"batch_size": 64, "controls": controls, "task": "classification", "metric": "accuracy", "seed": 5}
    return Plan(epochs, **{**settings, "checkpoint_seconds": 0.0, **changes})


def run(engine: Engine, chosen: Plan, path: Path | None = None, progress=lambda *_: None):
    trackers = [KeepBest("accuracy"), KeepFront("accuracy", "ebops")]
    state, history = fit(
        engine, engine.state(), TRAIN, VALIDATION, chosen, trackers=trackers, path=path, progress=progress
    )
    return state, history, trackers


def same(a: State, b: State) -> None:
    for group, other in zip(a, b, strict=True):
        for one, two in zip(group, other, strict=True):
            np.testing.assert_array_equal(np.asarray(one), np.asarray(two))


@pytest.fixture(scope="module")
def whole(hgq_engine):
    return run(hgq_engine, plan())


@pytest.mark.parametrize("stop", [1, 3, 5])
def test_a_training_stopped_after_any_epoch_resumes_to_the_same_bits(hgq_engine, whole, tmp_path, stop):
    path = tmp_path / "checkpoint.npz"

    def interrupt(done: int, *_: object) -> None:
        if done == stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(hgq_engine, plan(), path, interrupt)
    seen = []
    state, history, trackers = run(hgq_engine, plan(), path, lambda done, *_: seen.append(done))
    assert seen == list(range(stop + 1, 7))
    same(state, whole[0])
    assert history.epochs == whole[1].epochs
    for mine, theirs in zip(trackers, whole[2], strict=True):
        assert [(s.epoch, s.log) for s in mine.snapshots] == [(s.epoch, s.log) for s in theirs.snapshots]
        for one, two in zip(mine.snapshots, theirs.snapshots, strict=True):
            for name, array in two.arrays.items():
                np.testing.assert_array_equal(one.arrays[name], array)


def test_a_finished_training_is_read_back_without_a_step(hgq_engine, whole, tmp_path):
    path = tmp_path / "checkpoint.npz"
    run(hgq_engine, plan(), path)
    state, history, _ = run(hgq_engine, plan(), path, lambda *_: pytest.fail("trained again"))
    same(state, whole[0])
    assert history.stopped == "all epochs done"


def test_a_training_killed_at_random_moments_resumes_to_the_same_bits(tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "KERAS_BACKEND": "jax"}

    def command_of(name: str) -> list[str]:
        files = (str(tmp_path / f"{name}-{what}.npz") for what in ("checkpoint", "result"))
        return [sys.executable, "-m", "tests.train.train_once", *files]

    # in a process like those that are killed: how XLA shares out a sum depends on how its process was started
    subprocess.run(command_of("whole"), env=environment, check=True, timeout=300, stdout=subprocess.DEVNULL)
    command, result = command_of("killed"), tmp_path / "killed-result.npz"
    rng, kills = np.random.default_rng(11), 0
    while not result.exists():
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)
        assert process.stdout is not None
        if kills < 2:
            process.stdout.readline()  # the first epoch after the start is done
            time.sleep(float(rng.uniform(0.0, 0.2)))
            process.send_signal(signal.SIGKILL)
            kills += process.wait() == -signal.SIGKILL
        else:
            assert process.wait(300) == 0
        process.stdout.close()
    with np.load(result) as arrays, np.load(tmp_path / "whole-result.npz") as expected:
        assert sorted(arrays) == sorted(expected) and arrays.files
        for name in expected:
            np.testing.assert_array_equal(arrays[name], expected[name])


def test_a_full_disk_leaves_the_last_checkpoint_whole(hgq_engine, whole, tmp_path, monkeypatch):
    path = tmp_path / "checkpoint.npz"
    real, left = os.fsync, [4]

    def full(descriptor: int) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        run(hgq_engine, plan(), path)
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.npz"]
    monkeypatch.undo()
    same(run(hgq_engine, plan(), path)[0], whole[0])


def test_a_damaged_checkpoint_is_named(hgq_engine, tmp_path):
    path = tmp_path / "checkpoint.npz"
    path.write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(RunError, match=r"checkpoint .*checkpoint.npz cannot be read .* delete it to start"):
        run(hgq_engine, plan(), path)


def test_a_checkpoint_of_another_model_is_refused(hgq_engine, tmp_path):
    path = tmp_path / "checkpoint.npz"
    run(hgq_engine, plan(1), path)
    with pytest.raises(RunError, match=r"belongs to another model: trainable variable \d+ is .* there and .* here"):
        run(make_engine("float"), plan(1, controls={"learning_rate": Constant(0.01)}), path)


def test_a_loss_that_is_not_finite_ends_the_training_with_its_reason(hgq_engine):
    bad = Rows(np.full_like(TRAIN.x, np.nan), TRAIN.y)
    with pytest.raises(
        TrainingError, match=r"the loss became nan in epoch 0, step 0 of 4, at learning rate 0.01; lower"
    ):
        fit(hgq_engine, hgq_engine.state(), bad, VALIDATION, plan())


def test_a_weight_that_is_not_finite_ends_the_training_with_its_reason(hgq_engine):
    chosen = plan(controls={"learning_rate": Constant(np.inf), "beta": Constant(0.0)}, batch_size=256)
    with pytest.raises(TrainingError, match=r"trainable variable \d+ is no longer finite after epoch 0"):
        fit(make_engine("hgq"), hgq_engine.state(), TRAIN, VALIDATION, chosen)


def test_a_metric_that_is_not_a_number_ends_the_training_with_its_reason(hgq_engine, monkeypatch):
    monkeypatch.setattr("weft.train.fit.evaluate", lambda *_: {"accuracy": np.nan})
    with pytest.raises(TrainingError, match=r"the validation metric accuracy is nan after epoch 0; look for a class"):
        run(hgq_engine, plan())


def test_training_stops_when_the_metric_has_stopped_improving(hgq_engine):
    chosen = plan(50, controls={"learning_rate": Constant(0.0), "beta": Constant(0.0)}, patience=3)
    _, history, trackers = run(hgq_engine, chosen)
    assert len(history.epochs) == 4
    assert history.stopped == "no better accuracy in 3 epochs"
    assert trackers[0].best.epoch == 0  # the earlier of equal epochs


def test_training_learns_and_the_front_holds_no_dominated_epoch(whole):
    _, history, (best, front) = whole
    assert history.last["accuracy"] > 0.55
    assert best.best.log["accuracy"] == max(entry["accuracy"] for entry in history.epochs)
    points = {(entry["accuracy"], entry["ebops"]) for entry in history.epochs}
    expected = {p for p in points if not any(q[0] >= p[0] and q[1] <= p[1] and q != p for q in points)}
    assert {(s.log["accuracy"], s.log["ebops"]) for s in front.snapshots} == expected


def test_the_order_of_rows_depends_on_seed_and_epoch_alone():
    np.testing.assert_array_equal(row_order(100, 32, 7, 3), row_order(100, 32, 7, 3))
    assert (row_order(100, 32, 7, 3) != row_order(100, 32, 7, 4)).any()
    assert sorted(row_order(96, 32, 0, 0).ravel()) == list(range(96))


def test_a_batch_larger_than_the_data_is_all_of_them():
    assert row_order(10, 1024, 0, 0).shape == (1, 10)


def test_cosine_is_followed_step_by_step(hgq_engine):
    chosen = plan(3, controls={"learning_rate": Cosine(0.01, 3), "beta": Constant(0.0)})
    _, history, _ = run(hgq_engine, chosen)
    expected = [float(Cosine(0.01, 3).values(epoch, 4)[-1]) for epoch in range(3)]
    assert [entry["learning_rate"] for entry in history.epochs] == pytest.approx(expected)

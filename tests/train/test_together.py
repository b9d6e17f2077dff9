"""Trainings in one program are those that each network has alone, and do not disturb each other."""

from __future__ import annotations

import numpy as np
import pytest

from tests.conftest import blobs
from tests.train.conftest import architecture
from weft.config.numbers import FixedNumbers, HgqNumbers
from weft.errors import ShapeError, TrainingError
from weft.space.model import build
from weft.train.control import Constant
from weft.train.engine import Engine
from weft.train.fit import Plan, Rows, fit
from weft.train.losses import loss_for
from weft.train.together import Member, alike, fit_together, measure
from weft.train.track import KeepBest

ROWS = Rows(*blobs(256, seed=1))
VALIDATION = Rows(*blobs(100, seed=2))


def member(numbers=None, seed=3, rate=0.01, rows=ROWS, batch_size=64, epochs=3, patience=None, beta=1e-6, dropout=0.1):
    import keras

    chosen = architecture("hgq", dropout=dropout)
    model = build(chosen if numbers is None else chosen.with_numbers(numbers), seed)
    engine = Engine(model, keras.optimizers.Adam(rate), loss_for("auto", "classification"))
    controls = {"learning_rate": Constant(rate), **({"beta": Constant(beta)} if engine.learns_bits else {})}
    plan = Plan(epochs, batch_size, controls, "classification", "accuracy", patience=patience, seed=seed)
    return Member(engine, rows, VALIDATION, plan, [KeepBest("accuracy")])


def differences(made):
    """Return the greatest difference of each member from its training alone, of weights and of the loss."""
    found = []
    for one in made():
        state, history = fit(one.engine, one.engine.state(), one.train, one.validation, one.plan)
        found.append((state, history))
    together = fit_together(list(made()))
    for (state, history), (mine, also) in zip(found, together, strict=True):
        assert len(history.epochs) == len(also.epochs)
        assert history.stopped == also.stopped
        for ours, theirs in zip(history.epochs, also.epochs, strict=True):
            assert ours.keys() == theirs.keys()
            assert theirs["loss"] == pytest.approx(ours["loss"], rel=1e-3)
            assert theirs["accuracy"] == pytest.approx(ours["accuracy"], abs=0.031)
        for a, b in zip((*state.trainable, *state.non_trainable), (*mine.trainable, *mine.non_trainable), strict=True):
            assert a.shape == b.shape and a.dtype == b.dtype
        yield max(
            float(np.abs(np.asarray(a) - np.asarray(b)).max())
            for a, b in zip(state.trainable, mine.trainable, strict=True)
        )


def some():
    """Members that differ in all that may differ: seeds, folds, rates, β and first widths."""
    folds = [Rows(*blobs(n, seed=n)) for n in (256, 257, 300)]
    settings = [(1, 1e-3, 1e-7, 4), (2, 1e-2, 1e-6, 6), (3, 3e-3, 1e-5, 8)]
    return [
        member(HgqNumbers(bits0=bits), seed, rate, rows, beta=beta)
        for rows, (seed, rate, beta, bits) in zip(folds, settings, strict=True)
    ]


def test_each_is_trained_as_it_is_alone():
    assert max(differences(some)) < 2e-3


def test_one_that_diverges_or_stops_early_leaves_the_others_alone():
    weighted = np.ones(256, np.float32)
    bad = Rows(ROWS.x, ROWS.y, np.full(256, np.nan, np.float32))
    good = Rows(ROWS.x, ROWS.y, weighted)
    broken, fine, still = fit_together(
        [
            member(rows=bad, epochs=6),
            member(rows=good, epochs=6),
            member(rows=good, rate=1e-9, epochs=6, patience=2, dropout=0.1),
        ]
    )
    assert isinstance(broken, TrainingError) and "loss became nan in epoch 0" in str(broken)
    assert len(fine[1].epochs) == 6 and fine[1].last["accuracy"] > 0.8
    assert len(still[1].epochs) < 6 and still[1].stopped == "no better accuracy in 2 epochs"


def test_members_of_other_structure_or_length_are_refused():
    with pytest.raises(
        ShapeError, match="networks that train together must be of one structure, and their variables differ"
    ):
        fit_together([member(), member(FixedNumbers())])
    with pytest.raises(ShapeError, match="equally many epochs, batches, and rows of a batch"):
        fit_together([member(), member(rows=Rows(*blobs(400, seed=1)))])
    weighted = member(rows=Rows(ROWS.x, ROWS.y, np.ones(256, np.float32)))
    with pytest.raises(ShapeError, match="either all have rows with weights, or none has"):
        fit_together([member(), weighted])
    assert not alike([weighted, member()])
    assert alike([member(), member(seed=9)])
    assert not alike([member(), member(epochs=7)])


def test_what_a_step_takes_is_measured_both_ways():
    found = measure([member(), member(seed=9)], n_steps=2, repeats=1)
    assert found.keys() == {"alone", "together"} and min(found.values()) > 0

"""LUT as a target of learned widths: the controller, the measurement while training, and what a run hands back."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from tests.compression.conftest import FLOAT
from tests.conftest import blobs
from weft.adder_graph import AdderGraph
from weft.compression import lut
from weft.compression.api import compress, fit
from weft.compression.callback import StagesCallback
from weft.compression.finalize import finalize, variables_of
from weft.compression.price import Price
from weft.compression.recipe import compress as compress_in_run
from weft.config import HgqCompression
from weft.errors import BudgetError, ConfigError
from weft.train.control import TargetEbops

HGQ = {
    "recipe": "hgq", "epochs": 20, "finetune_epochs": 0, "batch_size": 32, "learning_rate": 0.02, "bits0": 4,
    "beta": 1e-5, "keep": 1,
}  # fmt: skip


def small() -> keras.Model:
    keras.utils.set_random_seed(1)
    hidden = keras.layers.Dense(8, activation="relu", name="hidden")
    return keras.Sequential([keras.Input((6,)), hidden, keras.layers.Dense(3, name="out")])


def test_the_controller_is_that_of_ebops_at_the_measured_relation():
    control = lut.TargetLut(1189, 1e-5, 20)
    assert control.ebops == lut.aim(1189, 1.1) == 1000
    reference = TargetEbops(1000, 1e-5, 20)
    for ebops in (5000.0, 4000.0):
        control.update({"ebops": ebops})
        reference.update({"ebops": ebops})
    np.testing.assert_array_equal(control.values(2, 3), reference.values(2, 3))
    control.update({"ebops": 3000.0, lut.RATIO: 2.2})
    reference.target = 500
    reference.update({"ebops": 3000.0})
    assert control.ebops == 500
    np.testing.assert_array_equal(control.values(3, 3), reference.values(3, 3))
    other = lut.TargetLut(1189, 1e-3, 20)
    other.restore(control.state())
    for one in (control, other):
        one.update({"ebops": 2000.0})
    np.testing.assert_array_equal(control.values(4, 3), other.values(4, 3))


def test_lut_are_counted_a_few_times_and_never_before_the_first_step():
    assert lut.measured_at(100) == {20, 40, 60, 70, 80, 90}
    assert lut.measured_at(100, first=10) == {30, 50, 70, 80, 90, 100}
    assert 0 not in lut.measured_at(1) and 5 not in lut.measured_at(1, first=5)


def test_a_run_ends_within_its_lut_and_says_how_many(material, weights, tmp_path):
    config = HgqCompression.model_validate({**HGQ, "target": {"lut": 400}})
    made = compress_in_run(FLOAT, material, config, 3, weights, tmp_path)
    found = AdderGraph.from_model(made[0].model).lut
    assert made[0].log["lut"] == found
    assert 150 < found * lut.MARGIN <= 400
    trail = (tmp_path / "trail.csv").read_text().splitlines()
    column = trail[0].split(",").index(lut.RATIO)
    measured = [i for i, row in enumerate(trail[1:]) if row.split(",")[column]]
    assert measured == sorted(lut.measured_at(20))


def test_a_target_that_no_epoch_meets_is_an_error_with_the_least(material, weights, tmp_path):
    config = HgqCompression.model_validate({**HGQ, "epochs": 2, "target": {"lut": 1}})
    with pytest.raises(
        BudgetError, match=r"no epoch came down to the target of 1 LUT; the least was [\d,]+ by the sol"
    ):
        compress_in_run(FLOAT, material, config, 3, weights, tmp_path)


def test_fit_counts_too_and_a_resumed_one_is_the_whole_one(tmp_path, monkeypatch):
    from weft.train.fit import Plan

    monkeypatch.setattr(Plan.__init__, "__defaults__", (*Plan.__init__.__defaults__[:-1], 0.0))
    x, y = blobs(128)
    recipe = {**HGQ, "epochs": 5, "target": {"lut": 300}}
    whole = compress(small(), recipe, x)
    history = fit(whole, (x, y))
    assert [lut.RATIO in entry for entry in history.epochs] == [False, True, True, True, True]

    class Killed(Exception):
        pass

    def kill(done: int, total: int, note: str = "") -> None:
        if done == 3:
            raise Killed

    with pytest.raises(Killed):
        fit(compress(small(), recipe, x), (x, y), directory=tmp_path, progress=kill)
    resumed = compress(small(), recipe, x)
    assert fit(resumed, (x, y), directory=tmp_path).epochs == history.epochs
    for (name, value), expected in zip(variables_of(resumed).items(), variables_of(whole).values(), strict=True):
        np.testing.assert_array_equal(value, expected, err_msg=name)


@pytest.mark.backends
def test_the_callback_counts_too():
    x, y = blobs(64)
    recipe = {**HGQ, "epochs": 3, "target": {"lut": 300}}
    model = compress(small(), recipe, x)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss, run_eagerly=keras.backend.backend() == "torch")
    callback = StagesCallback(recipe, rows=x)
    model.fit(x, y, batch_size=32, epochs=callback.epochs, verbose=0, callbacks=[callback])
    price = callback._stages.price
    assert price._beta.ebops != Price(model, price.config, x)._beta.ebops
    assert lut.lut_of(model, x) == AdderGraph.from_model(finalize(model, x)).cost(5.0)["lut"].value


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ({}, r"target: needs either ebops or lut; got none"),
        ({"lut": 10, "ebops": 10}, r"target: needs either ebops or lut; got both"),
        ({"lut": 0}, r"target\.lut: must be >= 1; got 0"),
    ],
)
def test_targets_that_cannot_be_are_refused(target, message):
    with pytest.raises(ConfigError, match=message):
        compress(small(), {"recipe": "hgq", "target": target})

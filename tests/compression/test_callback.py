"""The stages inside Keras' `fit`: the same machine as everywhere, resumable, on every backend."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from tests.conftest import blobs
from weft.compression.api import compress, fit
from weft.compression.callback import StagesCallback
from weft.compression.finalize import finalize, variables_of
from weft.compression.stages import Stages
from weft.config import FixedCompression
from weft.errors import TrainingError, UnfinishedWarning
from weft.quantize.kernels import pruned_kernels

pytestmark = pytest.mark.backends

DST = {"method": "dst", "alpha": 1e-3}
FIXED = {"recipe": "fixed", "pretrain_epochs": 1, "epochs": 2, "finetune_epochs": 1, "prune": DST}
HGQ = {"recipe": "hgq", "epochs": 3, "finetune_epochs": 1, "target": {"ebops": 200}, "prune": "dst"}


def model_for(recipe: dict) -> keras.Model:
    keras.utils.set_random_seed(1)
    plain = keras.Sequential(
        [keras.Input((6,)), keras.layers.Dense(8, activation="relu", name="hidden"), keras.layers.Dense(3, name="out")]
    )
    model = compress(plain, recipe)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(5e-3), loss, run_eagerly=keras.backend.backend() == "torch")
    return model


def train(model: keras.Model, callback: StagesCallback, epochs: int | None = None) -> dict[str, list[float]]:
    x, y = blobs(96)
    begin = callback.initial_epoch(model)
    return model.fit(
        x, y, batch_size=32, epochs=epochs or callback.epochs, initial_epoch=begin, shuffle=False, verbose=0,
        callbacks=[callback],
    ).history  # fmt: skip


def test_fit_goes_through_all_stages_and_ends_with_fixed_masks():
    model = model_for(FIXED)
    history = train(model, StagesCallback(FIXED))
    assert history["stage"] == [0, 1, 1, 2]
    assert history["ebops"][-1] > 0
    assert {int(keras.ops.convert_to_numpy(k.pruned.stage)) for k in pruned_kernels(model)} == {2}
    x, _ = blobs(96)
    assert np.isfinite(finalize(model, x).predict(x, verbose=0)).all()


@pytest.mark.filterwarnings("ignore:training ended at:weft.errors.UnfinishedWarning")
@pytest.mark.parametrize("recipe", [FIXED, HGQ], ids=["fixed", "hgq"])
def test_a_fit_that_goes_on_from_its_checkpoint_is_the_whole_one(recipe, tmp_path):
    whole = model_for(recipe)
    train(whole, StagesCallback(recipe))
    path = tmp_path / "checkpoint.npz"

    class Stop(Exception):
        pass

    class Killed(StagesCallback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise Stop
            super().on_epoch_begin(epoch, logs)

    with pytest.raises(Stop):
        train(model_for(recipe), Killed(recipe, path))
    resumed = model_for(recipe)
    train(resumed, StagesCallback(recipe, path))
    pairs = zip(variables_of(resumed).items(), variables_of(whole).values(), strict=True)
    for (name, value), expected in pairs:
        np.testing.assert_array_equal(value, expected, err_msg=name)


def test_a_fit_that_ends_early_says_that_masks_are_not_fixed():
    model = model_for(FIXED)
    with pytest.warns(
        UnfinishedWarning, match=r"ended after 2 of the 4 epochs of the recipe, in stage train; go on with"
    ):
        train(model, StagesCallback(FIXED), epochs=2)
    Stages(model, FixedCompression.model_validate(FIXED)).harden()
    assert {int(keras.ops.convert_to_numpy(k.pruned.stage)) for k in pruned_kernels(model)} == {2}


def test_a_fit_with_nothing_left_to_do_is_silent(tmp_path, recwarn):
    callback = StagesCallback(FIXED, tmp_path / "checkpoint.npz")
    train(model_for(FIXED), callback)
    train(model_for(FIXED), StagesCallback(FIXED, tmp_path / "checkpoint.npz"))
    assert not [one for one in recwarn if one.category is UnfinishedWarning]


def test_a_loss_that_is_no_number_ends_training():
    model = model_for(FIXED)
    model.optimizer.learning_rate = 1e30
    with pytest.raises(
        TrainingError, match=r"the metric loss (nan|inf) in epoch \d; lower the learning rate, or check"
    ):
        train(model, StagesCallback(FIXED))


@pytest.mark.parametrize("way", ["callback", "stages", "fit"])
def test_a_target_that_training_does_not_come_down_to_is_said(way):
    recipe = {"recipe": "hgq", "epochs": 2, "finetune_epochs": 0, "target": {"ebops": 1}}
    model = model_for(recipe)
    with pytest.warns(UnfinishedWarning, match=r"training ended at [\d,]+ EBOPs, and the target is 1: give"):
        if way == "callback":
            train(model, StagesCallback(recipe))
        elif way == "stages":
            x, y = blobs(96)
            Stages(model, model.weft_recipe).run(lambda model, position: model.fit(x, y, verbose=0))
        elif keras.backend.backend() == "jax":
            fit(model, blobs(96))
        else:
            pytest.skip("the engine is one of JAX")

"""Quantisation that begins with a stage: float before it, widths and ranges from then on, resumed exactly."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from tests.conftest import blobs
from weft.adder_graph import AdderGraph
from weft.compression.api import compress, fit
from weft.compression.callback import StagesCallback
from weft.compression.finalize import finalize, variables_of
from weft.compression.hgq import beta_control, lut_target
from weft.compression.stages import Stages
from weft.config import HgqCompression
from weft.errors import ConfigError
from weft.quantize.kernels import pruned_kernels
from weft.quantize.switch import switched, switches, turn

numpy = keras.ops.convert_to_numpy

DST = {"method": "dst", "alpha": 1e-3}
FIXED = {
    "recipe": "fixed", "quantize_from": "train", "pretrain_epochs": 2, "epochs": 2, "finetune_epochs": 1, "prune": DST,
    "precisions": [{"total_bits": 4}], "io_bits": 4, "batch_size": 32, "learning_rate": 0.01,
}  # fmt: skip
HGQ = {
    "recipe": "hgq", "quantize_from": "train", "pretrain_epochs": 2, "epochs": 2, "finetune_epochs": 0, "bits0": 3,
    "beta": 1e-4, "gamma": 1e-6, "batch_size": 32, "learning_rate": 0.01,
}  # fmt: skip


def small() -> keras.Model:
    keras.utils.set_random_seed(1)
    layers = [keras.layers.Dense(8, name="hidden"), keras.layers.Activation("tanh", name="tanh")]
    return keras.Sequential([keras.Input((6,)), *layers, keras.layers.Dense(3, name="out")])


def compiled(recipe: dict, x: np.ndarray) -> keras.Model:
    model = compress(small(), recipe, x)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss, run_eagerly=keras.backend.backend() == "torch")
    return model


def same(one: keras.Model, two: keras.Model) -> None:
    for (name, value), expected in zip(variables_of(one).items(), variables_of(two).values(), strict=True):
        np.testing.assert_array_equal(value, expected, err_msg=name)


@pytest.mark.backends
@pytest.mark.parametrize("recipe", [FIXED, HGQ], ids=["fixed", "hgq"])
def test_switched_off_it_is_the_float_network_and_on_the_quantised_one(recipe, tmp_path):
    x, _ = blobs(100)
    model = compress(small(), recipe, x)
    plain = compress(small(), {**recipe, "quantize_from": "pretrain"}, x)
    assert len(list(switches(model))) > 5 and not list(switches(plain))
    np.testing.assert_array_equal(model.predict(x, verbose=0), plain.predict(x, verbose=0))
    turn(model, on=False)
    np.testing.assert_allclose(numpy(model(x, training=True)), numpy(small()(x)), rtol=1e-5, atol=1e-6)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    same(loaded, model)
    assert not any(int(switch.on) for switch in switches(loaded))


@pytest.mark.backends
def test_each_stage_is_float_or_quantised_as_asked_and_ranges_are_found_at_the_switch():
    x, y = blobs(96)
    off = compress(small(), {**FIXED, "prune": None})
    turn(off, on=False)
    for begins, expected in (("train", [0, 0, 1, 1, 1]), ("finetune", [0, 0, 0, 0, 1])):
        recipe = {**FIXED, "quantize_from": begins, "prune": None}
        model = compiled(recipe, x)
        seen: list[tuple[int, bool]] = []

        def train(model: keras.Model, position: Any, seen: list = seen) -> None:
            for layer in ("hidden", "out"):
                off.get_layer(layer).kernel.assign(model.get_layer(layer).kernel)
                off.get_layer(layer).bias.assign(model.get_layer(layer).bias)
            alike = np.allclose(numpy(model(x)), numpy(off(x)), atol=1e-5)
            seen.append((int(next(switches(model)).on), alike))
            model.fit(3 * x, y, batch_size=32, epochs=1, shuffle=False, verbose=0)

        stages = Stages(model, model.weft_recipe, model.optimizer, rows=x)
        stages.run(train)
        assert [on for on, _ in seen] == expected
        assert [alike for _, alike in seen] == [not on for on in expected]
        assert all(stages.quantized(i) == bool(on) for i, on in enumerate(expected))
        assert [stages.settled(i) for i in range(5)] == [bool(on) for on in expected]


def test_widths_begin_as_they_were_however_long_the_network_was_float():
    x, y = blobs(96)
    model = compiled(HGQ, x)
    start = {v.path: numpy(v) for v in model.trainable_variables if "fixed_point_quantizer" in v.path}
    stages = Stages(model, model.weft_recipe, model.optimizer, rows=x)
    for epoch in range(2):
        stages.begin_epoch(epoch)
        model.fit(x, y, batch_size=32, verbose=0)
    assert any((numpy(v) != start[v.path]).any() for v in model.trainable_variables if v.path in start)
    stages.begin_epoch(2)
    for variable in model.trainable_variables:
        if variable.path in start:
            np.testing.assert_array_equal(numpy(variable), start[variable.path])
    moments = [v for v in model.optimizer.variables if "fixed_point_quantizer" in v.path]
    assert moments and all((numpy(v) == 0).all() for v in moments)


def test_ranges_are_those_of_the_rows_at_the_switch():
    x, _ = blobs(96)
    model = compiled(FIXED, x)
    stages = Stages(model, model.weft_recipe, model.optimizer, rows=16 * x)
    stages.begin_epoch(0)
    before = numpy(model.get_layer("hidden").iq.quantizer.inside.i).copy()
    stages.begin_epoch(2)
    np.testing.assert_array_equal(numpy(model.get_layer("hidden").iq.quantizer.inside.i), before + 4)


class Killed(Exception):
    pass


@pytest.mark.parametrize("stop", [1, 3])
def test_a_fit_resumed_in_float_or_after_it_is_the_whole_one_and_ends_exact(stop, tmp_path, monkeypatch):
    from weft.train.fit import Plan

    monkeypatch.setattr(Plan.__init__, "__defaults__", (*Plan.__init__.__defaults__[:-1], 0.0))
    x, y = blobs(128)
    recipe = {**HGQ, "prune": DST}
    whole = compress(small(), recipe, x)
    history = fit(whole, (x, y))
    assert [entry["quantized"] for entry in history.epochs] == [0, 0, 1, 1]
    assert [entry["beta"] for entry in history.epochs] == pytest.approx([0, 0, 1e-4, 1e-4])
    assert [np.isnan(entry["ebops"]) for entry in history.epochs] == [True, True, False, False]

    def kill(done: int, total: int, note: str = "") -> None:
        if done == stop:
            raise Killed

    with pytest.raises(Killed):
        fit(compress(small(), recipe, x), (x, y), directory=tmp_path, progress=kill)
    resumed = compress(small(), recipe, x)
    fit(resumed, (x, y), directory=tmp_path)
    same(resumed, whole)
    final = finalize(whole, x)
    np.testing.assert_array_equal(AdderGraph.from_model(final).predict(x), final.predict(x, verbose=0))
    assert not list(switches(final))


@pytest.mark.backends
def test_keras_fit_resumed_around_the_switch_is_the_whole_one(tmp_path):
    x, y = blobs(96)

    def trained(path: Any = None, stop: int | None = None) -> keras.Model:
        model = compiled(FIXED, x)

        class Dies(StagesCallback):
            def on_epoch_begin(self, epoch, logs=None):
                if epoch == stop:
                    raise Killed
                super().on_epoch_begin(epoch, logs)

        callback = Dies(FIXED, path, rows=x)
        model.fit(
            x, y, batch_size=32, epochs=callback.epochs, initial_epoch=callback.initial_epoch(model), shuffle=False,
            verbose=0, callbacks=[callback],
        )  # fmt: skip
        return model

    whole = trained()
    assert all(int(switch.on) for switch in switches(whole))
    for stop in (1, 2):
        with pytest.raises(Killed):
            trained(tmp_path / f"{stop}.npz", stop)
        same(trained(tmp_path / f"{stop}.npz"), whole)


def test_rewinding_into_float_is_quantised_again():
    x, y = blobs(96)
    recipe = {**FIXED, "quantize_from": "finetune", "rewind": "after_training", "save_epoch": 1}
    model = compiled(recipe, x)

    def train(model: keras.Model, position: Any) -> None:
        model.fit(x, y, batch_size=32, epochs=1, shuffle=False, verbose=0)

    Stages(model, model.weft_recipe, model.optimizer, rows=x).run(train)
    assert all(int(switch.on) for switch in switches(model))
    assert {int(numpy(kernel.pruned.stage)) for kernel in pruned_kernels(model)} == {2}


def test_the_price_of_bits_waits_for_bits():
    config = HgqCompression.model_validate({**HGQ, "pretrain_epochs": 5, "epochs": 10, "target": {"lut": 500}})
    control = beta_control(config)
    assert [float(control.values(i, 1)[0]) for i in (0, 4)] == [0.0, 0.0]
    assert float(control.values(5, 1)[0]) == pytest.approx(1e-4)
    before = lut_target(control).state()
    for _ in range(5):
        control.update({"ebops": float("nan")})
    assert lut_target(control).state() == before
    control.update({"ebops": 4000.0})
    assert lut_target(control).state() != before


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"quantize_from": "train"}, r"quantize_from: train needs pretrain_epochs >= 1; got 0"),
        ({"quantize_from": "finetune", "epochs": 1}, r"quantize_from: finetune needs finetune_epochs >= 1; got 0"),
        (
            {"recipe": "hgq", "quantize_from": "finetune"},
            r"quantize_from: must be pretrain or train: widths are learnt",
        ),
        ({"quantize_from": "never"}, r"quantize_from"),
        ({"recipe": "hgq", "rewind": "after_training"}, r"rewind: must be never or every_round: learned widths would"),
    ],
)
def test_what_cannot_be_is_refused(section, message):
    with pytest.raises(ConfigError, match=message):
        compress(small(), {"recipe": "fixed", **section})


def test_a_model_without_switches_or_rows_is_refused():
    x, _ = blobs(10)
    config = compress(small(), FIXED, x).weft_recipe
    with pytest.raises(
        ConfigError, match=r"quantize_from: train was asked for, but the quantisers of .* cannot be swi"
    ):
        Stages(compress(small(), {**FIXED, "quantize_from": "pretrain"}), config, rows=x)
    with pytest.raises(ConfigError, match=r"quantize_from: train needs rows of the training data to find ranges with"):
        Stages(switched(compress(small(), {**FIXED, "quantize_from": "pretrain"})), config)

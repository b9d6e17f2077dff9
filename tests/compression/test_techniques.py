"""Distillation, low rank and weight decay as parts of a recipe: in `weft.fit`, in runs, in Keras' `fit`, combined."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from tests.compression.conftest import FLOAT
from tests.conftest import blobs
from weft.adder_graph import AdderGraph
from weft.compression.api import compress, distil, fit, optimizer
from weft.compression.callback import StagesCallback
from weft.compression.decay import PNormAdam, PNormSGD
from weft.compression.distil import Distillation
from weft.compression.finalize import finalize, variables_of
from weft.compression.recipe import compress as compress_in_run
from weft.compression.stages import Stages
from weft.compression.training import Material, optimizer_of
from weft.config import FixedCompression, loads
from weft.config.search import SearchConfig
from weft.data import Split
from weft.errors import BudgetError, ConfigError, ShapeError
from weft.quantize.kernels import kernels

ALL = {
    "recipe": "hgq", "epochs": 3, "finetune_epochs": 1, "batch_size": 64, "bits0": 4, "beta": 1e-5,
    "prune": {"method": "dst", "alpha": 1e-3}, "distil": {"features": ["hidden_v"], "temperature": 2.0},
    "low_rank": {"rank": 2}, "weight_decay": {"p": 1.0, "decay": 1e-3}, "optimizer": {"name": "sgd", "momentum": 0.5},
    "learning_rate": 0.02,
}  # fmt: skip


def small(seed: int = 1) -> keras.Model:
    keras.utils.set_random_seed(seed)
    hidden = keras.layers.Dense(8, activation="relu", name="hidden")
    return keras.Sequential([keras.Input((6,)), hidden, keras.layers.Dense(3, name="out")], name="small")


def teacher(width: int = 8, n_in: int = 6, name: str = "hidden_v") -> keras.Model:
    keras.utils.set_random_seed(9)
    hidden = keras.layers.Dense(width, activation="relu", name=name)
    return keras.Sequential([keras.Input((n_in,)), hidden, keras.layers.Dense(3, name="out")], name="teacher")


def same(one: keras.Model, two: keras.Model) -> None:
    for (name, value), expected in zip(variables_of(one).items(), variables_of(two).values(), strict=True):
        np.testing.assert_array_equal(value, expected, err_msg=name)


class Killed(Exception):
    pass


def kill(after: int):
    def progress(done: int, total: int, note: str = "") -> None:
        if done == after:
            raise Killed

    return progress


def now(monkeypatch) -> None:
    """Let every epoch write its checkpoint."""
    from weft.train import fit as module

    monkeypatch.setattr(module.Plan.__init__, "__defaults__", (*module.Plan.__init__.__defaults__[:-1], 0.0))


@pytest.mark.slow
def test_all_three_with_a_pruning_method_and_learned_bits_end_finalised_and_resume_exactly(tmp_path, monkeypatch):
    now(monkeypatch)
    x, y = blobs(200)
    whole = compress(small(), ALL, x)
    assert [k.layer.name for k in kernels(whole)] == ["hidden_u", "hidden_v", "out_u", "out_v"]
    fit(whole, (x, y), teacher=teacher(), directory=tmp_path / "whole")
    with pytest.raises(Killed):
        fit(compress(small(), ALL, x), (x, y), teacher=teacher(), directory=tmp_path / "half", progress=kill(2))
    half = compress(small(), ALL, x)
    fit(half, (x, y), teacher=teacher(), directory=tmp_path / "half")
    same(half, whole)
    final = finalize(whole, x)
    assert final.count_params() > 0 and not final.trainable_variables
    np.testing.assert_array_equal(AdderGraph.from_model(final).predict(x), final.predict(x, verbose=0))


def test_the_teacher_is_what_was_compressed_or_what_is_given_or_the_file_of_the_recipe(tmp_path, monkeypatch):
    seen = []
    trained = "weft.compression.training.fit"
    monkeypatch.setattr(trained, lambda engine, state, train, *rest, **more: seen.append((engine, train)))
    monkeypatch.setattr("weft.compression.material.material", lambda *rest: Material(splits, "classification"))
    x, y = blobs(48)
    splits = (Split(x, y), Split(x, y))

    def targets(recipe: dict, **given) -> np.ndarray:
        model = compress(small(), recipe, x)
        with pytest.raises(TypeError, match="cannot unpack"):  # nothing is trained
            fit(model, (x, y), **given)
        engine, train = seen[-1]
        assert isinstance(engine.loss, Distillation)
        assert {v.path for v in engine.model.trainable_variables} >= {v.path for v in model.trainable_variables}
        return train.y

    recipe = {"recipe": "fixed", "distil": {"alpha": 0.5, "features": ["hidden"]}, "low_rank": None}
    default, named, other = (
        targets(recipe),
        targets(recipe, teacher=small()),
        targets(recipe, teacher=teacher(8, 6, "hidden")),
    )
    np.testing.assert_array_equal(default, named)
    expected = np.concatenate([y[:, None], small().predict(x, verbose=0)], axis=1)
    np.testing.assert_allclose(default[:, :4], expected, rtol=1e-6)
    assert (other[:, 1:] != default[:, 1:]).any()
    teacher(name="hidden").save(tmp_path / "t.keras")
    recipe["distil"] = {**recipe["distil"], "teacher": str(tmp_path / "t.keras")}
    np.testing.assert_array_equal(targets(recipe), other)


def test_in_a_run_the_network_of_the_search_teaches_and_low_rank_comes_before_widths(material, weights, tmp_path):
    section = {
        "recipe": "fixed", "epochs": 2, "pretrain_epochs": 1, "finetune_epochs": 1, "batch_size": 128,
        "prune": {"method": "pdp", "sparsity": 0.3}, "low_rank": {"energy": 0.6}, "weight_decay": {"decay": 1e-4},
        "distil": {"alpha": 0.5}, "optimizer": "sgd",
    }  # fmt: skip
    config = FixedCompression.model_validate(section)
    made = compress_in_run(FLOAT, material, config, 3, weights, tmp_path)
    names = [kernel.layer.name for kernel in kernels(made[0].model)]
    assert any(name.endswith("_u") for name in names) and any(name.endswith("_v") for name in names)
    again = compress_in_run(FLOAT, material, config, 3, weights, tmp_path)  # from the checkpoint
    same(made[0].model, again[0].model)


def test_optimizers_are_those_of_the_section():
    def made(**section):
        return optimizer({"recipe": "fixed", "learning_rate": 0.03, **section})

    assert type(made()) is keras.optimizers.Adam
    assert type(made(optimizer="sgd")) is keras.optimizers.SGD
    assert made(optimizer={"name": "sgd", "momentum": 0.3}).momentum == 0.3
    assert float(made(optimizer="sgd").learning_rate) == pytest.approx(0.03)
    decay = {"p": 0.5, "decay": 0.1, "decayed": ["out/*"]}
    for name, kind in (("adam", PNormAdam), ("sgd", PNormSGD)):
        found = made(optimizer=name, weight_decay=decay)
        assert type(found) is kind
        assert (found.p, found.decay, found.decayed) == (0.5, 0.1, ("out/*",))
    assert type(optimizer_of(SearchConfig(epochs=1), 0.1)) is keras.optimizers.Adam


@pytest.mark.backends
def test_keras_fit_goes_through_stages_with_a_teacher_and_decay_and_resumes(tmp_path):
    x, y = blobs(96)

    def trained(path=None, stop: int | None = None) -> keras.Model:
        keras.utils.set_random_seed(2)
        model = compress(small(), ALL, x)
        made = distil(model, x, y, teacher=teacher())
        made.model.compile(optimizer(ALL), made.loss, run_eagerly=keras.backend.backend() == "torch")
        callback = StagesCallback(ALL, path)
        start = callback.initial_epoch(made.model)
        epochs = callback.epochs if stop is None else stop
        made.model.fit(
            x, made.targets, batch_size=32, epochs=epochs, initial_epoch=start, shuffle=False, verbose=0,
            callbacks=[callback],
        )  # fmt: skip
        return model

    whole = trained()
    end = StagesCallback.on_train_end
    StagesCallback.on_train_end = lambda self, logs=None: None  # a process that dies does not finish
    try:
        trained(tmp_path / "checkpoint.npz", stop=2)
    finally:
        StagesCallback.on_train_end = end
    same(trained(tmp_path / "checkpoint.npz"), whole)


def test_what_was_compiled_without_the_recipe_is_refused():
    x, y = blobs(32)
    model = compress(small(), ALL, x)
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    with pytest.raises(ConfigError, match=r"has a section distil, and the model was compiled with another loss"):
        StagesCallback(ALL).initial_epoch(model)
    with pytest.raises(ConfigError, match=r"weight_decay, and the optimizer is SGD, which does not decay weights"):
        Stages(model, model.weft_recipe, keras.optimizers.SGD())
    with pytest.raises(ConfigError, match=r"'small' has no recipe with a section distil"):
        distil(compress(small(), "hgq"), x, y)


def test_teachers_that_do_not_fit_are_refused_before_any_training(tmp_path):
    x, y = blobs(32)

    def never(done: int, total: int, note: str = "") -> None:
        raise AssertionError("trained")

    def refused(error: type[Exception], match: str, recipe: dict = ALL, **given) -> None:
        with pytest.raises(error, match=match):
            fit(compress(small(), recipe, x), (x, y), progress=never, **given)

    refused(
        ShapeError, r"teacher 'teacher' reads rows of shape \(5,\), and the student .* \(6,\)", teacher=teacher(n_in=5)
    )
    refused(ConfigError, r"'teacher' has no layer 'hidden_v'", teacher=teacher(name="other"))
    refused(ConfigError, r"gives \(8,\) for each sample and teacher layer 'hidden_v' gives \(5,\)", teacher=teacher(5))
    (tmp_path / "broken.keras").write_text("x")
    refused(ConfigError, r"broken\.keras cannot be read as a Keras model", teacher=tmp_path / "broken.keras")
    with pytest.raises(ConfigError, match=r"was not made by weft\.compress with this recipe"):
        fit(compress(small(), {**ALL, "distil": None}, x), (x, y), ALL)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"low_rank": {"energy": 1.5}}, r"low_rank\.energy: must be <= 1\.0; got 1\.5"),
        ({"low_rank": {"energy": 0.9, "rank": 2}}, r"low_rank: needs exactly one of energy, rank and budget"),
        ({"low_rank": {"energy": 0.9}, "warm_start": False}, r"low_rank: chooses ranks by trained weights"),
        ({"distil": {"alpha": 0.0}}, r"distil\.alpha: 0 without features leaves the teacher nothing to say"),
        ({"distil": {}, "loss": "huber"}, r"loss: must be auto beside distil"),
        ({"distil": {"temprature": 2}}, r"temprature.*temperature"),
        ({"weight_decay": {"p": 0}}, r"weight_decay\.p: must be > 0\.0; got 0"),
        ({"optimizer": {"name": "sgd", "momentum": 1.0}}, r"optimizer\.momentum: must be < 1\.0; got 1\.0"),
        ({"optimizer": "sgdm"}, r"optimizer.*adam"),
    ],
)
def test_sections_that_cannot_be_are_refused(section, message):
    with pytest.raises(ConfigError, match=message):
        compress(small(), {"recipe": "fixed", **section})


def test_a_budget_below_rank_one_is_refused():
    with pytest.raises(BudgetError, match=r"cannot factorise 'small' to parameters <= 10"):
        compress(small(), {"recipe": "fixed", "low_rank": {"budget": {"parameters": 10}}})


def test_the_file_of_a_teacher_is_looked_for_beside_the_experiment(tmp_path):
    from weft.config import load

    text = "version: 1\nname: x\ndata: {name: jets-hlf}\ncompress: {recipe: fixed, distil: {teacher: t.keras}}\n"
    (tmp_path / "experiment.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"compress\.distil\.teacher: there is no file .*t\.keras"):
        load(tmp_path / "experiment.yaml")
    (tmp_path / "t.keras").write_text("")
    found = load(tmp_path / "experiment.yaml").compress
    assert found.distil.teacher == str(tmp_path / "t.keras")
    assert loads(text).compress.distil.teacher == "t.keras"

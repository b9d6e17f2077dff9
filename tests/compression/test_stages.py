"""The stage machine: where training stands, what happens between stages, and that a resumed run is the same run."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import weft
from tests.conftest import blobs
from weft.adder_graph import objection
from weft.compression.api import compress, read
from weft.compression.stages import FINETUNE, PRETRAIN, TRAIN, Stages
from weft.config import FixedCompression
from weft.config.numbers import FixedNumbers
from weft.errors import ConfigError, RunError, TrainingError, UnsupportedError
from weft.prune import method_of
from weft.quantize import quantizers
from weft.quantize.kernels import pruned_kernels
from weft.quantize.pruned import MaskedConfig, PrunedConfig

NUMBERS = FixedNumbers(total_bits=8)
METHODS: dict[str, dict[str, Any]] = {
    "magnitude": {"fraction": 0.3},
    "dst": {"alpha": 1e-3},
    "cs": {},
    "autosparse": {"threshold_init": -2.0},
    "pdp": {"sparsity": 0.6, "epsilon": 0.5},
    "mdmm": {},
    "wanda": {"sparsity": 0.5, "t_delta": 3},
    "ap": {"t_start": 2, "t_delta": 3},
}


def config(method: str | None, **changes: Any) -> FixedCompression:
    prune = None if method is None else {"method": method, **METHODS[method]}
    plan = {"epochs": 3, "pretrain_epochs": 1, "finetune_epochs": 2, "batch_size": 32, "learning_rate": 5e-3}
    return FixedCompression.model_validate({**plan, "prune": prune, **changes})


def network(method: str | None, seed: int = 0) -> keras.Model:
    """Two dense layers of which the first is pruned."""
    import hgq.layers as hgq

    keras.utils.set_random_seed(seed)
    kernel, bias = quantizers.weight(NUMBERS), quantizers.bias(NUMBERS)
    if method is not None:
        chosen = method_of(method).model_validate({"method": method, **METHODS[method]})
        kernel, bias = PrunedConfig(kernel, chosen), MaskedConfig(bias)
    x = keras.Input((6,))
    iq = quantizers.activation(NUMBERS)
    hidden = hgq.QDense(12, activation="relu", kq_conf=kernel, bq_conf=bias, iq_conf=iq, name="hidden")(x)
    plain = {"kq_conf": quantizers.weight(NUMBERS), "bq_conf": quantizers.bias(NUMBERS)}
    return keras.Model(x, hgq.QDense(3, iq_conf=quantizers.activation(NUMBERS), name="out", **plain)(hidden))


def compiled(method: str | None) -> keras.Model:
    model = network(method)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(5e-3), loss, run_eagerly=True)
    return model


def one_epoch(model: keras.Model, position: Any, x: np.ndarray, y: np.ndarray) -> None:
    model.fit(x, y, batch_size=32, epochs=1, shuffle=False, verbose=0)


def values(model: keras.Model) -> list[np.ndarray]:
    return [np.array(keras.ops.convert_to_numpy(v)) for v in model.variables]


def mask_of(model: keras.Model) -> np.ndarray:
    return keras.ops.convert_to_numpy(pruned_kernels(model)[0].pruned.mask)


@given(st.integers(0, 4), st.integers(1, 5), st.integers(1, 3), st.integers(0, 4))
def test_positions_cover_all_epochs_in_order(pretrain, epochs, rounds, finetune):
    chosen = FixedCompression.model_validate(
        {"pretrain_epochs": pretrain, "epochs": epochs, "rounds": rounds, "finetune_epochs": finetune, "prune": "dst"}
    )
    stages = Stages.__new__(Stages)
    stages.config = chosen
    found = [stages.position(i) for i in range(chosen.total_epochs)]
    expected = [(PRETRAIN, 0, e) for e in range(pretrain)]
    expected += [(TRAIN, r, e) for r in range(rounds) for e in range(epochs)]
    expected += [(FINETUNE, rounds - 1, e) for e in range(finetune)]
    assert [(p.stage, p.round, p.epoch) for p in found] == expected
    assert all(p.epoch < p.epochs for p in found)


@pytest.mark.backends
@pytest.mark.parametrize("method", METHODS if keras.backend.backend() == "torch" else ["dst", "pdp"])
def test_masks_are_ones_before_training_and_fixed_in_fine_tuning(method):
    x, y = blobs(96)
    model = compiled(method)
    seen: dict[int, list[np.ndarray]] = {}

    def validate(model: keras.Model, position: Any, **_: Any) -> None:
        seen.setdefault(position.stage, []).append(mask_of(model))

    Stages(model, config(method), model.optimizer).run(one_epoch, validate, x=x, y=y)
    assert all((mask == 1).all() for mask in seen[PRETRAIN])
    first, last = seen[FINETUNE]
    np.testing.assert_array_equal(first, last)
    np.testing.assert_array_equal(last, mask_of(model))


@pytest.mark.backends
@pytest.mark.parametrize("method", METHODS if keras.backend.backend() == "torch" else ["cs"])
@pytest.mark.parametrize("stop", [1, 4, 5] if keras.backend.backend() == "torch" else [4])
def test_a_run_resumed_in_any_stage_is_the_uninterrupted_run(method, stop, tmp_path):
    x, y = blobs(96)
    plan = config(method, rounds=2, epochs=2, finetune_epochs=1, rewind="every_round")
    whole = compiled(method)
    Stages(whole, plan, whole.optimizer).run(one_epoch, x=x, y=y)

    first = compiled(method)
    stages = Stages(first, plan, first.optimizer)
    for epoch in range(stop):
        one_epoch(first, stages.begin_epoch(epoch), x, y)
    stages.save(tmp_path / "checkpoint.npz", stop)
    second = compiled(method)
    for variable in second.variables:
        if "float" in str(variable.dtype):
            variable.assign(np.zeros(variable.shape))
    resumed = Stages(second, plan, second.optimizer)
    start, _ = resumed.load(tmp_path / "checkpoint.npz")
    resumed.run(one_epoch, start=start, x=x, y=y)
    for a, b in zip(values(whole), values(second), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.backends
def test_rewinding_restores_weights_but_not_masks():
    x, y = blobs(96)
    model = compiled("magnitude")
    plan = config("magnitude", pretrain_epochs=0, rounds=2, rewind="every_round", save_epoch=1)
    stages = Stages(model, plan, model.optimizer)
    kernel = pruned_kernels(model)[0]
    saved = []
    for epoch in range(plan.epochs):
        position = stages.begin_epoch(epoch)
        if epoch == 1:
            saved = [keras.ops.convert_to_numpy(v).copy() for v in (kernel.variable, model.layers[1].bias)]
        one_epoch(model, position, x, y)
    stages.begin_epoch(plan.epochs)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(kernel.variable), saved[0])
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(model.layers[1].bias), saved[1])
    alive = keras.ops.convert_to_numpy(kernel.pruned.slots["mask"])
    assert 0 < (alive == 0).sum() < alive.size


@pytest.mark.backends
def test_a_layer_with_a_sparsity_of_its_own_gets_that_one():
    plain = keras.Sequential([keras.Input((6,)), *(keras.layers.Dense(8, name=name) for name in "abc")])
    recipe = {
        "recipe": "fixed", "epochs": 1, "prune": {"method": "pdp", "sparsity": 0.5},
        "layers": {"a": {"prune": {"sparsity": 0.9}}},
    }  # fmt: skip
    model = compress(plain, recipe)
    Stages(model, model.weft_recipe).begin_epoch(0)
    slots = {k.name.split("/")[-1]: k.pruned.slots["share"] for k in pruned_kernels(model)}
    share = {name: float(keras.ops.convert_to_numpy(slot)) for name, slot in slots.items()}
    assert share["a"] == pytest.approx(round(0.9 * 48) / 48)
    assert share["b"] + share["c"] == pytest.approx(1.0)


def test_a_recipe_without_layers_to_prune_is_refused():
    with pytest.raises(ConfigError, match=r"prune\.method 'dst' was asked for, but no layer of .* carries it"):
        Stages(network(None), config("dst"))


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    stages = Stages(network("dst"), config("dst"))
    stages.save(tmp_path / "checkpoint.npz", 1)
    with pytest.raises(RunError, match=r"checkpoint .* belongs to another model or optimizer"):
        Stages(network(None), config(None)).load(tmp_path / "checkpoint.npz")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"save_epoch": 3}, r"must be < epochs=3; got 3"),
        ({"rounds": 2, "prune": None}, r"> 1 needs a method in prune, or all rounds are alike; got 2"),
    ],
)
def test_stages_that_cannot_be_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        config("dst", **changes)


def test_a_callable_sees_every_position():
    model = compiled("dst")
    x, y = blobs(64)
    seen: list[str] = []

    def train(model: keras.Model, position: Any, **rest: Any) -> None:
        seen.append(position.name)
        one_epoch(model, position, **rest)

    Stages(model, config("dst")).run(train, x=x, y=y)
    assert seen == ["pretrain", "train", "train", "train", "finetune", "finetune"]


FIRST = {"recipe": "fixed", "epochs": 2, "prune": {"method": "dst"}}


def compressed(recipe: dict[str, Any]) -> keras.Model:
    keras.utils.set_random_seed(0)
    return compress(keras.Sequential([keras.Input((6,)), *(keras.layers.Dense(8, name=n) for n in "ab")]), recipe)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prune": {"method": "pdp", "sparsity": 0.5}}, r"was made with prune: {'method': 'dst'}, and this .* 'pdp'"),
        ({"prune": {"method": "dst", "alpha": 1e-3}}, r"was made with prune: .* this recipe has .*'alpha': 0\.001"),
        ({"prune": None}, r"was made with prune: .* and this recipe has None; make the model anew"),
        ({"precisions": [{"total_bits": 4}]}, r"was made with precisions: \[\{'total_bits': 8\}\], and .*: 4\}\]"),
        ({"layers": {"a": {"weight": {"bits": 3}}}}, r"was made with layers: {}, and this recipe has"),
        (
            {"io_bits": 12},
            r"was made with io_bits: None, and this recipe has 12; make the model anew with weft.compress",
        ),
        ({"recipe": "hgq"}, r"was made with recipe: fixed, and this recipe has hgq"),
    ],
)
def test_a_recipe_that_asks_for_another_model_is_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        Stages(compressed(FIRST), read({**FIRST, **changes}))


def test_a_recipe_may_train_otherwise_what_was_made_with_another():
    other = {**FIRST, "epochs": 7, "finetune_epochs": 1, "learning_rate": 1e-4}
    Stages(compressed(FIRST), read(other))
    Stages(compressed({**FIRST, "precisions": [{"total_bits": 8}, {"total_bits": 4}]}), read(FIRST))


def test_a_model_from_a_file_is_held_against_the_recipe_by_its_method(tmp_path):
    from weft.quantize.files import read_model

    compressed(FIRST).save(tmp_path / "model.keras")
    model = read_model(tmp_path / "model.keras")
    Stages(model, read(FIRST))
    with pytest.raises(ConfigError, match=r"was made with prune: {'method': 'dst'}, and this recipe has .*'pdp'"):
        Stages(model, read({**FIRST, "prune": {"method": "pdp", "sparsity": 0.5}}))


def test_a_sparsity_that_would_empty_layers_is_refused_before_training():
    recipe = {**FIRST, "prune": {"method": "pdp", "sparsity": 0.99}}
    with pytest.raises(ConfigError, match=r"a sparsity of 0\.99 leaves 1 of 112 weights to 2 layers .* most is 0\.98"):
        Stages(compressed(recipe), read(recipe))
    recipe["prune"]["sparsity"] = 0.98
    Stages(compressed(recipe), read(recipe))


@pytest.mark.backends
@pytest.mark.parametrize("returned", [float("nan"), np.float32("inf"), {"loss": 0.1, "accuracy": np.array(np.nan)}])
def test_a_number_of_an_epoch_that_is_none_ends_training(returned):
    stages = Stages(network("dst"), config("dst"))
    with pytest.raises(TrainingError, match=r"train_epoch returned( accuracy)? (nan|inf) in epoch 0; lower the learn"):
        stages.run(lambda model, position: returned)
    with pytest.raises(TrainingError, match=r"validate_epoch returned"):
        stages.run(lambda model, position: {"n": 3, "name": "x"}, lambda model, position: returned, start=0)


def test_layers_that_cannot_be_replaced_stay_in_float_on_request():
    class Own(keras.layers.Layer):
        def call(self, x):
            return keras.ops.sin(x)

    def recipe(**more):
        return {"recipe": "fixed", "epochs": 1, **more}

    model = keras.Sequential(
        [keras.Input((6,)), keras.layers.Dense(3, name="a"), Own(name="own"), keras.layers.Dense(2, name="b")]
    )
    with pytest.raises(UnsupportedError, match=r"'own' .*\n.*list in keep_float the layers that are to stay"):
        compress(model, recipe())
    made = compress(model, recipe(keep_float=["own", "b"]))
    assert made.get_layer("own").__class__ is Own and type(made.get_layer("b")) is keras.layers.Dense
    assert {finding.place for finding in weft.check(made)} == {"own", "b"}
    assert "layer 'b' (Dense) has float weights" in str(objection(weft.finalize(made, np.ones((4, 6), "f"))))


def test_widths_are_learnt_by_tensor_channel_or_weight():
    sizes = {
        granularity: compress(
            keras.Sequential([keras.Input((6,)), keras.layers.Dense(4, name="a")]),
            {"recipe": "hgq", "granularity": granularity},
        ).get_layer("a").kq.quantizer._b.shape
        for granularity in ("tensor", "channel", "weight")
    }  # fmt: skip
    assert sizes == {"tensor": (1, 1), "channel": (1, 4), "weight": (6, 4)}

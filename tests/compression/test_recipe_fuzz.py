"""Any mapping given as a recipe trains, or is refused by an error of weft before anything is trained."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from tests.conftest import blobs
from weft.compression.api import compress, fit, read
from weft.compression.finalize import variables_of
from weft.errors import ConfigError, NoEffectWarning, WeftError

X, Y = blobs(80)


def some(least: int = 0, most: int = 4, **fields: Any) -> st.SearchStrategy:
    """A mapping with a few of the given fields."""
    names = st.lists(st.sampled_from(sorted(fields)), unique=True, min_size=least, max_size=most)
    return names.flatmap(lambda chosen: st.fixed_dictionaries({name: fields[name] for name in chosen}))


def word(*known: Any) -> st.SearchStrategy:
    return st.sampled_from(known)


quantizer = some(
    bits=st.integers(0, 8),
    integer_bits=st.integers(-3, 3) | st.just("auto"),
    signed=st.booleans(),
    granularity=word("tensor", "channel", "weight"),
    round_mode=word("TRN", "RND", "RND_CONV", "S_RND", "RND_ZERO"),
    overflow_mode=word("SAT", "SAT_SYM", "WRAP"),
    learned=st.booleans(),
)
layer = some(
    weight=quantizer,
    bias=quantizer,
    input=quantizer,
    output=st.none() | quantizer,
    table=quantizer,
    hard=st.booleans(),
    multiplier=st.booleans(),
    prune=word(None, False, True, {"sparsity": 0.25}, {"method": "dst"}),
)
method = (
    word("magnitude", "ap", "autosparse", "cs", "dst", "mdmm", "pdp", "wanda")
    | some(only=st.just(["hidden"]), skip=st.just(["out"]), fraction=st.floats(0.1, 0.9)).map(
        lambda more: {"method": "magnitude", **more}
    )
    | some(sparsity=st.floats(0.1, 0.9), n=word(1, 2), m=word(2, 3, 4), granularity=word("weight", "row")).map(
        lambda more: {"method": "pdp", **more}
    )
    | some(sparsity=st.floats(0.1, 0.9), n=word(1, 2), m=word(2, 3, 4), t_delta=word(1, 5)).map(
        lambda more: {"method": "wanda", **more}
    )
    | some(
        metric=word("unstructured", "structured", "dsp", "bram", "ebops", "paca"),
        constraint=word("equal", "less", "greater"),
        sparsity=st.floats(0.1, 0.9),
        count=st.integers(1, 20),
        reuse_factor=word(1, 2, 5),
        weight_bits=word(4, 8),
    ).map(lambda more: {"method": "mdmm", **more})
)
common = {
    "batch_size": word(16, 1000),
    "schedule": word("constant", "cosine", "plateau") | st.just({"name": "restarts", "period_epochs": 1}),
    "early_stopping": st.none() | st.just({"patience": 1}),
    "loss": word("auto", "cross_entropy", "mse"),
    "metric": word("auto", "accuracy", "auc", "fidelity"),
    "optimizer": word("adam", "sgd", {"name": "sgd", "momentum": 0.5}),
    "weight_decay": st.none() | some(p=word(0.5, 1, 2.0), decay=word(0, 1e-3), decayed=st.just(["hidden*"])),
    "distil": some(temperature=word(1, 4.0), alpha=word(0.0, 0.5, 1), features=word([], ["hidden"], ["none"])),
    "low_rank": st.sampled_from([{"rank": 2}, {"energy": 0.7}, {"budget": {"macs": 50}}, {"rank": 1, "energy": 0.5}]),
    "prune": st.none() | method,
    "prune_first": st.booleans(),
    "quantize_from": word("pretrain", "train", "finetune"),
    "pretrain_epochs": word(0, 1),
    "rounds": word(1, 2),
    "finetune_epochs": word(0, 1),
    "rewind": word("never", "every_round", "after_training"),
    "save_epoch": word(0, 1),
    "layers": st.dictionaries(word("hidden", "out", "*", "h*n", "nothing"), layer, max_size=2),
    "warm_start": st.booleans(),
}
granularity = word("tensor", "channel", "weight")
precision = st.fixed_dictionaries(
    {"total_bits": st.integers(2, 12)}, optional={"integer_bits": st.integers(-2, 4) | st.just("auto")}
)
fixed = some(
    2,
    5, **common, precisions=st.lists(precision, min_size=1, max_size=2), granularity=granularity,
    io_bits=st.integers(1, 24), epochs=word(0, 1, 2),
).map(lambda more: {"recipe": "fixed", "epochs": 1, "batch_size": 16, **more})  # fmt: skip
hgq = some(
    2,
    5, **common, beta=word(1e-5, {"from": 1e-7, "to": 1e-5}), target=st.none() | st.just({"ebops": 500}),
    gamma=word(0, 1e-8), bits0=st.integers(1, 12), epochs=word(1, 2), keep=word(1, 2),
).map(lambda more: {"recipe": "hgq", "epochs": 1, "finetune_epochs": 0, "batch_size": 16, **more})  # fmt: skip
recipes = fixed | hgq

STRANGE = (
    None,
    True,
    -1,
    0,
    10**6,
    1e-300,
    -0.5,
    float("nan"),
    float("inf"),
    "",
    "dst",
    "a\nb",
    [],
    [None],
    {},
    {"a": 1},
)


@st.composite
def damaged(draw: Any) -> Any:
    """A recipe in which one value, somewhere, is something else, or one key is misspelt."""
    recipe = copy.deepcopy(draw(recipes))
    places = list(_places(recipe))
    holder, key = draw(st.sampled_from(places))
    if isinstance(holder, dict) and draw(st.booleans()):
        holder[f"{key}x"] = holder.pop(key)
    else:
        holder[key] = draw(st.sampled_from(STRANGE))
    return recipe


def _places(value: Any) -> Any:
    for key, item in value.items() if isinstance(value, dict) else enumerate(value):
        yield value, key
        if isinstance(item, dict | list):
            yield from _places(item)


def network() -> keras.Model:
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(4, activation="relu", name="hidden"), keras.layers.Dense(3, name="out")]
    return keras.Sequential([keras.Input((6,)), *layers], name="net")


def is_trained(recipe: Any) -> bool:
    """Train by a recipe; False if it was refused before the first epoch ended."""
    epochs: list[int] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NoEffectWarning)
        try:
            model = compress(network(), recipe, X)
            before = variables_of(model)
            if model.weft_recipe.total_epochs == 0:
                return True
            fit(model, (X, Y), progress=lambda done, *_: epochs.append(done))
        except WeftError as error:
            event(type(error).__name__)
            assert not epochs and len(str(error)) > 20
            return False
    weights = {name: value for name, value in variables_of(model).items() if name.endswith(("/kernel", "/bias"))}
    assert epochs and all(np.isfinite(value).all() for value in weights.values())
    assert any((before[name] != value).any() for name, value in weights.items())
    return True


@settings(max_examples=3)
@given(recipes)
def test_a_recipe_trains_or_is_refused(recipe):
    event("trained" if is_trained(recipe) else "refused")


@settings(max_examples=60)
@given(damaged())
def test_a_damaged_recipe_is_refused_or_still_makes_a_network(recipe):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NoEffectWarning)
        try:
            config = read(recipe)
        except ConfigError as error:
            assert len(str(error)) > 20
            return
        try:
            compress(network(), config, X)
        except WeftError as error:
            assert len(str(error)) > 20


@pytest.mark.slow
@pytest.mark.timeout(3600)
@settings(max_examples=60)
@given(recipes | damaged())
def test_many_recipes_train_or_are_refused(recipe):
    event("trained" if is_trained(recipe) else "refused")

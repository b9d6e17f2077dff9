"""What a caller gets wrong is refused before anything is trained, and the message names it; nothing is ignored."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers as L

import weft
from tests.conftest import blobs
from weft.errors import ConfigError, DataError, NoEffectWarning, ShapeError, UnsupportedError

X, Y = blobs(40)
RECIPE = {"recipe": "fixed", "epochs": 1, "batch_size": 16}


def network(activation="relu") -> keras.Model:
    return keras.Sequential([keras.Input((6,)), L.Dense(4, activation, name="a"), L.Dense(3, name="b")], name="net")


def with_(value, at=(3, 2)) -> np.ndarray:
    x = X.copy()
    x[at] = value
    return x


@pytest.fixture(scope="module")
def compressed() -> keras.Model:
    return weft.compress(network(), RECIPE)


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (with_(np.nan), DataError, r"row 3 holds nan at \[2\]; correct or remove the row"),
        (with_(np.inf), DataError, r"row 3 holds inf at \[2\]"),
        (X[:0], DataError, "needs at least one row, and got none"),
        (X[:, :4], ShapeError, r"the rows have shape \(40, 4\), and input '.*' takes \(n, 6\)"),
        (X[0], ShapeError, r"the rows have shape \(6,\)"),
        (X.astype(str), DataError, "the rows hold values of type <U.*; give an array of real numbers"),
        ([X, X], ShapeError, r"the rows have shape \(2, 40, 6\)"),
    ],
)
def test_rows_that_cannot_be_used_are_refused_wherever_they_are_given(compressed, x, error, message):
    for give in (
        lambda: weft.compress(network(), RECIPE, x),
        lambda: weft.finalize(compressed, x),
        lambda: weft.fit(compressed, (x, Y)),
        lambda: weft.fit(compressed, (X, Y), validation=(x, Y)),
    ):
        with pytest.raises(error, match=message):
            give()


@pytest.mark.parametrize(
    ("y", "task", "error", "message"),
    [
        (Y + 1, "classification", DataError, "row .* holds 3, and the model's 3 outputs are the classes 0 to 2"),
        (Y - 1, "classification", DataError, "row .* holds -1, and the model's 3 outputs"),
        (Y + 0.5, "classification", DataError, r"row 0 holds \d.5, and the model's 3 outputs"),
        (np.eye(3)[Y], "classification", ShapeError, r"y has shape \(40, 3\), .* use y.argmax\(axis=1\) for one-hot"),
        (np.where(Y == 1, np.nan, Y), "classification", DataError, "training y: row .* holds nan"),
        (Y.astype(str), "classification", DataError, "training y holds values of type <U.*; give numbers"),
        (Y[:5], "classification", DataError, "fit was given 40 training rows of x and 5 of y"),
        (Y, "regression", ShapeError, r"y has shape \(40,\), and the model gives \(n, 3\) for a regression"),
        (2 * np.eye(3)[Y], "binary", DataError, r"row 0 holds .*; the states of a binary task are 0 and 1"),
        (Y, "clasification", ConfigError, "task must be one of classification, .*; did you mean 'classification'"),
    ],
)
def test_targets_that_do_not_fit_are_refused(compressed, y, task, error, message):
    with pytest.raises(error, match=message):
        weft.fit(compressed, (X, y), task=task)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"data": X}, DataError, r"data must be a pair of arrays .* got an array of shape \(40, 6\)"),
        ({"data": (X, Y, Y)}, DataError, "data must be a pair of arrays .* got 3 values"),
        ({"data": None}, DataError, "got a NoneType"),
        ({"data": (X[:1], Y[:1])}, DataError, "training needs at least 2 rows"),
        ({"seed": -1}, ConfigError, "seed must be a whole number >= 0; got -1"),
        ({"directory": __file__}, ConfigError, "test_bad_input.py is a file; name a folder"),
        (
            {"data": (X, np.ones((40, 3))), "task": "binary"},
            DataError,
            "all 8 validation rows hold state 1, and fidelity",
        ),
        ({"teacher": "t.keras"}, ConfigError, "given a teacher, and the recipe has no section distil"),
    ],
)
def test_arguments_of_fit_that_make_no_sense_are_refused(compressed, given, error, message):
    with pytest.raises(error, match=message):
        weft.fit(compressed, **({"data": (X, Y)} | given))


def test_models_that_cannot_be_used_are_refused():
    for give in (weft.check, weft.finalize, lambda model: weft.compress(model, RECIPE)):
        with pytest.raises(UnsupportedError, match=r"expected a Keras model, and got a str; read a file with keras"):
            give("net.keras")
    with pytest.raises(ConfigError, match=r"'net' is a float model: make a quantised one with weft\.compress"):
        weft.fit(network(), (X, Y), RECIPE)
    with pytest.raises(ConfigError, match=r"'net' has no recipe: make it with weft\.compress, or give fit a recipe"):
        weft.fit(network(), (X, Y))
    one, two = keras.Input((6,)), keras.Input((6,))
    several = keras.Model([one, two], L.Dense(3)(L.Add()([one, two])), name="several")
    with pytest.raises(UnsupportedError, match=r"'several' has 2 inputs and 1 outputs, .* use Keras' fit with"):
        weft.fit(weft.compress(several, RECIPE), ([X, X], Y))
    with pytest.raises(
        ShapeError, match=r"x was given one ndarray for the 2 inputs of 'several' .*; give one array for each"
    ):
        weft.compress(several, RECIPE, X)
    weft.compress(several, RECIPE, [X, X])


@pytest.mark.parametrize("recipe", ["ptq", "wanda-ptq", RECIPE, {**RECIPE, "low_rank": {"rank": 2}}])
def test_a_network_that_has_diverged_is_refused_by_the_name_of_its_weight(recipe):
    model = network()
    model.layers[1].bias.assign([0, np.nan, 0])
    with pytest.raises(DataError, match=r"weight 'net/b/bias' of 'net' is nan at \[1\]; a network that has diverged"):
        weft.compress(model, recipe, X)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"precisions": [{"total_bits": 4, "integer_bits": -99}]}, "precisions.0.integer_bits: must be >= -24"),
        ({"precisions": [{"total_bits": 25}]}, "precisions.0.total_bits: must be <= 24; got 25"),
        ({"io_bits": 32}, "io_bits: must be <= 24; got 32"),
        ({"recipe": "hgq", "bits0": 13}, "bits0: must be <= 12; got 13"),
        ({"layers": {"a": {"prune": True}}}, r"layer 'a' is to be pruned \(prune: true\), but the network has no"),
        ({"layers": {"a": {"prune": {"method": 3}}}}, "layer 'a' cannot be pruned so: there is no pruning method '3'"),
        ({"layers": {"a": {"prune": {"method": []}}}}, r"layer 'a' cannot be pruned so: .* method '\[\]'"),
    ],
)
def test_recipes_that_no_network_can_have_are_refused_in_the_words_of_the_file(changes, message):
    with pytest.raises(ConfigError, match=message):
        weft.compress(network(), RECIPE | changes)


@pytest.mark.parametrize(
    ("recipe", "error", "message"),
    [
        ("fixedd", ConfigError, r"^compress\.recipe: must be one of none, hgq, fixed, .*; did you mean 'fixed'\?"),
        ("budget", ConfigError, "compress: needs a budget, either lut or ebops; got none"),
        (
            {"recipe": "budget", "lut": 9},
            ConfigError,
            "recipe 'budget' trains several models and needs a run: use 'weft",
        ),
        ({"recipe": "fitcompress"}, ConfigError, r"compress\.search: is missing; it has no default"),
        ({"recipe": "hgq", "target": {"ebops": 0}}, ConfigError, r"compress\.target\.ebops: must be >= 1; got 0"),
        ({**RECIPE, "prunee": "dst"}, ConfigError, r"compress\.prunee: unknown key; did you mean 'prune'\?"),
        ({**RECIPE, "prune": "dts"}, ConfigError, r"prune\.method: must be one of .*; did you mean 'dst'\?"),
        (
            {**RECIPE, "prune": {"method": "dst", "alhpa": 1}},
            ConfigError,
            r"alhpa: unknown key; did you mean 'alpha'\?",
        ),
        ({**RECIPE, "prune": {"method": "wanda", "n": 2, "m": 4}}, ShapeError, r"'a' .* groups of m=4; set m to a div"),
        ({**RECIPE, "metric": "acc"}, ConfigError, r"metric: must be .*; got 'acc'; did you mean 'auc'\?"),
        ({**RECIPE, "learning_rate": np.nan}, ConfigError, "learning_rate: must be a finite number; got nan"),
        ({**RECIPE, "layers": "none.yaml"}, ConfigError, r"layers: cannot read the layers' settings from 'none\.yaml'"),
    ],
)
def test_recipes_that_are_none_are_refused_by_their_key_and_value(recipe, error, message):
    with pytest.raises(error, match=message):
        weft.compress(network(), recipe)


@pytest.mark.parametrize(
    ("activation", "settings", "part"),
    [
        ("tanh", {"multiplier": True}, "multiplier"),
        ("relu", {"hard": True}, "hard"),
        ("relu", {"table": {"bits": 4}}, "table"),
    ],
)
def test_a_setting_that_means_nothing_for_its_layer_is_said(activation, settings, part):
    with pytest.warns(NoEffectWarning, match=rf"'a' in layers sets {part}, which means nothing for a \(Dense\)"):
        weft.compress(network(activation), {**RECIPE, "layers": {"a": settings}})


def test_a_column_of_class_numbers_is_as_good_as_a_row(compressed):
    one = weft.fit(compressed, (X, Y[:, None]), seed=3)
    assert all(0 <= entry["accuracy"] <= 1 for entry in one.epochs)

"""What is tuned: Keras models of any shape, the first baseline, and what does not fit."""

from __future__ import annotations

import numpy as np
import pytest

from tests.conftest import blobs
from weft.compression.training import Material
from weft.config import loads
from weft.data import Dataset, Provenance, Split
from weft.errors import ConfigError, RunError, ShapeError, UnsupportedError
from weft.run import Run
from weft.tune.subject import Asked, Subject, prepare

TEXT = """\
version: 1
name: small
data: {name: jets-hlf, rows: {train: 300, validation: 200, test: 100}}
space: {quantization: {mode: float}}
search: {epochs: 1, batch_size: 128, baselines: [{units: [5], activation: relu}, {units: [9]}]}
compress:
  {recipe: fixed, epochs: 1, batch_size: 64, learning_rate: 1e-3, keep: 1, precisions: [{total_bits: 12}], io_bits: 16}
"""
SIX = {"input_shape": [6], "n_outputs": 3}


@pytest.fixture(scope="module")
def keras():
    import keras

    return keras


@pytest.fixture(scope="module")
def material() -> Material:
    raw = {
        name: Split(*blobs(n, seed=i)) for i, (name, n) in enumerate([("train", 256), ("validation", 64), ("test", 64)])
    }
    source = Provenance("blobs", "Gaussian classes", "0" * 64)
    return Material.of(
        Dataset.build(raw, name="blobs", task="classification", provenance=source, class_names=("a", "b", "c"))
    )


def network(keras, end: str):
    """Return a network that no search of weft finds, ending in probabilities of one kind or another."""
    inputs = keras.Input((6,))
    x = keras.layers.Dense(8, activation="relu")(inputs)
    x = keras.layers.ReLU()(keras.layers.BatchNormalization()(keras.layers.Dense(7)(x)))
    if end == "in the layer":
        return keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(x))
    x = keras.layers.Dense(3)(x)
    ends = {"softmax": keras.layers.Softmax(), "activation": keras.layers.Activation("softmax")}
    return keras.Model(inputs, ends[end](x) if end in ends else x)


@pytest.fixture
def run(tmp_path) -> Run:
    return Run.create(tmp_path / "tune", loads(TEXT), TEXT)


@pytest.mark.parametrize("end", ["in the layer", "softmax", "activation", "logits"])
def test_a_keras_model_loses_the_softmax_at_its_end_and_nothing_else(keras, run, end, tmp_path):
    model = network(keras, end)
    model.save(tmp_path / "m.keras")
    prepare(run, Asked(model=tmp_path / "m.keras"), SIX)
    subject = Subject.open(run.path)
    assert subject.source == f"the model {tmp_path / 'm.keras'}"
    x = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32)
    logits, expected = (np.asarray(m.predict(x, verbose=0)) for m in (subject.model, model))
    if end != "logits":
        logits = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(logits, expected, rtol=1e-5)


def test_a_keras_model_of_its_own_shape_is_compressed_from_its_weights_or_from_new_ones(keras, run, material, tmp_path):
    network(keras, "softmax").save(tmp_path / "m.keras")
    subject = prepare(run, Asked(model=tmp_path / "m.keras"), SIX)
    x = material.splits[1].x
    before = np.asarray(subject.model.predict(x, verbose=0))
    still = {"compress.learning_rate": 1e-9}
    (kept,) = subject.compress(material, run.experiment.tuned(still), tmp_path / "kept")
    np.testing.assert_allclose(np.asarray(kept.model.predict(x, verbose=0)), before, atol=0.1)
    anew = run.experiment.tuned({**still, "compress.warm_start": False})
    (other,) = subject.compress(material, anew, tmp_path / "anew")
    assert np.abs(np.asarray(other.model.predict(x, verbose=0)) - before).max() > 0.5
    np.testing.assert_array_equal(np.asarray(subject.model.predict(x, verbose=0)), before)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"input_shape": [16], "n_outputs": 3}, r"it reads rows of shape \(6,\) and gives 3 outputs, .* \(16,\) and 3"),
        ({"input_shape": [6], "n_outputs": 5}, r"gives 3 outputs, the data have shape \(6,\) and 5"),
    ],
)  # fmt: skip
def test_a_model_that_does_not_fit_the_data_is_refused(keras, run, tmp_path, data, said):
    network(keras, "logits").save(tmp_path / "m.keras")
    with pytest.raises(ShapeError, match=said):
        prepare(run, Asked(model=tmp_path / "m.keras"), data)
    assert not (run.path / "network").exists()


def test_a_model_with_two_inputs_is_refused(keras, run, tmp_path):
    inputs = [keras.Input((3,)), keras.Input((3,))]
    keras.Model(inputs, keras.layers.Add()(inputs)).save(tmp_path / "m.keras")
    with pytest.raises(
        UnsupportedError, match=r"m\.keras has 2 inputs and 1 outputs; models with one of each are tuned"
    ):
        prepare(run, Asked(model=tmp_path / "m.keras"), SIX)


def test_a_keras_model_is_not_left_in_float(keras, run, material, tmp_path):
    network(keras, "logits").save(tmp_path / "m.keras")
    subject = prepare(run, Asked(model=tmp_path / "m.keras"), SIX)
    none = run.experiment.tuned({"compress.recipe": "none"})
    with pytest.raises(ConfigError, match=r"compress\.recipe is 'none', which leaves a Keras model in float"):
        subject.compress(material, none, tmp_path)


def test_the_first_baseline_is_trained_once_as_a_search_would(run):
    from weft.data import load

    data = load(run.experiment.data).summary()
    subject = prepare(run, Asked(), data)
    assert subject.architecture.blocks[0].units == (5,)
    assert subject.weights["block0_dense0/kernel"].shape == (16, 5)
    assert subject.weights["output/bias"].any()  # it has learnt something
    written = {path: path.stat().st_mtime_ns for path in (run.path / "network").iterdir()}
    again = prepare(run, None, data)
    assert {path: path.stat().st_mtime_ns for path in (run.path / "network").iterdir()} == written
    assert again.architecture == subject.architecture
    for name, values in subject.weights.items():
        np.testing.assert_array_equal(again.weights[name], values)


def test_a_run_without_one_design_wants_its_name(run, tmp_path):
    with pytest.raises(ConfigError, match=r"has 0 designs \(none yet\); say which one to tune with --design"):
        Asked(run=run.path).named()


def test_a_baseline_that_cannot_be_trained_says_why(tmp_path):
    text = TEXT.replace("{units: [5], activation: relu}", "{units: [5], activation: relu, learning_rate: 1e30}")
    run = Run.create(tmp_path / "tune", loads(text), text)
    with pytest.raises(RunError, match=r"the first baseline, which is to be tuned, could not be trained: .*nan"):
        prepare(run, Asked(), {"input_shape": [16], "n_outputs": 5})

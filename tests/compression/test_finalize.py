"""Finalised models: masks baked in, nothing left to train, plain HGQ2 on disk, equal after reloading without weft."""

from __future__ import annotations

import subprocess
import sys

import keras
import numpy as np
import pytest

from tests.compression.conftest import FLOAT
from tests.conftest import blobs
from weft.compression.api import compress, fit
from weft.compression.finalize import assign, finalize, variables_of
from weft.config.numbers import FixedNumbers, HgqNumbers
from weft.errors import ConfigError, ShapeError, UnsupportedError
from weft.prune import method_of
from weft.prune.magnitude import Magnitude
from weft.quantize.calibrate import calibrate
from weft.quantize.convert import convert
from weft.quantize.kernels import kernels
from weft.quantize.observe import observe
from weft.quantize.pruned import FINETUNE, TRAIN
from weft.space.architecture import Architecture
from weft.space.blocks import MlpGenes
from weft.space.model import build

HGQ = FLOAT.with_numbers(HgqNumbers(bits0=5))


def test_a_float_model_has_nothing_to_freeze():
    with pytest.raises(UnsupportedError, match=r"'weft' is a float model: it has no bits to freeze"):
        finalize(build(FLOAT), blobs(10)[0])


def test_a_missing_variable_is_named():
    model = build(HGQ)
    values = variables_of(model)
    values.pop("output/bias")
    with pytest.raises(ShapeError, match="no value for variable 'output/bias' of 'weft' among those given"):
        assign(model, values)


def test_a_finalised_model_cannot_be_trained(tmp_path):
    x, y = blobs(200)
    finalize(build(HGQ, 4), x).save(tmp_path / "model.keras")
    model = keras.models.load_model(tmp_path / "model.keras")
    with pytest.raises(ConfigError, match="'weft' has no trainable variable: a finalised model cannot be trained"):
        fit(model, (x, y), "hgq")
    before = variables_of(model)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(3 * x, y, epochs=1, verbose=0)
    for name, value in variables_of(model).items():
        if name.endswith("/ebops"):  # the count of the last step, no part of the network
            continue
        np.testing.assert_array_equal(value, before[name], err_msg=name)


def test_a_saved_design_computes_the_same_where_weft_is_not_installed(tmp_path):
    x, _ = blobs(500)
    model = finalize(build(HGQ, 4), x)
    expected = model.predict(3 * x, batch_size=500, verbose=0)
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "x.npy", 3 * x)
    code = (
        "import sys, os; os.environ['KERAS_BACKEND'] = 'jax'\n"
        "import numpy as np, keras, hgq\n"
        "model = keras.models.load_model('model.keras', compile=False)\n"
        "np.save('y.npy', model.predict(np.load('x.npy'), batch_size=500, verbose=0))\n"
        "assert not any(name == 'weft' or name.startswith('weft.') for name in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=300)
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), expected)


@pytest.mark.parametrize("normalization", ["none", "batch"])
@pytest.mark.parametrize("numbers", [HgqNumbers(bits0=4), FixedNumbers(total_bits=6)], ids=["hgq", "fixed"])
def test_a_masked_weight_is_zero_costs_nothing_and_is_baked_in(numbers, normalization):
    genes = MlpGenes(units=(4,), normalization=normalization)
    plain = build(Architecture(input_shape=(6,), n_outputs=3, blocks=(genes,), numbers=FLOAT.numbers), 1)
    model = convert(plain, numbers, method=Magnitude())
    x, _ = blobs(300)
    mask = (np.random.default_rng(2).random((6, 4)) < 0.5).astype(np.float32)
    first = kernels(model)[0]
    full = finalize(model, x)
    model(x, training=True)
    dense = int(first.layer.ebops)
    first.pruned.stage.assign(FINETUNE)
    first.pruned.mask.assign(mask)
    assert (first.quantized()[mask == 0] == 0).all()
    model(x, training=True)
    assert 0 < int(first.layer.ebops) < dense

    baked, whole = kernels(finalize(model, x))[0], kernels(full)[0]
    assert baked.pruned is None
    assert (np.array(baked.variable.value)[mask == 0] == 0).all()
    assert (whole.quantized()[mask == 0] != 0).any()


def test_a_method_that_is_still_at_work_is_ended():
    x, y = blobs(300)
    recipe = {"recipe": "fixed", "epochs": 2, "prune": {"method": "magnitude", "fraction": 0.5}}
    model = compress(build(FLOAT, 1), recipe)
    fit(model, (x, y))
    final = finalize(model, x)
    assert all(kernel.pruned is None for kernel in kernels(final))
    expected = model.predict(x, verbose=0)
    assert np.mean(final.predict(x, verbose=0).argmax(1) == expected.argmax(1)) > 0.95


@pytest.mark.backends
@pytest.mark.parametrize("numbers", [HgqNumbers(), FixedNumbers(), FixedNumbers(integer_bits=2)])
def test_the_biases_of_dead_outputs_are_gone_also_behind_a_normalisation_and_inside_attention(numbers):
    inputs = keras.Input((3, 4))
    x = keras.layers.BatchNormalization(name="norm")(keras.layers.Dense(4, name="fused")(inputs))
    x = keras.layers.MultiHeadAttention(2, 2, name="attention")(x, x)
    x = keras.layers.Conv1D(6, 2, activation="relu", name="conv")(x)
    plain = keras.Model(inputs, keras.layers.Dense(3, name="head")(x), name="dying")
    rng = np.random.default_rng(0)
    for variable in plain.weights:
        if variable.shape:
            low = 0.2 if variable.name in ("gamma", "moving_variance") else -1.5
            variable.assign(rng.uniform(low, 1.5, variable.shape))
    method = method_of("pdp")(granularity="row", sparsity=0.5, skip=["head"])
    model = convert(plain, numbers, method=method)
    rows = rng.normal(size=(64, 3, 4)).astype(np.float32)
    calibrate(model, rows)
    observe(model)
    for kernel in kernels(model)[:-1]:
        kernel.pruned.stage.assign(TRAIN)
        kernel.pruned.times["epochs"].assign(1)
        kernel.harden(kernel.seen())
    final = finalize(model)
    np.testing.assert_array_equal(final.predict(rows, verbose=0), model.predict(rows, verbose=0))
    found = {kernel.name: kernel.layer for kernel in kernels(final)}
    for name in ("fused", "attention/query", "attention/value", "attention/attention_output", "conv"):
        live = keras.ops.convert_to_numpy(keras.ops.stop_gradient(found[name].qbias)) != 0
        assert 0 < live.sum() < live.size, name

"""Quantisation and pruning without training: what `epochs: 0` does, in Python and in runs."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from tests.compression.conftest import FLOAT
from tests.conftest import blobs
from weft.adder_graph import AdderGraph
from weft.compression.api import compress, fit
from weft.compression.finalize import finalize, variables_of
from weft.compression.recipe import compress as compress_in_run
from weft.compression.stages import FINETUNE
from weft.config import FixedCompression
from weft.config.numbers import FixedNumbers
from weft.errors import ConfigError
from weft.quantize.kernels import pruned_kernels
from weft.quantize.ptq import quantize_after_training
from weft.space.model import build, import_weights

WANDA = {"recipe": "fixed", "epochs": 0, "prune": {"method": "wanda", "sparsity": 0.5}}

numpy = keras.ops.convert_to_numpy


def small(dropout: bool = False) -> keras.Model:
    keras.utils.set_random_seed(1)
    layers = [
        keras.layers.Dense(8, activation="relu", name="hidden"),
        *([keras.layers.Dropout(0.5)] if dropout else []),
        keras.layers.Dense(8, activation="relu", name="other"),
        keras.layers.Dense(3, name="out"),
    ]
    return keras.Sequential([keras.Input((6,)), *layers], name="small")


@pytest.mark.backends
def test_ptq_is_quantisation_after_training():
    x, _ = blobs(300)
    made = finalize(compress(small(), "ptq", x), x)
    numbers = FixedNumbers(total_bits=8, granularity="channel", io_bits=16)
    expected = finalize(quantize_after_training(small(), x, numbers), x)
    np.testing.assert_array_equal(made.predict(x, verbose=0), expected.predict(x, verbose=0))
    assert np.abs(made.predict(x, verbose=0) - small().predict(x, verbose=0)).max() < 0.1


@pytest.mark.backends
@pytest.mark.parametrize("budget", ["uniform", "global"])
def test_wanda_after_training_drops_the_least_of_each_output_by_the_inputs_of_all_rows(budget):
    x, _ = blobs(300)
    model = compress(small(dropout=True), {**WANDA, "prune": {**WANDA["prune"], "budget": budget}}, x)
    reads = x.astype(np.float64)
    plain = small(dropout=True)
    for kernel, name in zip(pruned_kernels(model), ("hidden", "other", "out"), strict=True):
        w = numpy(plain.get_layer(name).kernel).astype(np.float64)
        mask = numpy(kernel.pruned.mask)
        score = np.abs(w) * np.sqrt((reads**2).sum(axis=0))[:, None]
        gone = (mask == 0).sum(axis=0)
        if budget == "uniform":
            assert (gone == round(0.5 * len(w))).all()
        assert len(set(gone)) == 1
        for column in range(w.shape[1]):
            dropped, kept = score[mask[:, column] == 0, column], score[mask[:, column] == 1, column]
            assert dropped.max(initial=0) <= kept.min() * 1.02  # ranges of 8 bits may exchange near neighbours
        np.testing.assert_array_equal(numpy(kernel.variable), numpy(plain.get_layer(name).kernel))
        assert int(numpy(kernel.pruned.stage)) == FINETUNE
        reads = np.maximum(reads @ w + numpy(plain.get_layer(name).bias), 0)
    total = sum(kernel.variable.shape[0] * kernel.variable.shape[1] for kernel in pruned_kernels(model))
    assert sum(int((kernel.quantized() == 0).sum()) for kernel in pruned_kernels(model)) >= 0.4 * total


def test_nothing_but_masks_and_ranges_changes():
    x, _ = blobs(300)
    one, two = compress(small(), WANDA, x), compress(small(), {**WANDA, "prune": None}, x)
    before = variables_of(two)
    for name, value in variables_of(one).items():
        if name in before:
            np.testing.assert_array_equal(value, before[name], err_msg=name)


def test_one_shot_then_fine_tuning_keeps_the_masks():
    x, y = blobs(300)
    model = compress(small(), {**WANDA, "finetune_epochs": 1, "batch_size": 64}, x)
    assert (numpy(pruned_kernels(model)[0].pruned.mask) == 1).all()
    fit(model, (x, y), validation=(x, y))
    masks = [numpy(k.pruned.mask) for k in pruned_kernels(model)]
    expected = [numpy(k.pruned.mask) for k in pruned_kernels(compress(small(), WANDA, x))]
    for mask, other in zip(masks, expected, strict=True):
        assert (mask == other).mean() > 0.9  # seen before ranges were calibrated
        assert (mask == 0).mean() == (other == 0).mean()
    assert (numpy(model.get_layer("hidden").kernel) != numpy(small().get_layer("hidden").kernel)).any()


@pytest.mark.parametrize("recipe", ["ptq", "wanda-ptq"])
def test_a_run_has_a_design_without_training(recipe, material, weights, rows, tmp_path):
    from weft.compression.api import read

    config = read({"recipe": recipe, "precisions": [{"total_bits": 8}, {"total_bits": 6}], "keep": 2})
    made = compress_in_run(FLOAT, material, config, 3, weights, tmp_path)
    assert sorted(one.name for one in made) == ["6-auto-epoch-0", "8-auto-epoch-0"]
    plain = build(FLOAT)
    import_weights(plain, weights)
    for one in made:
        expected = one.model.predict(rows, batch_size=len(rows), verbose=0)
        np.testing.assert_array_equal(AdderGraph.from_model(one.model).predict(rows), expected)
        assert one.log["ebops"] > 0 and 0 < one.log["accuracy"] <= 1
        if recipe == "ptq":
            numbers = FixedNumbers(total_bits=int(one.name[0]), granularity="channel", io_bits=16)
            same = quantize_after_training(plain, rows, numbers).predict(rows, batch_size=len(rows), verbose=0)
            np.testing.assert_array_equal(expected, same)
    assert (tmp_path / "trail.csv").read_text().count("\n") == 3


def test_pruning_at_once_needs_rows():
    with pytest.raises(ConfigError, match=r"prunes by 'wanda' without training \(epochs: 0\), and has no rows to look"):
        compress(small(), WANDA)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"prune": "pdp"}, r"prune: 'pdp' finds its masks in training, and epochs: 0 leaves it none; .*: wanda"),
        ({"prune": "wanda", "rounds": 2}, r"rounds: means nothing where epochs is 0; leave it out, got 2"),
        ({"prune": "wanda", "rewind": "after_training"}, r"rewind: means nothing where epochs is 0"),
        ({"save_epoch": 1}, r"save_epoch: means nothing where epochs is 0"),
    ],
)
def test_what_needs_training_is_refused_without_it(section, message):
    with pytest.raises(ConfigError, match=message):
        compress(small(), {"recipe": "fixed", "epochs": 0, **section})


def test_epochs_of_none_go_with_any_schedule():
    assert FixedCompression(epochs=0, schedule={"name": "cosine", "warmup_epochs": 3}).total_epochs == 0

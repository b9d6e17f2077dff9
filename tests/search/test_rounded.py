"""A float network's estimate is of what the quantised network with its weights would be, for any weights put in."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from weft.compression.finalize import frozen
from weft.config.numbers import FixedNumbers, FloatNumbers
from weft.quantize.calibrate import calibrate
from weft.quantize.plain import plain
from weft.search import rounded as module
from weft.search.rounded import Rounded
from weft.space.architecture import Architecture
from weft.space.model import build, export_weights, import_weights

ROWS = np.random.default_rng(0).normal(0, 2, (5000, 16)).astype("f")

BLOCKS = {
    "mlp": {"type": "mlp", "units": (8, 6), "activation": "tanh", "normalization": "batch"},
    "conv1d": {"type": "conv1d", "filters": (3,), "kernel": (3,), "stride": (1,), "pool": (1,)},
}


def architecture(name, numbers):
    shape = (16,) if name == "mlp" else (8, 2)
    return Architecture(input_shape=shape, n_outputs=3, blocks=(BLOCKS[name],), numbers=numbers)


def rows_for(name):
    return ROWS if name == "mlp" else ROWS.reshape(-1, 8, 2)


def as_it_was_written_first(network, weights, x):
    model = build(network)
    import_weights(model, weights)
    calibrate(model, x)
    return frozen(plain(model))


@pytest.mark.parametrize("name", BLOCKS)
def test_each_set_of_weights_gives_the_network_that_is_quantised_with_them(name):
    network = architecture(name, FixedNumbers(total_bits=8, io_bits=8))
    shared = Rounded(network)
    x = rows_for(name)[np.linspace(0, len(ROWS) - 1, module._ROWS).astype(int)]
    for seed in (1, 2):
        weights = export_weights(build(architecture(name, FloatNumbers()), seed))
        rng = np.random.default_rng(seed)
        weights = {path: (value + rng.normal(0, 0.3, value.shape)).astype("f") for path, value in weights.items()}
        weights = {path: np.abs(value) if "variance" in path else value for path, value in weights.items()}
        mine, its = shared.frozen(weights, rows_for(name)), as_it_was_written_first(network, weights, x)
        for one, two in zip(mine.variables, its.variables, strict=True):
            np.testing.assert_array_equal(one, two, err_msg=one.path)
        np.testing.assert_array_equal(mine.predict(x, verbose=0), its.predict(x, verbose=0))


def test_few_rows_are_all_looked_at_and_many_from_first_to_last(monkeypatch):
    seen = []
    monkeypatch.setattr(module, "calibrate", lambda model, x, trace: (seen.append(x), calibrate(model, x, trace)))
    network = architecture("mlp", FixedNumbers())
    shared, weights = Rounded(network), export_weights(build(network))
    shared.frozen(weights, ROWS[:200])
    shared.frozen(weights, ROWS)
    assert [len(x) for x in seen] == [200, module._ROWS]
    np.testing.assert_array_equal(seen[1][[0, -1]], ROWS[[0, -1]])


def test_what_was_made_for_an_architecture_is_made_once():
    text = architecture("mlp", FixedNumbers()).model_dump_json()
    assert module.rounded(text) is module.rounded(text)
    assert isinstance(module.rounded(text)._model, keras.Model)

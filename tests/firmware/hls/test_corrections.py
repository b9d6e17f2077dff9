"""Smallest networks that hls4ml gets wrong without weft's corrections of it."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from tests.firmware.models import PART
from weft.adder_graph import AdderGraph
from weft.config import HlsConfig
from weft.firmware.hls import HlsSimulation, emit


@pytest.mark.parametrize(("moves", "shape", "units"), [("concatenate", (2,), 1), ("permute", (2, 2), 2)])
def test_an_unsigned_value_wraps_into_a_sign_behind_a_move(tmp_path, moves, shape, units):
    """What is 2 behind relu is -2 in the format of two bits that the next layer reads."""
    import keras
    from hgq.config import QuantizerConfigScope
    from hgq.layers import QDense

    with (
        QuantizerConfigScope(place="all", default_q_type="kbi", b0=4, i0=2),
        QuantizerConfigScope(place="datalane", default_q_type="kif", i0=1, f0=0),
    ):
        inputs = keras.Input(shape, name="features")
        x = QDense(units, activation="relu", kernel_initializer="ones", name="first")(inputs)
        x = keras.layers.Concatenate()([x, x]) if moves == "concatenate" else keras.layers.Permute((2, 1))(x)
        model = keras.Model(inputs, QDense(1, kernel_initializer="ones", name="head")(x))
    fraction = model.get_layer("head").iq.quantizer._f  # one of another format, or hls4ml quantises where it is made
    fraction.assign(np.arange(math.prod(fraction.shape)).reshape(fraction.shape) == 0)

    x = np.array(list(itertools.product(range(-2, 2), repeat=math.prod(shape))), np.float32).reshape(-1, *shape)
    expected = AdderGraph.from_model(model).predict(x)
    assert np.array_equal(model.predict(x, verbose=0).reshape(expected.shape), expected)
    project = emit(model, tmp_path / "project", HlsConfig(), PART, 5.0)
    assert np.array_equal(HlsSimulation(project).run(x), expected)

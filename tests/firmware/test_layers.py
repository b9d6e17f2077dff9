"""A design layer by layer: the cuts compute what the layers do, and synthesis says what each takes."""

from __future__ import annotations

import numpy as np
import pytest

from tests.firmware.models import PART, mlp, randomised, samples
from weft.adder_graph import AdderGraph
from weft.firmware.synth import synthesise_layers


@pytest.fixture(scope="module")
def graph():
    return AdderGraph.from_model(randomised(mlp(3, (4, 2))))


def test_each_layer_computes_its_outputs_from_those_of_the_layer_before(graph):
    x = samples(200, 3)
    parts, values = graph.layer_graphs(), graph.layer_outputs(x)
    assert list(parts) == ["d0", "d1"]
    assert np.array_equal(parts["d0"].predict(graph._on_port(x)), values["d0"])
    probe = graph._probe  # a part reads the numbers of operations, of which a layer's values are multiples
    factors = np.where(probe.out_negs[:4], -1.0, 1.0) * 2.0 ** np.array(probe.out_shifts[:4])
    order = np.argsort(probe.out_idxs[:4])
    assert parts["d1"].input_shape == (4,)
    assert np.array_equal(parts["d1"].predict((values["d0"] / factors)[:, order]), values["d1"])
    assert 0 < graph.lut < sum(part.lut for part in parts.values()) < 2 * graph.lut


@pytest.mark.slow
def test_layers_are_synthesised_with_their_estimates(graph):
    found = synthesise_layers(graph, PART, 5.0)
    assert "the sum is not that of the whole design" in found["note"] and set(found["layers"]) == {"d0", "d1"}
    for layer in found["layers"].values():
        assert layer["lut"]["stage"] == "synthesis" and layer["ff"]["value"] > 0
        assert 0.5 < layer["lut"]["value"] / layer["estimate"]["value"] < 2

"""What came through the door goes all the way: compress, finalise, adder graph, Verilog, and back to torch, exactly."""

from __future__ import annotations

import copy
import re

import numpy as np
import pytest
import torch
from torch import nn

import weft
from tests.firmware.models import PART
from tests.pytorch.conftest import arrays
from tests.pytorch.zoo import ZOO
from weft.adder_graph import AdderGraph
from weft.errors import UnsupportedError
from weft.firmware import Simulator, emit, verify

QUICK = [
    "mlp with residuals", "cnn 1d", "cnn 2d", "depthwise separable", "attention by hand", "transformer encoder layer",
    "gru tagger", "autoencoder", "two inputs, two outputs", "layer norm",
]  # fmt: skip
"""Those that the quick tests take the whole way, with the deep sets of the page; the others are slow tests."""

pytestmark = [
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The TorchScript type system:UserWarning"),  # of its own ModuleList
]


def some(names):
    return [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in names]


def outputs_of(module, rows):
    with torch.no_grad():
        found = module(*(one.float() for one in rows))
    return [one.numpy() for one in ([found] if isinstance(found, torch.Tensor) else found)]


def keras_outputs(model, rows):
    found = model.predict(arrays(rows), batch_size=512, verbose=0)
    return found if isinstance(found, list) else [found]


@pytest.mark.parametrize("name", some(ZOO))
def test_the_frozen_module_computes_the_same_bit_for_bit(final, name):
    one = final(name)
    module = weft.to_torch(one.model)
    rows = one.case.rows(512, 9)
    rows = rows if one.case.numbers else tuple(2 * row for row in rows)  # beyond the ranges, too, where values wrap
    found = outputs_of(module, rows)
    for mine, theirs in zip(found, keras_outputs(one.model, rows), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert len(np.unique(found[0])) > 1
    check_forms(module, rows, found)


def check_forms(module, rows, expected):
    """The module's state is complete, and it can be scripted, traced and exported."""
    rows = tuple(row.float() for row in rows)
    assert not list(module.parameters()) and module.state_dict()
    blank = copy.deepcopy(module)
    for value in blank.state_dict().values():
        value.zero_()
    blank.load_state_dict(module.state_dict(), strict=True)
    forms = [blank, torch.jit.script(module), torch.jit.trace(module, rows)]
    for form in [*forms, torch.export.export(module, rows).module()]:
        for mine, theirs in zip(outputs_of(form, rows), expected, strict=True):
            np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("name", some(ZOO))
def test_hardware_computes_the_same_bit_for_bit(final, tmp_path, name):
    one = final(name)
    if one.case.graph is not None:
        with pytest.raises(UnsupportedError, match=one.case.graph):
            AdderGraph.from_model(one.model)
        return
    graph = AdderGraph.from_model(one.model)
    simulator = Simulator(emit(graph, tmp_path / "project", PART, 5.0))
    result = verify(one.model, graph, simulator, one.x, seek=False)
    assert result.status == "exact" and result.levels == ("keras", "adder_graph", "rtl"), result.sentence


@pytest.mark.slow
def test_a_module_is_compressed_and_trained_by_the_engine():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    x = torch.randn(256, 4)
    y = (x[:, 0] + x[:, 1] > 0).long()
    recipe = {"recipe": "hgq", "pretrain_epochs": 0, "epochs": 3, "finetune_epochs": 0, "learning_rate": 0.02}
    model = weft.compress(module, recipe, example_input=x[:1])
    history = weft.fit(model, (x.numpy(), y.numpy()))
    assert history.last["loss"] < history.epochs[0]["loss"]
    final = weft.finalize(model, x.numpy())
    frozen = weft.to_torch(final)
    found = outputs_of(frozen, (x,))[0]
    np.testing.assert_array_equal(found, final.predict(x.numpy(), batch_size=256, verbose=0))
    assert float((torch.from_numpy(found).argmax(1) == y).float().mean()) > 0.6
    kernel = frozen.state_dict()[next(key for key in frozen.state_dict() if re.match(r"layer_0\.\S*kernel", key))]
    np.testing.assert_array_equal(kernel.numpy(), np.asarray(final.get_layer("layer_0").qkernel, np.float64))


def test_only_finalised_models_are_frozen():
    model = weft.compress(nn.Linear(3, 2), "hgq", example_input=torch.zeros(2, 3))
    with pytest.raises(
        UnsupportedError, match=r"still has trainable variables, .* use weft.finalize\(model, x\) first"
    ):
        weft.to_torch(model)


def test_layers_without_a_form_in_torch_are_all_named():
    import keras

    inputs = keras.Input((4, 4))
    x = keras.layers.UnitNormalization(name="unit")(inputs)
    model = keras.Model(inputs, keras.layers.GroupNormalization(2, name="group")(x))
    model.trainable = False
    with pytest.raises(UnsupportedError) as caught:
        weft.to_torch(model)
    assert "'unit' (UnitNormalization): it has no exact form" in str(caught.value) and "'group'" in str(caught.value)

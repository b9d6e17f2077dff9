"""Every module of the zoo computes the same in Keras; weights, names, layout and statistics are the module's."""

from __future__ import annotations

import copy

import keras
import numpy as np
import pytest
import torch
from keras import tree
from torch import nn
from torch.nn import functional as F

import weft
from tests.pytorch.conftest import arrays
from tests.pytorch.zoo import ZOO
from weft.pytorch.example import ROWS


def outputs(model, x):
    return [np.asarray(one) for one in tree.flatten(model.predict_on_batch(x))]


def same(module, rows, model=None):
    """Assert that a module and its model agree within 1e-6 of their scale."""
    model = model or weft.from_torch(module, rows)
    with torch.no_grad():
        expected = module.eval()(*rows)
    expected = [expected] if isinstance(expected, torch.Tensor) else list(expected)
    found = outputs(model, arrays(rows))
    assert len(found) == len(expected)
    for one, two in zip(found, expected, strict=True):
        assert one.shape == tuple(two.shape)
        np.testing.assert_allclose(one, two.numpy(), rtol=0, atol=1e-6 * max(1.0, float(two.abs().max())))
    return model


SLOW = ["residual cnn", "gru in two directions", "transformer encoder", "rnn tagger", "cnn 3d", "mlp with batch norm"]
"""Modules whose parts are in others, too."""


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n in SLOW)) for n in ZOO])
def test_outputs_are_the_modules(converted, name):
    one = converted(name)
    rows = one.case.rows(ROWS, 7)  # as many as were compared in the conversion: nothing is compiled again
    with torch.no_grad():
        first = one.module(*rows)
    first = first if isinstance(first, torch.Tensor) else first[0]
    assert len({float(row.sum()) for row in first}) > 1, "the module must depend on what it reads"
    same(one.module, rows, one.model)


def test_the_zoo_has_at_least_twenty_five_modules():
    assert len(ZOO) >= 25


def test_the_module_is_neither_changed_nor_kept():
    module = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2), nn.ReLU(inplace=True)).train()
    before = copy.deepcopy(module.state_dict())
    model = weft.from_torch(module, torch.randn(5, 3))
    assert module.training and all(torch.equal(before[key], one) for key, one in module.state_dict().items())
    model.layers[1].kernel.assign(np.zeros((3, 2)))
    assert bool((module[0].weight != 0).any())


def test_statistics_and_settings_of_batch_norm_are_kept(converted):
    one = converted("cnn 2d")
    norm, mine = one.module.norm, one.model.get_layer("norm")
    assert (mine.epsilon, mine.momentum) == (norm.eps, 1 - norm.momentum)
    for theirs, variable in [
        (norm.running_mean, mine.moving_mean),
        (norm.running_var, mine.moving_variance),
        (norm.weight, mine.gamma),
        (norm.bias, mine.beta),
    ]:
        np.testing.assert_array_equal(theirs.detach().numpy(), keras.ops.convert_to_numpy(variable))


def test_layers_bear_the_names_of_the_module_tree(converted):
    names = [layer.name for layer in converted("autoencoder").model.layers]
    assert {"encoder_0", "encoder_1", "decoder"} <= set(names)
    assert {"self_attn", "linear1", "norm2"} <= {
        layer.name.removeprefix("transformerencoderlayer_")
        for layer in converted("transformer encoder layer").model.layers
    }
    two = converted("two inputs, two outputs").model
    assert [one.name for one in two.inputs] == ["left_in", "right_in"]
    assert isinstance(two.get_layer("left"), keras.layers.Dense)


def test_a_layer_that_is_called_twice_stays_one(converted):
    model = converted("shared").model
    assert len(model.trainable_variables) == 2 and len(model.get_layer("step")._inbound_nodes) == 2


def test_nothing_is_moved_to_and_fro(converted):
    """Convolutions follow one another in channels last: one way there and one back."""
    module = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU(), nn.BatchNorm2d(2), nn.MaxPool2d(2))
    kinds = [type(layer).__name__ for layer in weft.from_torch(module, torch.randn(2, 1, 4, 2)).layers]
    assert kinds.count("Permute") == 2 and kinds[1] == kinds[-1] == "Permute"


def test_dropout_goes_on_in_training():
    model = weft.from_torch(nn.Sequential(nn.Linear(3, 50), nn.Dropout(0.5)), torch.randn(2, 3))
    assert (keras.ops.convert_to_numpy(model(np.ones((4, 3)), training=True)) == 0).any()


def test_frozen_parameters_stay_frozen():
    module = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    module[0].requires_grad_(False)
    model = weft.from_torch(module, torch.randn(2, 3))
    assert [layer.trainable for layer in model.layers[1:]] == [False, True]


class Names(nn.Module):
    def forward(self, jets, *, met=None, scale=2.0):
        return {"sum": jets + met, "scaled": jets * scale}


def test_inputs_and_outputs_by_name():
    rows = {"jets": torch.randn(4, 3), "met": torch.randn(4, 3)}
    model = weft.from_torch(Names(), rows)
    found = model.predict_on_batch([one.numpy() for one in rows.values()])
    assert set(found) == {"sum", "scaled"}
    np.testing.assert_allclose(found["sum"], (rows["jets"] + rows["met"]).numpy(), atol=1e-6)


class InPlace(nn.Module):
    """Who reads a tensor that was changed reads the new values."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Linear(3, 3)

    def forward(self, x):
        y = self.one(x)
        y += x
        y.mul_(2)
        return F.relu_(y) + y


class Formula(nn.Module):
    """A function as a module."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (InPlace(), (3,)),
        (nn.Conv2d(2, 4, (3, 2), stride=(2, 1), padding=(2, 1), groups=2, padding_mode="reflect"), (2, 6, 5)),
        (nn.Conv1d(3, 3, 4, padding="same", dilation=2), (3, 9)),
        (nn.ConvTranspose1d(2, 4, 3, stride=3, padding=2, output_padding=1, dilation=2, groups=2), (2, 5)),
        (nn.ConvTranspose3d(1, 2, 2, stride=2), (1, 2, 2, 3)),
        (nn.MaxPool3d(2, stride=1, padding=1), (1, 3, 2, 3)),
        (nn.AdaptiveAvgPool1d(3), (2, 7)),
        (nn.Sequential(nn.Upsample(scale_factor=2), nn.ZeroPad2d((1, 0, 2, 1))), (1, 2, 3)),
        (nn.GRU(3, 4, num_layers=2, bias=False, batch_first=True), (4, 3)),
        (nn.LSTM(3, 2, bidirectional=True, batch_first=True), (3, 3)),
        (nn.Sequential(nn.Unflatten(1, (2, 3)), nn.LayerNorm([2, 3], elementwise_affine=False)), (6,)),
        (nn.Sequential(nn.GELU("tanh"), nn.Hardswish(), nn.Softplus(), nn.ELU(0.5), nn.Hardtanh(-0.5, 2)), (5,)),
        (Formula(lambda x: torch.einsum("bij,bkj->bik", x, x).mean(dim=(1, 2), keepdim=True)), (3, 2)),
        (Formula(lambda x: x.max(dim=1).values - x.min(2)[0].sum(-1, keepdim=True)), (3, 3)),
        (Formula(lambda x: (3 - x) / 7 + x.pow(2) * torch.tensor([1.0, 0.3]) - x.mT.flip(1).mT.roll(1, 2)), (3, 2)),
        (Formula(lambda x: F.scaled_dot_product_attention(x, x, x)), (3, 2)),
        (Formula(lambda x: x[:, [2, 0], None, -1].repeat(1, 1, 2).movedim(1, 2)), (3, 2)),
        (Formula(lambda x: F.pad(x, (1, 2), mode="circular").unbind(1)[1].clamp(-0.25, 0.5)), (2, 4)),
        (Formula(lambda x: torch.tensor([1.0, -2.0, 0.3]) @ x[:, torch.tensor([True, False, True, True])]), (4, 2)),
        (Formula(lambda x: x.unsqueeze(-1) * torch.ones(4)), (3,)),
    ],
    ids=lambda one: None if isinstance(one, tuple) else type(one).__name__,
)
def test_more_operations(module, shape):
    torch.manual_seed(1)
    rows = (torch.randn(ROWS, *shape),)
    with torch.no_grad():
        expected = module.eval()(*rows)
    if isinstance(expected, tuple):  # a recurrent layer's state, whose batch comes second in torch
        found = outputs(weft.from_torch(module, rows), rows[0].numpy())
        states = [one.movedim(1, 0) for one in torch.utils._pytree.tree_leaves(expected[1])]
        for one, two in zip(found, [expected[0], *states], strict=True):
            np.testing.assert_allclose(one, two.numpy(), atol=1e-6)
    else:
        same(module, rows)


def test_masked_attention_with_other_keys():
    class Cross(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(4, 2, kdim=3, vdim=5, bias=False)
            self.register_buffer("mask", torch.tensor([[False, True, False], [False, False, True]]))

        def forward(self, query, key, value):
            query, key, value = (one.transpose(0, 1) for one in (query, key, value))
            found = self.attention(query, key, value, need_weights=False, attn_mask=self.mask)[0]
            return found.transpose(0, 1)

    torch.manual_seed(2)
    same(Cross(), (torch.randn(ROWS, 2, 4), torch.randn(ROWS, 3, 3), torch.randn(ROWS, 3, 5)))


def test_an_array_is_an_example_too():
    assert weft.from_torch(nn.Linear(3, 2), np.zeros((1, 3), np.float32)).input_shape == (None, 3)

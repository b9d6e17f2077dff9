"""Modules of the zoo, compressed inside a loop of PyTorch: all of them train, save, load and are finalised."""

from __future__ import annotations

from typing import Any

import keras
import pytest

import weft

torch = pytest.importorskip("torch")

from tests.pytorch.zoo import ZOO  # noqa: E402 - it needs torch

pytestmark = [
    pytest.mark.backends,
    pytest.mark.skipif(keras.backend.backend() != "torch", reason="the loop is one of PyTorch"),
]

RECIPE = {"recipe": "hgq", "beta": 1e-4, "epochs": 2, "finetune_epochs": 0, "prune": "dst"}
QUICK = ("mlp with batch norm", "deep sets", "cnn 2d", "two inputs, two outputs")
SLOW = ("mlp with residuals", "cnn 1d", "depthwise separable", "multi-head attention", "gru tagger", "shared", "pools")


def total(outputs: Any) -> Any:
    return sum((one**2).mean() for one in keras.tree.flatten(outputs))


@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_a_module_of_the_zoo_trains_saves_and_loads(name):
    torch.manual_seed(0)
    case = ZOO[name]
    network, rows = case.module(), case.rows(8, 0)
    before = [value.clone() for value in network.state_dict().values()]
    model = weft.compress(network, RECIPE, example_input=rows if len(rows) > 1 else rows[0])
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    start = {key: value.clone() for key, value in model.named_parameters()}

    def train_epoch(model: Any, position: Any) -> None:
        for _ in range(3):
            optimizer.zero_grad()
            (total(model(*rows)) + weft.penalty(model)).backward()
            optimizer.step()

    weft.Stages(model, model.keras_model.weft_recipe, optimizer).run(train_epoch)
    moved = [key for key, value in model.named_parameters() if not torch.equal(value, start[key])]
    assert len(moved) > 0.8 * len(start), sorted(set(start) - set(moved))
    fresh = weft.compress(case.module(), RECIPE, example_input=rows if len(rows) > 1 else rows[0])
    fresh.load_state_dict(model.state_dict())
    pairs = zip(keras.tree.flatten(fresh.eval()(*rows)), keras.tree.flatten(model.eval()(*rows)), strict=True)
    assert all(torch.equal(one, two) for one, two in pairs)
    assert all(torch.equal(a, b) for a, b in zip(before, network.state_dict().values(), strict=True))
    x = [one.numpy() for one in rows]
    final = weft.finalize(model, x if len(x) > 1 else x[0])
    assert not final.trainable_variables

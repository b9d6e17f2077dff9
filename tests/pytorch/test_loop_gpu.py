"""One training epoch on CUDA, by PyTorch's loop and by the compiled engine, and moves between devices; `-m gpu`."""

from __future__ import annotations

import copy
from typing import Any

import keras
import numpy as np
import pytest

import weft
from tests.conftest import blobs

pytestmark = pytest.mark.gpu
BACKEND = keras.backend.backend()
RECIPE = {"recipe": "hgq", "epochs": 1, "finetune_epochs": 0, "prune": "dst"}


def has_cuda() -> bool:
    if BACKEND == "jax":
        import jax

        return any(device.platform == "gpu" for device in jax.devices())
    torch = pytest.importorskip("torch")
    return torch.cuda.is_available()


@pytest.fixture(autouse=True)
def _device():
    if not has_cuda():
        pytest.skip("there is no CUDA device")


def float_model() -> keras.Model:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6,))
    x = keras.layers.Dense(16, activation="relu")(inputs)
    return keras.Model(inputs, keras.layers.Dense(3)(x))


@pytest.mark.skipif(BACKEND != "torch", reason="the loop is one of PyTorch")
@pytest.mark.parametrize("trace_after", [None, 0])
def test_an_epoch_of_a_loop_on_cuda_and_back(trace_after):
    import torch

    x, y = (torch.from_numpy(array) for array in blobs(512))
    module = weft.TorchModule(weft.compress(float_model(), RECIPE)).cpu()
    module.trace_after = trace_after
    optimizer = torch.optim.Adam(module.parameters(), 1e-2)  # made before the move, as PyTorch allows
    module.to("cuda")
    before = copy.deepcopy(module.state_dict())
    assert all(value.is_cuda for value in before.values())

    def train_epoch(model: Any, position: Any) -> None:
        for i in range(0, 512, 128):
            optimizer.zero_grad()
            loss = torch.nn.CrossEntropyLoss()(model(x[i : i + 128].cuda()), y[i : i + 128].long().cuda())
            (loss + weft.penalty(model)).backward()
            optimizer.step()

    weft.Stages(module, module.keras_model.weft_recipe, optimizer).run(train_epoch)
    moved = [n for n, p in module.named_parameters() if not torch.equal(p, before[n])]
    assert any(name.endswith("/b") for name in moved) and any(name.endswith("kernel") for name in moved)
    module.eval()
    there = module(x.cuda())
    assert there.is_cuda
    here = module.cpu()(x)
    torch.testing.assert_close(here, there.cpu(), rtol=0, atol=1e-4)


@pytest.mark.skipif(BACKEND != "jax", reason="the engine is one of JAX")
def test_an_epoch_of_the_engine_on_cuda():
    x, y = blobs(512)
    model = weft.compress(float_model(), RECIPE)
    history = weft.fit(model, (x, y))
    assert np.isfinite([epoch["loss"] for epoch in history.epochs]).all()

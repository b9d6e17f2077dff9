"""`weft.Stages` in a loop of PyTorch: the user's functions, rewinding, the price of bits, checkpoints of each stage."""

from __future__ import annotations

import copy
import io
from typing import Any

import keras
import numpy as np
import pytest

import weft
from tests.pytorch.test_loop_module import DST, LOSS, Tagger, _one_thread, network, rows, same  # noqa: F401
from weft.compression.stages import FINETUNE, PRETRAIN, TRAIN, Stages
from weft.config.stages import StagesConfig
from weft.errors import ConfigError, UnfinishedWarning
from weft.quantize.kernels import pruned_kernels

torch = pytest.importorskip("torch")
pytestmark = [
    pytest.mark.backends,
    pytest.mark.skipif(keras.backend.backend() != "torch", reason="the loop is one of PyTorch"),
]

PLAN = {**DST, "pretrain_epochs": 1, "epochs": 2, "finetune_epochs": 2}


def loader() -> Any:
    return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*rows()), batch_size=16)


def train_epoch(model: Any, loader: Any, optimizer: Any, position: Any, **_: Any) -> None:
    assert model.training
    for x, y in loader:
        optimizer.zero_grad()
        (LOSS(model(x), y) + weft.penalty(model)).backward()
        optimizer.step()


def recipe_of(module: Any) -> StagesConfig:
    return module.keras_model.weft_recipe


def test_stages_drive_functions_of_the_user():
    module = network(PLAN)
    optimizer = torch.optim.Adam(module.parameters(), 1e-2)
    masks: dict[int, list[Any]] = {}

    def validate_epoch(model: Any, loader: Any, position: Any, **_: Any) -> None:
        assert model is module and not model.training
        with torch.no_grad():
            assert all(torch.isfinite(model(x)).all() for x, _ in loader)
        masks.setdefault(position.stage, []).append(model.state_dict()["middle/kq/quantizer/mask"].clone())

    weft.Stages(module, recipe_of(module), optimizer).run(
        train_epoch, validate_epoch, loader=loader(), optimizer=optimizer
    )
    assert [len(masks[stage]) for stage in (PRETRAIN, TRAIN, FINETUNE)] == [1, 2, 2]
    assert all((mask == 1).all() for mask in masks[PRETRAIN])
    assert torch.equal(*masks[FINETUNE])
    last = module.state_dict()["middle/kq/quantizer/mask"]
    assert torch.equal(masks[FINETUNE][1], last) and 0 < (last == 0).sum() < last.numel()
    final = weft.finalize(module, rows()[0].numpy())
    assert np.count_nonzero(keras.ops.convert_to_numpy(final.get_layer("middle").kernel)[last.numpy() == 0]) == 0


def written(module: Any, optimizer: Any, stages: Any) -> dict[str, Any]:
    file = io.BytesIO()
    parts = {"model": module, "optimizer": optimizer, "stages": stages}
    torch.save({name: part.state_dict() for name, part in parts.items()}, file)
    file.seek(0)
    return torch.load(file)  # with weights_only, PyTorch's default: nothing but tensors and plain values


@pytest.mark.parametrize("method", ["dst", "pdp"])
def test_a_checkpoint_of_any_stage_loads_before_the_first_call_and_goes_on_alike(method):
    """After each epoch: strict loading into a fresh model, equal outputs at once, and the same end of the training."""
    prune = DST["prune"] if method == "dst" else {"method": "pdp", "sparsity": 0.5, "epsilon": 0.5}
    plan = {**PLAN, "rounds": 2, "prune": prune, "rewind": "every_round", "save_epoch": 1, "finetune_epochs": 1}
    module = network(plan)
    optimizer = torch.optim.Adam(module.parameters(), 1e-2)
    stages = weft.Stages(module, recipe_of(module), optimizer)
    kept: list[tuple[Any, Any]] = []
    x, _ = rows()

    def validate_epoch(model: Any, **_: Any) -> None:
        kept.append((written(model, optimizer, stages), model(x).detach().clone()))

    stages.run(train_epoch, validate_epoch, loader=loader(), optimizer=optimizer)
    assert len(kept) == 6
    for checkpoint, outputs in kept:
        fresh = network(plan, seed=7)
        other = torch.optim.Adam(fresh.parameters(), 1e-2)
        fresh.load_state_dict(checkpoint["model"], strict=True)
        other.load_state_dict(checkpoint["optimizer"])
        again = weft.Stages(fresh, recipe_of(fresh), other)
        again.load_state_dict(checkpoint["stages"])
        assert torch.equal(fresh.eval()(x), outputs)
        again.run(train_epoch, loader=loader(), optimizer=other)
        same(fresh.state_dict(), module.state_dict())
    hardened = network(plan, seed=8)
    hardened.load_state_dict(module.state_dict())
    assert torch.equal(hardened.eval()(x), module.eval()(x))


def test_rewinding_takes_weights_and_moments_back_and_leaves_the_rate():
    plan = {**PLAN, "pretrain_epochs": 0, "rewind": "after_training", "save_epoch": 1}
    module = network({**plan, "prune": {"method": "magnitude", "fraction": 0.3}})
    optimizer = torch.optim.Adam(module.parameters(), 1e-2)
    stages = weft.Stages(module, recipe_of(module), optimizer)
    seen: dict[int, Any] = {}
    for epoch in range(3):
        position = stages.begin_epoch(epoch)
        seen[epoch] = copy.deepcopy((dict(module.named_parameters()), optimizer.state_dict()))
        module.train()
        train_epoch(module, loader(), optimizer, position)
        optimizer.param_groups[0]["lr"] *= 0.5
    (before, moments), (after, now) = seen[1], seen[2]
    for name, value in before.items():
        assert torch.equal(value, after[name]), name
    for one, two in zip(moments["state"].values(), now["state"].values(), strict=True):
        assert torch.equal(one["exp_avg"], two["exp_avg"]) and torch.equal(one["step"], two["step"])
    assert now["param_groups"][0]["lr"] == 2.5e-3


def test_the_price_of_bits_follows_the_recipe():
    ramp = {"recipe": "hgq", "beta": {"from": 1e-6, "to": 1e-3}, "epochs": 4, "finetune_epochs": 0}
    module = network(ramp)
    optimizer = torch.optim.Adam(module.parameters(), 1e-2)
    prices: list[float] = []

    def epoch(model: Any, **rest: Any) -> None:
        prices.append(float(model.state_dict()["middle/beta"]))
        train_epoch(model, **rest)

    weft.Stages(module, recipe_of(module), optimizer).run(epoch, loader=loader(), optimizer=optimizer)
    np.testing.assert_allclose(np.diff(np.log10(prices)), 0.75, rtol=1e-4)

    target = {"recipe": "hgq", "target": {"ebops": 300}, "beta": 1e-6, "epochs": 3, "finetune_epochs": 0}
    module = network(target)
    optimizer = torch.optim.Adam(module.parameters(), 1e-2)
    stages = weft.Stages(module, recipe_of(module), optimizer)
    prices.clear()
    with pytest.warns(UnfinishedWarning, match=r"training ended at [\d,]+ EBOPs, and the target is 300"):
        stages.run(epoch, loader=loader(), optimizer=optimizer)
    assert prices[0] < prices[1] < prices[2]
    again = weft.Stages(module, recipe_of(module), optimizer)
    again.load_state_dict(stages.state_dict())
    assert again.price.state() == stages.price.state() and again.begun == 3


def test_a_network_begins_in_float_and_its_widths_begin_anew():
    recipe = {"recipe": "hgq", "beta": 1e-4, "pretrain_epochs": 1, "epochs": 1, "finetune_epochs": 0}
    module = network({**recipe, "quantize_from": "train", "prune": "dst"})
    optimizer = torch.optim.Adam(module.parameters(), 1e-2)
    x, _ = rows()
    stages = weft.Stages(module, recipe_of(module), optimizer, rows=x.numpy())
    first = {name: p.detach().clone() for name, p in module.named_parameters() if name.endswith("/b")}
    stages.begin_epoch(0)
    train_epoch(module, loader(), optimizer, None)
    stages.begin_epoch(1)
    assert first
    for name, value in module.named_parameters():
        if name in first:
            assert torch.equal(value, first[name]) and value not in optimizer.state
    assert module.get_parameter("middle/kernel") in optimizer.state


def test_stages_of_a_module_written_by_hand():
    module = Tagger()
    config = weft.compression.api.read({**PLAN, "prune": {"method": "dst"}})
    optimizer = torch.optim.Adam(module.parameters(), 1e-2)
    Stages(module, config, optimizer).run(train_epoch, loader=loader(), optimizer=optimizer)
    state = module.state_dict()
    assert int(state["first.kq/quantizer/stage"]) == FINETUNE
    assert len(pruned_kernels(weft.torch_loop.keras_model(module))) == 1


def test_what_pytorch_has_not_is_refused(tmp_path):
    module = network({**PLAN, "weight_decay": {"p": 1, "decay": 1e-4}})
    optimizer = torch.optim.Adam(module.parameters())
    with pytest.raises(ConfigError, match=r"section weight_decay, and the optimizer is PyTorch's Adam, which does"):
        weft.Stages(module, recipe_of(module), optimizer)
    plain = network(PLAN)
    stages = weft.Stages(plain, recipe_of(plain), torch.optim.Adam(plain.parameters()))
    with pytest.raises(ConfigError, match=r"Stages\.save does not write the state of a PyTorch optimizer; write"):
        stages.save(tmp_path / "checkpoint.npz", 1)

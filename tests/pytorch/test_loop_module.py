"""A compressed model as an `nn.Module`: parameters, modes, penalties, copies, devices, and equal numbers when traced.

These run under PyTorch (`KERAS_BACKEND=torch`).
"""

from __future__ import annotations

import copy
import io
import warnings
from typing import Any

import keras
import numpy as np
import pytest

import weft
from weft.errors import ConfigError, NoEffectWarning

torch = pytest.importorskip("torch")
pytestmark = [
    pytest.mark.backends,
    pytest.mark.skipif(keras.backend.backend() != "torch", reason="the loop is one of PyTorch"),
]

HGQ = {"recipe": "hgq", "beta": 1e-3, "epochs": 4, "finetune_epochs": 0}
DST = {"recipe": "fixed", "precisions": [{"total_bits": 6}], "epochs": 4, "prune": {"method": "dst", "alpha": 1e-2}}
LOSS = torch.nn.CrossEntropyLoss()


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)
    torch.manual_seed(0)


def rows(n: int = 32, n_in: int = 6) -> tuple[Any, Any]:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(n, n_in, generator=generator)
    return x, (x[:, 0] > 0).long() + (x[:, 1] > 0.5).long()


def network(recipe: Any = HGQ, seed: int = 1, dropout: float = 0.0) -> weft.TorchModule:
    keras.utils.set_random_seed(seed)
    x = inputs = keras.Input((6,))
    x = keras.layers.Dense(8, activation="relu")(x)
    x = keras.layers.BatchNormalization()(x)
    if dropout:
        x = keras.layers.Dropout(dropout)(x)
    x = keras.layers.Dense(7, activation="relu", name="middle")(x)
    plain = keras.Model(inputs, keras.layers.Dense(3)(x), name="net")
    module = weft.TorchModule(weft.compress(plain, recipe))
    module.trace_after = None
    return module


def in_train_stage(module: weft.TorchModule) -> weft.TorchModule:
    weft.Stages(module, module.keras_model.weft_recipe).begin_epoch(0)
    return module


def train(module: Any, n: int = 3, optimizer: Any = None) -> list[float]:
    optimizer = optimizer or torch.optim.Adam(module.parameters(), 1e-2)
    x, y = rows()
    losses = []
    for _ in range(n):
        optimizer.zero_grad()
        loss = LOSS(module(x), y) + weft.penalty(module)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


def same(one: dict[str, Any], two: dict[str, Any]) -> None:
    assert list(one) == list(two)
    for name, value in one.items():
        assert torch.equal(value, two[name]), name


def widths(module: Any) -> dict[str, Any]:
    return {n: p.detach().clone() for n, p in module.named_parameters() if n.rsplit("/", 1)[-1] in ("b", "f", "i")}


def test_every_variable_is_in_the_state_once():
    module = network(DST)
    state = module.state_dict()
    assert len(state) == len(module.keras_model.variables)
    assert len({value.data_ptr() for value in state.values()}) == len(state)
    learnt = {id(v.value) for v in module.keras_model.trainable_variables}
    assert {id(p) for p in module.parameters()} == learnt
    assert all(p.is_floating_point() and p.requires_grad for p in module.parameters())
    assert "middle/kq/quantizer/mask" in state and "middle/kernel" in state


def test_names_do_not_depend_on_what_was_built_before():
    first = list(network().state_dict())
    keras.layers.Dense(3), keras.layers.Dense(4), keras.layers.BatchNormalization()
    assert list(network().state_dict()) == first


def test_an_optimizer_made_before_the_first_call_trains_the_bits():
    module = network()
    optimizer = torch.optim.Adam(module.parameters(), 0.05)
    before = widths(module)
    assert len(before) >= 9
    module(rows()[0])
    ebops = sum(float(v) for n, v in module.state_dict().items() if n.endswith("ebops"))
    train(module, 12, optimizer)
    moved = [name for name, value in widths(module).items() if not torch.equal(value, before[name])]
    assert moved == list(before)
    after = sum(float(v) for n, v in module.state_dict().items() if n.endswith("ebops"))
    assert after < 0.8 * ebops


@pytest.mark.parametrize("kind", ["SGD", "AdamW", "RMSprop", "Adagrad", "NAdam", "Rprop"])
def test_any_optimizer_trains_and_keeps_widths_in_their_bounds(kind):
    module = network()
    optimizer = getattr(torch.optim, kind)(module.parameters(), lr=0.02)
    losses = train(module, 12, optimizer)
    assert losses[-1] < losses[0]
    for group in optimizer.param_groups:
        group["lr"] = 1e4
    train(module, 1, optimizer)
    bounded = {name: variable for name, variable in module._variables.items() if variable.constraint is not None}
    assert bounded
    for variable in bounded.values():
        kept = keras.ops.convert_to_numpy(variable.constraint(variable).detach())
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(variable), kept)
    assert all(float(value.min()) >= 0 for name, value in widths(module).items() if name.endswith("/b"))


def test_a_loop_of_ones_own_takes_the_steps_of_keras():
    """The same model, once with Keras' optimizer and fit, once with PyTorch's SGD."""
    keras.utils.set_random_seed(1)
    x, y = rows()
    module, other = network(), network()
    other.load_state_dict(module.state_dict())
    model = other.keras_model
    model.compile(keras.optimizers.SGD(0.05), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(x.numpy(), y.numpy(), batch_size=32, epochs=3, shuffle=False, verbose=0)
    train(module, 3, torch.optim.SGD(module.parameters(), 0.05))
    for name, value in module.state_dict().items():
        torch.testing.assert_close(value, other.state_dict()[name], rtol=1e-4, atol=1e-5, msg=name)


def test_eval_changes_nothing_and_train_does():
    module = in_train_stage(network(DST))
    x, _ = rows()
    before = copy.deepcopy(module.state_dict())
    module.eval()
    first = module(x)
    same(module.state_dict(), before)
    expected = module.keras_model(x, training=False)
    assert torch.equal(first, expected)
    module.train()
    module(x)
    changed = [name for name, value in module.state_dict().items() if not torch.equal(value, before[name])]
    assert any("moving_mean" in name for name in changed) and any(name.endswith("ebops") for name in changed)
    assert not any(name in changed for name, _ in module.named_parameters())


def test_dropout_drops_in_train_mode_only_and_draws_from_torch():
    module, (x, _) = network(dropout=0.5), rows()
    torch.manual_seed(5)
    one, two = module(x), module(x)
    assert not torch.equal(one, two)
    module.eval()
    assert torch.equal(module(x), module(x))


@pytest.mark.parametrize("recipe", [HGQ, DST], ids=["hgq", "dst"])
def test_the_penalty_is_what_keras_adds_and_is_in_the_loss_once(recipe):
    module = in_train_stage(network(recipe))
    x, _ = rows()
    module(x)
    module(x)  # a second call in the same step asks for nothing more
    found = weft.penalty(module)
    assert weft.penalty(module) is found and weft.penalty(torch.nn.Sequential(module)) is found
    module.keras_model(x, training=True)
    expected = sum(module.keras_model.losses)
    torch.testing.assert_close(found, expected)
    assert float(found.detach()) > 0
    module.zero_grad()
    found.backward()
    mine = {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}
    module.zero_grad()
    expected.backward()
    for name, parameter in module.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(mine[name], parameter.grad)
    assert float(weft.penalty(module.eval())) == 0


def test_two_calls_before_one_backward_keep_what_the_first_needs():
    module = in_train_stage(network(DST))
    x, y = rows()
    one, two = module(x), module(-x)
    (LOSS(one, y) + LOSS(two, y) + weft.penalty(module)).backward()
    assert all(torch.isfinite(p.grad).all() for p in module.parameters() if p.grad is not None)


def test_a_penalty_that_is_never_asked_for_warns_once():
    module, quiet, (x, _) = network(), network(), rows()
    with pytest.warns(NoEffectWarning, match=r"in training three times, and its penalty was never in the loss; write"):
        for _ in range(3):
            module(x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        module(x)
        train(quiet, 5)


def test_a_penalty_before_the_first_call_or_of_another_module_is_an_error():
    with pytest.raises(ConfigError, match=r"'net' has no penalty yet: add weft\.penalty\(model\) to the loss after"):
        weft.penalty(network())
    with pytest.raises(ConfigError, match=r"Linear has no part that weft quantises; make it with weft\.compress"):
        weft.penalty(torch.nn.Linear(2, 2))


@pytest.mark.parametrize("recipe", [HGQ, DST], ids=["hgq", "dst"])
def test_a_copy_is_equal_and_then_goes_its_own_way(recipe):
    module = in_train_stage(network(recipe))
    train(module, 2)
    twin = copy.deepcopy(module)
    same(twin.state_dict(), module.state_dict())
    before = copy.deepcopy(module.state_dict())
    assert train(twin, 3) == train(copy.deepcopy(module), 3)
    same(module.state_dict(), before)
    assert twin.keras_model.weft_recipe == module.keras_model.weft_recipe
    train(module, 3)
    same(twin.state_dict(), module.state_dict())
    assert not module.eval().training and copy.deepcopy(module).training is False


def test_a_whole_module_survives_torch_save():
    module = in_train_stage(network(DST))
    train(module, 2)
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    same(torch.load(file, weights_only=False).state_dict(), module.state_dict())


def test_traced_calls_give_the_same_numbers(caplog):
    """Outputs, penalty, gradients and state, to the last bit, in training and out of it; frozen widths stop a trace."""
    caplog.set_level("INFO", "weft")
    for recipe in (HGQ, DST):
        slow = in_train_stage(network(recipe))
        fast = copy.deepcopy(slow)
        fast.trace_after = 1
        assert train(fast, 4) == train(slow, 4)
        assert any(program is not None for _, program in fast._programs.values())
        same(fast.state_dict(), slow.state_dict())
        x, _ = rows(n=16)
        with torch.no_grad():
            for one in (slow, fast):
                one.eval()
            assert torch.equal(fast(x), slow(x)) and torch.equal(fast(x), slow(x)) and torch.equal(fast(x), slow(x))
    known = len(fast._programs)
    for one in (slow, fast):
        one.train()
        one.keras_model.layers[1].trainable = False
    assert train(fast, 1) == train(slow, 1)
    assert len(fast._programs) == known + 1
    assert "cannot be traced" not in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize("method", ["cs", "pdp", "mdmm", "autosparse", "wanda", "ap", "magnitude"])
def test_every_method_is_the_same_when_traced(method, caplog):
    caplog.set_level("INFO", "weft")
    recipe = {"recipe": "hgq", "epochs": 4, "finetune_epochs": 0, "prune": method}
    slow = in_train_stage(network(recipe))
    fast = copy.deepcopy(slow)
    fast.trace_after = 0
    assert train(fast, 3) == train(slow, 3)
    assert all(program is not None for _, program in fast._programs.values())
    assert "cannot be traced" not in caplog.text
    same(fast.state_dict(), slow.state_dict())


def test_what_cannot_be_traced_runs_as_it_is(caplog):
    """A stochastic quantiser draws from its own seed, whose value PyTorch wants to know."""
    caplog.set_level("INFO", "weft")
    recipe = {**DST, "layers": {"middle": {"weight": {"round_mode": "S_RND"}}}}
    slow = in_train_stage(network(recipe))
    fast = copy.deepcopy(slow)
    fast.trace_after = 0
    assert train(fast, 2) == train(slow, 2)
    assert "'net' stays as it is, since it cannot be traced" in caplog.text
    seeds = [name for name in slow.state_dict() if "seed" in name]
    assert seeds
    same(fast.state_dict(), slow.state_dict())


def test_a_module_moves_and_changes_its_type():
    module = network()
    x, y = rows()
    module.eval()
    expected = module(x)
    assert torch.equal(module.to("cpu")(x), expected)
    module.double()
    wide = module(x.double())
    assert wide.dtype == torch.float64
    torch.testing.assert_close(wide.float(), expected, rtol=0, atol=1e-4)
    assert len(train_double(module.train(), x.double(), y)) == 2
    module.float().eval()
    assert module(x).dtype == torch.float32
    with pytest.raises(ConfigError, match=r"a quantised module cannot compute in torch\.float16, which does not hold"):
        module.half()
    with torch.autocast("cpu", torch.bfloat16):
        assert module(x).dtype == torch.float32


def train_double(module: Any, x: Any, y: Any) -> list[float]:
    optimizer = torch.optim.SGD(module.parameters(), 1e-2)
    losses = []
    for _ in range(2):
        loss = LOSS(module(x), y) + weft.penalty(module)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


def test_a_module_on_meta_has_shapes_only_and_comes_back_with_its_state():
    module = network()
    state, (x, _) = copy.deepcopy(module.state_dict()), rows()
    module.eval()
    expected = module(x)
    module.to("meta")
    assert all(value.is_meta for value in module.state_dict().values())
    out = module(x.to("meta"))
    assert out.is_meta and tuple(out.shape) == (32, 3)
    module.to_empty(device="cpu").load_state_dict(state)
    assert torch.equal(module(x), expected)


def test_torch_compile_around_it_gives_the_same():
    module = network(DST)
    whole = torch.nn.Sequential(torch.nn.Identity(), module)
    compiled = torch.compile(whole, backend="eager")
    x, _ = rows()
    whole.eval()
    assert torch.equal(compiled(x), whole(x))


@pytest.mark.slow
def test_compile_hands_both_graphs_to_torch_compile():
    slow = in_train_stage(network(DST))
    fast = copy.deepcopy(slow)
    fast.compile(backend="eager")
    assert train(fast, 2) == train(slow, 2)
    assert all(program is not None for _, program in fast._programs.values())


class Tagger(torch.nn.Module):
    """Written by hand, with layers of weft and of PyTorch."""

    def __init__(self) -> None:
        super().__init__()
        made = weft.layers
        self.first = made.QDense(8, activation="relu", prune="dst", input_shape=(6,))
        self.norm = torch.nn.LayerNorm(8)
        self.last = made.QDense(3, input_shape=(8,))
        self.sum = made.QAdd(input_shape=[(3,), (3,)])

    def forward(self, x: Any) -> Any:
        y = self.last(self.norm(self.first(x)))
        return self.sum(y, y)


def test_layers_of_weft_in_a_module_written_by_hand():
    module = Tagger()
    optimizer = torch.optim.Adam(module.parameters(), 0.02)
    before = widths(module)
    assert {name.split(".")[0] for name, _ in module.named_parameters()} == {"first", "norm", "last", "sum"}
    losses = train(module, 20, optimizer)
    assert losses[-1] < losses[0]
    moved = [name for name, value in widths(module).items() if not torch.equal(value, before[name])]
    assert len(moved) >= 6
    again = Tagger()
    again.load_state_dict(module.state_dict())
    x, _ = rows()
    assert torch.equal(again.eval()(x), module.eval()(x))


def test_a_layer_without_a_shape_says_so_where_a_module_would_lose_it():
    class Wrong(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inside = weft.layers.QDense(4)

    message = r"'.*' is a Keras layer, which has no parameters before its first call; in an nn\.Module make it with"
    with pytest.raises(ConfigError, match=message):
        torch.optim.Adam(Wrong().parameters())
    with pytest.raises(ConfigError, match=r"which knows no train and eval mode, but an argument training.*input_shape"):
        Wrong().train()
    inputs = keras.Input((4,))
    assert keras.Model(inputs, weft.layers.QDense(4)(inputs)).count_params() > 0


def test_an_unbuilt_model_is_no_module():
    with pytest.raises(ConfigError, match=r"has no variables yet: build it, or call it once, before it is a module"):
        weft.TorchModule(keras.layers.Dense(3))


def test_a_trained_module_is_finalised():
    module = network()
    train(module, 3)
    x, _ = rows()
    final = weft.finalize(module, x.numpy())
    assert not final.trainable_variables
    assert np.isfinite(keras.ops.convert_to_numpy(final(x, training=False))).all()

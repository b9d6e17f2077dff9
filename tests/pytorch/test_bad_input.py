"""What cannot be converted is one clear error, with the place in the module tree and what to write instead."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import weft
from weft.errors import ConfigError, DataError, ShapeError, UnsupportedError, VerificationError


class Inside(nn.Module):
    """A module as a part of another, so that its place has two names."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.Linear(3, 3), part)

    def forward(self, x):
        return self.block(x)


class Does(nn.Module):
    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def refused(function, error=UnsupportedError, rows=None, **match):
    with pytest.raises(error, **match) as caught:
        weft.from_torch(Inside(Does(function)), torch.randn(2, 3) if rows is None else rows)
    return str(caught.value)


def test_everything_without_a_counterpart_is_named_at_once():
    module = Inside(nn.Sequential(nn.GroupNorm(1, 3), nn.Linear(3, 3), nn.Dropout(), Does(lambda x: torch.sort(x)[0])))
    with pytest.raises(UnsupportedError) as caught:
        weft.from_torch(module, torch.randn(2, 3))
    text = str(caught.value)
    assert "'block.1.0' (GroupNorm): it has no counterpart; use BatchNorm" in text
    assert "'block.1.3' (sort): it has no counterpart; sort the data before the network" in text
    assert "Linear" not in text


def test_control_flow_that_depends_on_the_data():
    text = refused(lambda x: x if x.sum() > 0 else -x)
    assert "the control flow of 'block.1' (Does) depends on the data" in text and "torch.maximum" in text


def test_writing_into_a_tensor():
    def write(x):
        x = x * 2
        x[:, 0] = 0
        return x

    text = refused(write)
    assert "'block.1' (Does) writes into a tensor" in text and "torch.cat" in text


def test_an_operation_in_place_of_which_a_view_is_read():
    def double(x):
        y = x.view(-1, 3)
        z = x.mul_(2)
        return y + z

    text = refused(double)
    assert "'block.1' (mul_) changes a tensor in place, and 'block.1' (add) reads it later through a view" in text
    assert "write it out of place: y = x + 1 in place of x += 1" in text


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (lambda x: x.reshape(-1), r"'block\.1' \(reshape\): .* no longer counts the batch's rows"),
        (lambda x: x.sum(), r"\(sum\): it is taken over all axes, the batch's too; give the dims"),
        (lambda x: x - x.mean(0), r"\(mean\): it works along the axis of the batch"),
        (lambda x: 1 / x, r"\(\w*div\w*\): it divides by a tensor"),
        (lambda x: x**0.5, r"\(pow\): it takes a power of 0\.5"),
        (lambda x: torch.cat([x, torch.ones(x.shape[0], 1)], 1), r"\(cat\): it joins a tensor with a constant"),
        (lambda x: x.double(), r"\(double\): it has no counterpart"),
        (lambda x: x[x > 0], r"depends on the data|cannot|indexed by|getitem"),
        (lambda x: torch.nn.functional.softplus(x, beta=2), r"\(softplus\): it has beta=2"),
        (lambda x: x.max(1)[1] * 1.0, r"it reads what the network does not give: the numbers of the largest"),
    ],
)
def test_single_operations(function, text):
    refused(function, match=text)


@pytest.mark.parametrize(
    ("part", "shape", "text"),
    [
        (nn.BatchNorm1d(3, track_running_stats=False), (3,), "it normalises by the batch at hand, also in eval"),
        (nn.Conv1d(2, 2, 2, stride=2, dilation=2), (2, 9), "it has a stride and a dilation"),
        (nn.MaxPool1d(2, dilation=2), (2, 9), "it has a dilation, or gives out indices"),
        (nn.AvgPool1d(3, padding=1, count_include_pad=False), (2, 9), "its windows divide by different numbers"),
        (nn.LSTM(3, 4, proj_size=2, batch_first=True), (2, 3), "it projects its state"),
        (nn.GRU(3, 4), (2, 3), "it has batch_first=False and reads rows along axis 0; set batch_first to True"),
        (nn.Upsample(scale_factor=2, mode="linear"), (2, 3), "use mode='nearest' and whole factors"),
        (nn.CELU(2.0), (3,), "it has alpha=2, and only alpha=1 has a counterpart"),
    ],
    ids=lambda one: type(one).__name__ if isinstance(one, nn.Module) else None,
)
def test_single_modules(part, shape, text):
    with pytest.raises(UnsupportedError, match=text):
        weft.from_torch(nn.Sequential(part), torch.randn(2, *shape))


def test_a_wrong_shape_names_the_layer():
    with pytest.raises(
        ShapeError, match=r"\(x \(2, 4\); the first axis counts rows\): 'block\.0' \(Linear\) says: mat1"
    ):
        weft.from_torch(Inside(nn.ReLU()), torch.randn(2, 4))
    with pytest.raises(ShapeError, match="'0' \\(Conv2d\\)"):
        weft.from_torch(nn.Sequential(nn.Conv2d(3, 1, 2)), torch.randn(3, 5, 5))  # one image, without rows
    with pytest.raises(ShapeError, match="a tensor without axes"):
        weft.from_torch(nn.ReLU(), torch.tensor(1.0))


def test_inputs_of_other_types():
    with pytest.raises(DataError, match=r"'x' is of torch.float64; give float32 \(x.float\(\)\)"):
        weft.from_torch(Inside(nn.ReLU()).double(), torch.randn(2, 3).double())
    with pytest.raises(UnsupportedError, match=r"parameter 'block.0.weight' is of torch.float64; .*module.float\(\)"):
        weft.from_torch(Inside(nn.ReLU()).double(), torch.randn(2, 3))
    with pytest.raises(DataError, match=r"'x' is of torch.int64, and 'forward' \(mul\) computes with it; give float32"):
        weft.from_torch(Does(lambda x: x * 2), torch.ones(2, 3, dtype=torch.int64))


def test_examples_that_fit_no_forward():
    with pytest.raises(ConfigError, match=r"holds 2 tensors, and Inside.forward takes"):
        weft.from_torch(Inside(nn.ReLU()), (torch.randn(2, 3), torch.randn(2, 3)))
    with pytest.raises(ConfigError, match="example_input holds a str; give a tensor of some rows"):
        weft.from_torch(nn.ReLU(), ["rows"])
    with pytest.raises(UnsupportedError, match=r"expected an nn.Module, and got a int"):
        weft.from_torch(3, torch.randn(2, 3))
    with pytest.raises(UnsupportedError, match="no output depends on input 'y'"):

        class Unused(nn.Module):
            def forward(self, x, y):
                return x * 2

        weft.from_torch(Unused(), (torch.randn(2, 3), torch.randn(2, 3)))


def test_attention_weights_are_not_given():
    with pytest.raises(
        UnsupportedError, match="output: it holds its attention weights; call it with need_weights=False"
    ):

        class Weights(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.attention = nn.MultiheadAttention(4, 2, batch_first=True)

            def forward(self, x):
                return self.attention(x, x, x)

        weft.from_torch(Weights(), torch.randn(2, 3, 4))


def test_a_wrong_conversion_is_never_handed_out(monkeypatch):
    from weft.pytorch.operations import MODULES

    monkeypatch.setitem(MODULES, "Tanh", MODULES["Sigmoid"])
    with pytest.raises(VerificationError, match=r"differs from the module's by .*please report it"):
        weft.from_torch(nn.Sequential(nn.Tanh()), torch.randn(2, 3))


def test_compress_wants_rows_of_a_module_only():
    with pytest.raises(ConfigError, match=r"Linear is a PyTorch module, whose inputs are not known; .*example_input"):
        weft.compress(nn.Linear(3, 2))
    import keras

    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    with pytest.raises(ConfigError, match="example_input is for PyTorch modules"):
        weft.compress(model, "hgq", example_input=torch.randn(2, 3))

"""What cannot be converted is one clear error, with the place in the module tree and what to write instead."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

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
    assert text.startswith("cannot convert operations that change the graph:")
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
        (lambda x: F.softplus(x, beta=2), r"\(softplus\): it has beta=2"),
        (lambda x: x.max(1)[1] * 1.0, r"it reads what the network does not give: the numbers of the largest"),
        (lambda x: 2**x, r"\(pow\): it takes a power of the data; multiply"),
        (lambda x: torch.div(x, 2, rounding_mode="floor"), "it divides by a tensor, or rounds; multiply by a constant"),
        (lambda x: x.unsqueeze(1) + x, "it joins tensors whose batch axes do not meet, so that rows would be mixed"),
        (lambda x: x + torch.ones(2, 1, 3), "it joins a tensor of 2 axes with a constant of 3; drop some"),
        (lambda x: x * torch.arange(x.shape[0]).reshape(-1, 1), "it joins rows of the batch with different constants"),
        (lambda x: x.unsqueeze(1) * torch.rand(4, 3), r"a constant of shape \(4, 3\) repeats a tensor of \(1, 3\)"),
        (lambda x: torch.addmm(torch.ones(3), x, torch.ones(3, 3), alpha=0.5), "it scales its terms, or multiplies"),
        (lambda x: torch.matmul(x.unsqueeze(1), x.T), "it multiplies tensors of 3 and 2 axes; give both the same axes"),
        (lambda x: torch.matmul(x.reshape(-1, 1, 1, 3), x.reshape(-1, 3, 1, 1).expand(-1, 3, 3, 1)),
         r"it multiplies matrices of shapes \(1, 1, 3\) and \(3, 3, 1\), one of which is repeated"),
        (lambda x: x.unsqueeze(2) @ torch.ones(1, 1, 3), r"it multiplies by a constant of shape \(1, 1, 3\); use nn"),
        (lambda x: x.T.unsqueeze(1) @ x.T.unsqueeze(2), "it needs the rows of the batch in its first axis; build the"),
        (lambda x: x.T.reshape(x.shape[0], -1), "it reshapes a tensor whose first axis is not the batch's; transpose"),
        (lambda x: x.flatten(), "it flattens axes 0 to 1, the batch's too; use start_dim=1"),
        (lambda x: torch.cat([x.unsqueeze(2).expand(-1, -1, 13), x.T.unsqueeze(0).expand(13, -1, -1)], 1),
         "it joins tensors whose batch axes differ; transpose them to the same order"),
        (lambda x: torch.stack([x, torch.ones(x.shape)], 1), r"\(stack\): it joins a tensor with a constant; add a"),
        (lambda x: torch.index_select(x, 1, x.argmax(1)), "it chooses by numbers that depend on the data; use"),
        (lambda x: x[:, torch.tensor([[0, 1]])], "it is indexed by a Tensor; use numbers, slices, or a constant list"),
        (lambda x: x.unsqueeze(2).expand(-1, -1, 3)[:, [0, 2], [1, 2]],
         r"it gives shape \(13, 2\) in torch and \(13, 2, 2\) in Keras, where 13 stands for the rows of the batch"),
        (lambda x: torch.roll(x, 1), "it rolls the batch, too; give dims"),
        (lambda x: F.pad(x, (1, 1), value=2.0), r"it pads by 2\.0; pad by 0, or add the constant before"),
        (lambda x: x.to(torch.float16), r"it casts to torch\.float16; compute in float32"),
        (lambda x: x.to(torch.int64) * 1.0, r"it rounds to torch\.int64 inside the network; round outside of it"),
        (lambda x: F.softmax(x), r"its axis is not given; use softmax\(x, dim=-1\)"),
        (lambda x: F.one_hot((x > 0).long()), "the number of classes is found in the data; give num_classes"),
        (lambda x: F.scaled_dot_product_attention(*3 * [x.unsqueeze(1)], is_causal=True), "it has a mask; use nn"),
    ],
)  # fmt: skip
def test_single_operations(function, text):
    refused(function, match=text)


@pytest.mark.parametrize(
    ("equation", "weight", "text"),
    [
        (
            "...i,ij->...j",
            (3, 2),
            r"einsum '\.\.\.i,ij->\.\.\.j' has no plain form; write two operands, the tensor first",
        ),
        ("ni,mi->nm", None, "einsum 'ni,mi->nm' mixes rows of the batch; give them one letter, in each tensor"),
        ("ni,ij->ij", (3, 2), "'ni,ij->ij' mixes rows of the batch"),
        ("ni,nj->nij", (13, 2), "'ni,nj->nij' mixes rows of the batch"),
    ],
)
def test_sums_of_products(equation, weight, text):
    refused(lambda x: torch.einsum(equation, x, x if weight is None else torch.ones(weight)), match=text)


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
        (nn.BatchNorm1d(3, momentum=None), (3,), r"its statistics are those of all batches \(momentum=None\); give it"),
        (nn.AvgPool1d(2, ceil_mode=True), (2, 5), "ceil_mode=True makes windows that divide by different numbers"),
    ],
    ids=lambda one: type(one).__name__ if isinstance(one, nn.Module) else None,
)
def test_single_modules(part, shape, text):
    with pytest.raises(UnsupportedError, match=text):
        weft.from_torch(nn.Sequential(part), torch.randn(2, *shape))


class Calls(nn.Module):
    """A part, and how it is called."""

    def __init__(self, part: nn.Module, call) -> None:
        super().__init__()
        self.part, self.call = part, call

    def forward(self, x):
        return self.call(self.part, x)


HEADS = {"embed_dim": 4, "num_heads": 2, "batch_first": True}


@pytest.mark.parametrize(
    ("part", "call", "text"),
    [
        (nn.AdaptiveMaxPool1d(2, return_indices=True), lambda part, x: part(x)[0], "it gives out indices; pool values"),
        (nn.GRU(4, 4, batch_first=True), lambda part, x: part(x, x[:, 0].unsqueeze(0))[0],
         "it begins with a state that is given to it; let it begin with zeros"),
        (nn.MultiheadAttention(**HEADS), lambda part, x: part(x, x, x, key_padding_mask=x[:, :, 0])[0],
         "it has a key_padding_mask, which differs by row; pad with zeros"),
        (nn.MultiheadAttention(**HEADS), lambda part, x: part(x, x, x, attn_mask=torch.cat([x @ x.mT] * 2))[0],
         "its attn_mask depends on the row or the head; give one mask of two axes"),
        (nn.MultiheadAttention(**HEADS), lambda part, x: part(x, x, x, attn_mask=torch.eye(3))[0],
         "its attn_mask adds numbers to the scores; use a mask of bool, or of 0 and -inf"),
        (nn.MultiheadAttention(**HEADS, add_bias_kv=True), lambda part, x: part(x, x, x)[0],
         r"it adds keys of its own \(add_bias_kv, add_zero_attn\); leave them out"),
        (nn.TransformerEncoderLayer(4, 2, 8, batch_first=True, activation=nn.Hardshrink()), lambda part, x: part(x),
         "its activation hardshrink is not known; use 'relu' or 'gelu'"),
    ],
)  # fmt: skip
def test_modules_called_in_ways_without_a_counterpart(part, call, text):
    with pytest.raises(UnsupportedError, match=text):
        weft.from_torch(Calls(part, call), torch.randn(2, 3, 4))


def test_an_embedding_that_changes_its_weights():
    with pytest.raises(UnsupportedError, match="max_norm changes the weights while they are read; normalise them"):
        weft.from_torch(nn.Sequential(nn.Embedding(3, 2, max_norm=1.0)), torch.tensor([[0, 1], [2, 1]]))


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
    with pytest.raises(UnsupportedError, match=r"parameter 'block.0.weight' is of torch.float64; convert the module"):
        weft.from_torch(Inside(nn.ReLU()).double(), torch.randn(2, 3))
    with pytest.raises(DataError, match=r"'x' is of torch.int64, and 'forward' \(mul\) computes with it; give float32"):
        weft.from_torch(Does(lambda x: x * 2), torch.ones(2, 3, dtype=torch.int64))
    for numbers in (torch.ones(2, 3, dtype=torch.int64), torch.ones(2, 3, dtype=torch.bool)):
        with pytest.raises(
            DataError, match=r"'x' is of torch.\w+, and 'block.0' \(Linear\) computes with it: .*; give flo"
        ):
            weft.from_torch(Inside(nn.ReLU()), numbers)
    with pytest.raises(DataError, match=r"'x' is of torch.complex64; give .*, and complex numbers as two features"):
        weft.from_torch(Does(lambda x: x * 2), torch.ones(2, 3, dtype=torch.complex64))


def test_inputs_without_names():
    class Any(nn.Module):
        def forward(self, *xs):
            return torch.cat(xs, 1)

    with pytest.raises(
        UnsupportedError, match=r"Any.forward takes \(\*xs\), and the inputs in \*xs have no names; write"
    ):
        weft.from_torch(Any(), (torch.randn(2, 3), torch.randn(2, 3)))


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

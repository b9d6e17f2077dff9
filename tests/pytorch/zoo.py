"""Small modules of every kind, each with random weights and statistics, and rows to look at it with."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F


class Around(nn.Module):
    """Something, and a way around it."""

    def __init__(self, inside: nn.Module) -> None:
        super().__init__()
        self.inside = inside

    def forward(self, x):
        return F.relu(x + self.inside(x))


class DeepSets(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.each = nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU())
        self.all = nn.Linear(6, 2)

    def forward(self, particles):
        return self.all(self.each(particles).sum(dim=1))


class Image(nn.Module):
    """A convolution, flattened: the weights behind it are in torch's order."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3, padding=1, stride=2)
        self.norm = nn.BatchNorm2d(4)
        self.pool = nn.MaxPool2d(2)
        self.head = nn.Linear(4 * 2 * 1, 3)

    def forward(self, x):
        x = self.pool(F.relu(self.norm(self.conv(x))))
        return self.head(x.view(x.size(0), -1))


class Separable(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(3, 3, 3, groups=3, padding="same", bias=False)
        self.pointwise = nn.Conv2d(3, 4, 1)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(torch.flatten(self.pool(self.pointwise(self.depthwise(x)).relu()), 1))


class SelfAttention(nn.Module):
    """Attention as one writes it by hand."""

    def __init__(self, n: int = 4) -> None:
        super().__init__()
        self.qkv = nn.Linear(n, 3 * n)
        self.out = nn.Linear(n, n)

    def forward(self, x):
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        scores = torch.matmul(q, k.transpose(-2, -1)) / math.sqrt(q.shape[-1])
        return self.out(torch.softmax(scores, dim=-1) @ v)


class MultiHead(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        found, _ = self.attention(x, x, x, need_weights=False)
        return self.head((x + found).mean(dim=1))


class Tagger(nn.Module):
    def __init__(self, kind: str, **more: Any) -> None:
        super().__init__()
        self.cells = getattr(nn, kind)(3, 4, batch_first=True, **more)
        self.head = nn.Linear(8 if more.get("bidirectional") else 4, 2)

    def forward(self, x):
        return self.head(self.cells(x)[0][:, -1])


class LastState(nn.Module):
    """Time comes first, as torch likes it, and the state at the end is what counts."""

    def __init__(self) -> None:
        super().__init__()
        self.cells = nn.GRU(3, 4)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        _, state = self.cells(x.permute(1, 0, 2))
        return self.head(state[-1])


class Autoencoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv1d(1, 4, 4, stride=2, padding=1), nn.ReLU())
        self.decoder = nn.ConvTranspose1d(4, 1, 4, stride=2, padding=1)

    def forward(self, x):
        return self.decoder(self.encoder(x))


class TwoByTwo(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(3, 4), nn.Linear(2, 4)
        self.kind, self.energy = nn.Linear(8, 3), nn.Linear(4, 1)

    def forward(self, left, right):
        left, right = F.relu(self.left(left)), F.relu(self.right(right))
        return self.kind(torch.cat([left, right], dim=-1)), self.energy(left * right)


class Words(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(6, 3)
        self.head = nn.Linear(3, 2)

    def forward(self, numbers):
        return self.head(self.words(numbers).sum(1))


class Shared(nn.Module):
    """One layer, called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.step = nn.Linear(4, 4)

    def forward(self, x):
        return self.step(torch.relu(self.step(x)))


class Parameters(nn.Module):
    """A learnt position, a learnt scale and numbers of the forward itself."""

    def __init__(self) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.randn(1, 3, 4))
        self.scale = nn.Parameter(torch.rand(4))
        self.register_buffer("mean", torch.tensor([0.5, -0.25, 1.0, 0.0]))
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        x = (x - self.mean) * 0.1 + self.position
        return self.head(2 * (1 - x) * self.scale)


class Moves(nn.Module):
    """Everything that moves values and computes nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(12, 2)

    def forward(self, x):  # (n, 2, 3, 4)
        x = x.permute(0, 2, 3, 1).transpose(1, 2)[:, 1:, ..., None].squeeze(-1)  # (n, 3, 3, 2)
        x = torch.stack([x[:, 0], x.flip(1)[:, 0]], dim=-1)  # (n, 3, 2, 2)
        x = torch.roll(x, 1, dims=1).unsqueeze(1).expand(-1, 2, -1, -1, -1)[:, 0]
        a, b = x.split([1, 1], dim=2)
        return self.head(torch.cat((a, b), dim=2).reshape(x.shape[0], -1))


class Pools(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3, padding=1, padding_mode="replicate")
        self.max = nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=True)
        self.mean = nn.AvgPool2d(2, stride=1, padding=1)
        self.some = nn.AdaptiveAvgPool2d((2, 4))

    def forward(self, x):
        return torch.flatten(self.some(self.mean(self.max(self.conv(x)))), 1)


class Functions(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleList(nn.Linear(3, 3) for _ in range(4))
        self.last = nn.ModuleList([nn.ReLU6(), nn.Hardtanh(), nn.LeakyReLU(0.25), nn.PReLU()])

    def forward(self, x):
        ends = [last(part(x)) for part, last in zip(self.parts, self.last, strict=True)]
        return torch.clamp(torch.maximum(ends[0], ends[1]) - torch.abs(ends[2]) + ends[3], -4.0, 4.0)


class Shapes(nn.Module):
    """Control flow on shapes: torch.fx cannot, torch.export can."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(2, 4, 3)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        if x.shape[2] < 3:
            x = F.pad(x, (1, 1))
        x = F.relu(self.conv(x))
        for i in range(x.shape[2]):
            x = x + i * 0.5
        return self.head(x.amax(dim=2))


class Residual(nn.Module):
    def __init__(self, n: int) -> None:
        super().__init__()
        self.one = nn.Conv2d(n, n, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(n)
        self.two = nn.Conv2d(n, n, (3, 1), padding=(1, 0), groups=2, dilation=(1, 1))

    def forward(self, x):
        y = F.relu(self.norm(self.one(x)), inplace=True)
        y = self.two(y)
        y += x
        return y


@dataclass
class Case:
    """A module and its inputs.

    Attributes:
        make: Makes the module.
        shapes: The shape of each input, without rows.
        graph: What the adder graph says against it, as a pattern; None if nothing.
        numbers: If not 0, the inputs are whole numbers below it.
    """

    make: Callable[[], nn.Module]
    shapes: tuple[tuple[int, ...], ...]
    graph: str | None = None
    numbers: int = 0

    def module(self) -> nn.Module:
        """Return the module, with weights of some size, and statistics that are not 0 and 1."""
        torch.manual_seed(0)
        module = self.make()
        with torch.no_grad():
            for name, value in [*module.named_parameters(), *module.named_buffers()]:
                if name.endswith("running_var"):
                    value.uniform_(0.5, 1.5)
                elif name.endswith("running_mean"):
                    value.normal_(0, 0.3)
                elif "norm" in name and name.endswith("weight"):
                    value.uniform_(0.5, 1.5)
        return module.eval()

    def rows(self, n: int, seed: int = 0) -> tuple[torch.Tensor, ...]:
        """Return random rows for each input."""
        draw = torch.Generator().manual_seed(seed)
        if self.numbers:
            return tuple(torch.randint(self.numbers, (n, *shape), generator=draw) for shape in self.shapes)
        return tuple(torch.randn((n, *shape), generator=draw) for shape in self.shapes)


def of(*layers: nn.Module) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(*layers)


WIDE = r"a function would be a table over numbers of 2\d bits"
"""A GRU's candidate state reads a product of gate and state, which torch does not round."""


def encoder_layer(**more: Any) -> nn.Module:
    return nn.TransformerEncoderLayer(4, 2, 8, batch_first=True, **more)


ZOO: dict[str, Case] = {
    "mlp": Case(of(nn.Linear(4, 6), nn.ReLU(), nn.Dropout(0.1), nn.Linear(6, 3)), ((4,),)),
    "mlp with batch norm": Case(of(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3)), ((4,),)),
    "mlp with residuals": Case(
        lambda: nn.Sequential(nn.Linear(4, 5), Around(nn.Linear(5, 5)), Around(nn.Linear(5, 5))), ((4,),)
    ),
    "deep sets": Case(DeepSets, ((4, 3),)),
    "cnn 1d": Case(
        of(nn.Conv1d(2, 3, 3, padding=1), nn.ReLU(), nn.MaxPool1d(2), nn.Flatten(), nn.Linear(9, 2)), ((2, 6),)
    ),
    "cnn 2d": Case(Image, ((2, 8, 5),)),
    "cnn 3d": Case(of(nn.Conv3d(1, 2, 2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2)), ((1, 3, 3, 2),)),
    "dilated and circular": Case(
        of(nn.Conv1d(2, 4, 3, dilation=2, padding=2, padding_mode="circular", groups=2), nn.Tanh()), ((2, 6),)
    ),
    "residual cnn": Case(lambda: nn.Sequential(nn.Conv2d(1, 4, 1), Residual(4)), ((1, 4, 3),)),
    "depthwise separable": Case(Separable, ((3, 4, 4),)),
    "attention by hand": Case(lambda: nn.Sequential(SelfAttention(), nn.Flatten()), ((3, 4),)),
    "multi-head attention": Case(MultiHead, ((4, 4),)),
    "transformer encoder layer": Case(encoder_layer, ((3, 4),)),
    "transformer encoder": Case(
        lambda: nn.TransformerEncoder(
            encoder_layer(activation="gelu", norm_first=True), 2, nn.LayerNorm(4), enable_nested_tensor=False
        ),
        ((3, 4),),
    ),
    "gru tagger": Case(lambda: Tagger("GRU"), ((4, 3),), graph=WIDE),
    "gru in two directions": Case(lambda: Tagger("GRU", bidirectional=True, num_layers=2), ((3, 3),), graph=WIDE),
    "last state": Case(LastState, ((4, 3),), graph=WIDE),
    "rnn tagger": Case(lambda: Tagger("RNN"), ((4, 3),)),
    "lstm tagger": Case(lambda: Tagger("LSTM"), ((3, 3),)),
    "autoencoder": Case(Autoencoder, ((1, 8),)),
    "transposed 2d": Case(
        of(nn.ConvTranspose2d(2, 2, 3, stride=2, padding=1, output_padding=1, groups=2)), ((2, 2, 3),)
    ),
    "two inputs, two outputs": Case(
        TwoByTwo, ((3,), (2,)), graph="it has 2 inputs and 2 outputs; concatenate them into one each"
    ),
    "embedding": Case(Words, ((3,),), numbers=6),
    "layer norm": Case(of(nn.Linear(4, 5), nn.LayerNorm(5), nn.ReLU(), nn.Linear(5, 2)), ((4,),)),
    "gelu, silu, softmax": Case(
        of(nn.Linear(4, 4), nn.GELU(), nn.Linear(4, 4), nn.SiLU(), nn.Linear(4, 3), nn.Softmax(-1)), ((4,),)
    ),
    "piecewise functions": Case(Functions, ((3,),)),
    "shared": Case(Shared, ((4,),)),
    "parameters": Case(Parameters, ((3, 4),)),
    "moves": Case(Moves, ((2, 3, 4),)),
    "pools": Case(Pools, ((1, 5, 5),)),
    "control flow on shapes": Case(Shapes, ((2, 5),)),
}

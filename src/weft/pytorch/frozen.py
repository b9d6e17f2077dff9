"""Fixed-point numbers in torch: the modules that a finalised model is made of, all in float64, where they are exact.

Sums and products of fixed-point numbers of up to 53 bits are exact in float64, whatever their order. Nonlinear
functions are tables of what Keras computes, since two libraries need not round a `tanh` alike. Nothing here is trained:
all numbers are buffers, part of `state_dict`.

TorchScript reads a buffer's annotation as a type, so annotations are not postponed here.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


def buffer(module: nn.Module, name: str, values: Any, dtype: torch.dtype = torch.float64) -> None:
    """Give a module a buffer."""
    module.register_buffer(name, torch.as_tensor(np.array(values)).to(dtype))


class Quantize(nn.Module):
    """Rounds to the formats KIF(k, i, f), value by value; overflow wraps or saturates.

    What has not been quantised yet is float32, and rounded in it as Keras does.
    """

    k: Tensor
    i: Tensor
    f: Tensor

    def __init__(self, k: Any, i: Any, f: Any, round_mode: str, overflow_mode: str) -> None:
        super().__init__()
        for name, values in (("k", k), ("i", i), ("f", f)):
            buffer(self, name, values)
        self.round_mode, self.overflow_mode = round_mode, overflow_mode

    def forward(self, x: Tensor) -> Tensor:
        k, i, f = self.k.to(x.dtype), self.i.to(x.dtype), self.f.to(x.dtype)
        i = torch.maximum(i, -f)
        step, top = torch.exp2(-f), torch.exp2(i)
        if self.overflow_mode != "WRAP":
            low = -k * (top - step) if self.overflow_mode == "SAT_SYM" else -k * top
            x = torch.minimum(torch.maximum(x, low), top - step)
        x = self.rounded(x * torch.exp2(f)) * step
        x, k, top, step = x.double(), k.double(), top.double(), step.double()
        if self.overflow_mode == "WRAP":
            low = k * top
            x = torch.remainder(x + low, top * torch.exp2(k)) - low
        return torch.where(self.k + torch.maximum(self.i, -self.f) + self.f > 0, x, torch.zeros_like(x))

    def rounded(self, x: Tensor) -> Tensor:
        """Round to whole numbers."""
        if self.round_mode == "TRN":
            return torch.floor(x)
        if self.round_mode == "RND":
            return torch.floor(x + 0.5)
        if self.round_mode == "RND_CONV":
            return torch.round(x)
        if self.round_mode == "TRN_ZERO":
            return torch.trunc(x)
        if self.round_mode == "RND_ZERO":
            return -torch.floor(-torch.abs(x) + 0.5) * torch.sign(x)
        if self.round_mode == "RND_MIN_INF":
            return -torch.floor(-x + 0.5)
        return torch.floor(torch.abs(x) + 0.5) * torch.sign(x)


class Affine(nn.Module):
    """A quantiser of scaled values, whose result is scaled and shifted."""

    def __init__(self, inside: nn.Module, scaler: float, affine: tuple[float, float]) -> None:
        super().__init__()
        self.inside, self.scaler, self.factor, self.offset = inside, scaler, affine[0], affine[1]

    def forward(self, x: Tensor) -> Tensor:
        return self.inside(x / self.scaler) * self.scaler * self.factor + self.offset


class Table(nn.Module):
    """A function of quantised values, looked up: for each value, or for all alike.

    Args:
        quantize: What makes the values.
        low: The least value of each, (1, *shape).
        step: The distance of two neighbours, (1, *shape).
        values: The function's, (n, *shape), from the least value on; one column serves all if they are alike.
    """

    values: Tensor
    low: Tensor
    step: Tensor
    first: Tensor

    def __init__(self, quantize: nn.Module, low: Any, step: Any, values: np.ndarray) -> None:
        super().__init__()
        self.quantize = quantize
        columns = values.reshape(len(values), -1).T
        if (columns == columns[:1]).all() and np.size(low) == np.size(step) == 1:
            columns = columns[:1]
        buffer(self, "values", columns)
        buffer(self, "low", low)
        buffer(self, "step", step)
        buffer(self, "first", np.arange(len(columns)) * columns.shape[1], torch.int64)

    def forward(self, x: Tensor) -> Tensor:
        x = self.quantize(x)
        numbers = torch.round((x - self.low) / self.step).to(torch.int64).flatten(1)
        return self.values.flatten()[numbers + self.first].reshape(x.shape)


class Steps(nn.Module):
    """A rising function whose values are rounded: the number of thresholds that x has reached, for each feature.

    Args:
        thresholds: The least x at which the value becomes the next one, (n_features, n); unused ones are infinite.
        first: The value below all thresholds, (n_features,).
        step: The distance of two values, (n_features,).
    """

    thresholds: Tensor
    first: Tensor
    step: Tensor

    def __init__(self, thresholds: Any, first: Any, step: Any) -> None:
        super().__init__()
        buffer(self, "thresholds", thresholds)
        buffer(self, "first", first)
        buffer(self, "step", step)

    def forward(self, x: Tensor) -> Tensor:
        return self.first + self.step * (x.unsqueeze(-1) >= self.thresholds).sum(-1)


class Move(nn.Module):
    """Values at other places, and zeros: value j of a row is the one with number index[j], or 0 for number 0.

    Several tensors are numbered one after the other, from 1 on.
    """

    index: Tensor

    def __init__(self, index: Any, shape: Sequence[int]) -> None:
        super().__init__()
        buffer(self, "index", index, torch.int64)
        self.shape = [int(size) for size in shape]

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(1)
        flat = torch.cat([torch.zeros_like(flat[:, :1]), flat], 1)
        return flat[:, self.index].reshape([x.shape[0]] + self.shape)  # noqa: RUF005 - TorchScript knows no *


class Join(nn.Module):
    """Rows of several tensors, one behind the other, as a `Move` reads them."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.n = n

    def forward(self, x: list[Tensor]) -> Tensor:
        if any([one.dtype == torch.float64 for one in x]):
            return torch.cat([one.double().flatten(1) for one in x], 1)
        return torch.cat([one.flatten(1) for one in x], 1)


class Linear(nn.Module):
    """A sum of products with weights, as `torch.einsum` writes it, and a bias."""

    kernel: Tensor
    bias: Tensor

    def __init__(self, equation: str, kernel: Any, bias: Any, relu: bool = False) -> None:
        super().__init__()
        self.equation, self.relu = equation, relu
        buffer(self, "kernel", kernel)
        buffer(self, "bias", 0.0 if bias is None else bias)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.einsum(self.equation, x.double(), self.kernel) + self.bias
        return torch.relu(y) if self.relu else y


class Convolution(nn.Module):
    """A convolution of (n, *window, channels); the kernel is torch's, (n_out, n_in / groups, *window)."""

    kernel: Tensor
    bias: Tensor

    def __init__(
        self,
        kernel: Any,
        bias: Any,
        stride: Sequence[int],
        dilation: Sequence[int],
        groups: int,
        widths: Sequence[int],
        relu: bool,
    ) -> None:
        super().__init__()
        buffer(self, "kernel", kernel)
        buffer(self, "bias", 0.0 if bias is None else bias)
        self.stride, self.dilation, self.groups, self.relu = list(stride), list(dilation), groups, relu
        self.widths = list(widths)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.pad(x.double().movedim(-1, 1), self.widths)
        if self.kernel.dim() == 3:
            y = nn.functional.conv1d(x, self.kernel, None, self.stride, 0, self.dilation, self.groups)
        elif self.kernel.dim() == 4:
            y = nn.functional.conv2d(x, self.kernel, None, self.stride, 0, self.dilation, self.groups)
        else:
            y = nn.functional.conv3d(x, self.kernel, None, self.stride, 0, self.dilation, self.groups)
        y = y.movedim(1, -1) + self.bias
        return torch.relu(y) if self.relu else y


class Pool(nn.Module):
    """The largest or the mean value of windows: value j is that of the numbers in window[j]; number 0 is left out."""

    window: Tensor
    count: Tensor

    def __init__(self, window: Any, shape: Sequence[int], largest: bool) -> None:
        super().__init__()
        window = np.asarray(window)
        buffer(self, "window", window, torch.int64)
        count = (window > 0).sum(-1)
        buffer(self, "count", count)
        self.exact = bool((count & (count - 1) == 0).all())  # or Keras' float32 rounds
        self.shape, self.largest = [int(size) for size in shape], largest

    def forward(self, x: Tensor) -> Tensor:
        flat = x.double().flatten(1)
        edge = torch.full_like(flat[:, :1], -torch.inf) if self.largest else torch.zeros_like(flat[:, :1])
        seen = torch.cat([edge, flat], 1)[:, self.window]
        if self.largest:
            y = seen.amax(-1)
        elif self.exact:
            y = seen.sum(-1) / self.count
        else:
            y = (seen.sum(-1).float() / self.count.float()).double()
        return y.reshape([x.shape[0]] + self.shape)  # noqa: RUF005 - TorchScript knows no *


class Merge(nn.Module):
    """Several tensors, each quantised, joined value by value, by their inner product, or by `torch.einsum`."""

    def __init__(
        self, kind: str, quantizers: Sequence[nn.Module], output: nn.Module, scale: float = 1.0, equation: str = ""
    ) -> None:
        super().__init__()
        self.kind, self.scale, self.equation = kind, scale, equation
        self.quantizers, self.output = nn.ModuleList(quantizers), output

    def forward(self, x: list[Tensor]) -> Tensor:
        read: list[Tensor] = []
        for i, quantizer in enumerate(self.quantizers):
            read.append(quantizer(x[i]).double())
        return self.output(self._joined(read) * self.scale)

    def _joined(self, read: list[Tensor]) -> Tensor:
        if self.kind == "einsum":
            return torch.einsum(self.equation, read[0], read[1])
        if self.kind == "dot":
            return (read[0] * read[1]).sum(1, True)
        y = read[0]
        for one in read[1:]:
            if self.kind == "add":
                y = y + one
            elif self.kind == "subtract":
                y = y - one
            elif self.kind == "multiply":
                y = y * one
            elif self.kind == "maximum":
                y = torch.maximum(y, one)
            else:
                y = torch.minimum(y, one)
        return y


class Constant(nn.Module):
    """A constant and a tensor, joined value by value."""

    value: Tensor

    def __init__(self, kind: str, value: Any, first: bool) -> None:
        super().__init__()
        self.kind, self.first = kind, first
        buffer(self, "value", value)

    def forward(self, x: Tensor) -> Tensor:
        x = x.double()
        if self.kind == "add":
            return x + self.value
        if self.kind == "subtract":
            return self.value - x if self.first else x - self.value
        if self.kind == "multiply":
            return x * self.value
        return torch.maximum(x, self.value) if self.kind == "maximum" else torch.minimum(x, self.value)


class Scale(nn.Module):
    """x times a scale plus an offset, along the last axes or all."""

    scale: Tensor
    offset: Tensor

    def __init__(self, scale: Any, offset: Any) -> None:
        super().__init__()
        buffer(self, "scale", scale)
        buffer(self, "offset", offset)

    def forward(self, x: Tensor) -> Tensor:
        return x.double() * self.scale + self.offset


class Clip(nn.Module):
    """x between two bounds; below a threshold it is taken a slope times."""

    def __init__(self, low: float | None, high: float | None, slope: float = 0.0, threshold: float = 0.0) -> None:
        super().__init__()
        self.low = -torch.inf if low is None else float(low)
        self.high = torch.inf if high is None else float(high)
        self.slope, self.threshold = float(slope), float(threshold)

    def forward(self, x: Tensor) -> Tensor:
        x = x.double()
        if self.slope != 0 or self.threshold != 0:
            y = torch.where(x >= self.threshold, x, self.slope * (x - self.threshold))
            return torch.minimum(y, torch.full_like(y, self.high))
        return torch.clamp(x, self.low, self.high)


class Reduce(nn.Module):
    """A sum, largest or least value over axes."""

    def __init__(self, kind: str, axes: Sequence[int], keepdims: bool, scale: float = 1.0) -> None:
        super().__init__()
        self.kind, self.axes, self.keepdims, self.scale = kind, list(axes), keepdims, scale

    def forward(self, x: Tensor) -> Tensor:
        x = x.double()
        if self.kind == "sum":
            return x.sum(self.axes, self.keepdims) * self.scale
        if self.kind == "max":
            return x.amax(self.axes, self.keepdims)
        return x.amin(self.axes, self.keepdims)


class Absolute(nn.Module):
    """|x|."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.abs(x)


class Softmax(nn.Module):
    """exp of the distance from the largest value, by a table, times 1 / sum, by another."""

    mask: Tensor

    def __init__(self, quantize: nn.Module, exp: nn.Module, inverse: nn.Module, axes: Sequence[int], mask: Any) -> None:
        super().__init__()
        self.quantize, self.exp, self.inverse, self.axes = quantize, exp, inverse, list(axes)
        self.masked = mask is not None
        buffer(self, "mask", 1.0 if mask is None else mask)

    def forward(self, x: Tensor) -> Tensor:
        x = self.quantize(x)
        if self.masked:
            x = self.mask * x - (1 - self.mask) * 1e9
        exp = self.exp(x.amax(self.axes, True) - x)
        if self.masked:
            exp = self.mask * exp
        return exp * self.inverse(exp.sum(self.axes, True))


class Attention(nn.Module):
    """Attention of several heads."""

    def __init__(self, parts: dict[str, nn.Module], scores: str, combined: str) -> None:
        super().__init__()
        self.query, self.key, self.value = parts["query"], parts["key"], parts["value"]
        self.softmax, self.output = parts["softmax"], parts["output"]
        self.scores, self.combined = scores, combined

    def forward(self, x: list[Tensor]) -> Tensor:
        query, value = self.query(x[0]), self.value(x[1])
        key = self.key(x[2] if len(x) > 2 else x[1])
        scores = self.softmax(torch.einsum(self.scores, key, query))
        return self.output(torch.einsum(self.combined, scores, value))


class Gru(nn.Module):
    """Gated recurrent units, step by step; gates are update, reset and new."""

    kernel: Tensor
    bias: Tensor
    recurrent: Tensor
    recurrent_bias: Tensor

    def __init__(self, parts: dict[str, nn.Module], weights: dict[str, Any], sequences: bool, backwards: bool) -> None:
        super().__init__()
        self.iq, self.sq, self.rhq = parts["iq"], parts["sq"], parts["rhq"]
        self.gates, self.new = parts["gates"], parts["new"]
        for name, values in weights.items():
            buffer(self, name, values)
        self.units = int(weights["recurrent"].shape[0])
        self.sequences, self.backwards = sequences, backwards

    def forward(self, x: Tensor) -> Tensor:
        if self.backwards:
            x = x.flip(1)
        n = self.units
        h = torch.zeros([x.shape[0], n], dtype=torch.float64, device=x.device)
        found: list[Tensor] = []
        for t in range(x.shape[1]):
            state = self.sq(h)
            read = self.iq(x[:, t]) @ self.kernel + self.bias
            inner = state @ self.recurrent + self.recurrent_bias
            gates = self.gates(read[:, : 2 * n] + inner[:, : 2 * n])
            z, r = gates[:, :n], gates[:, n:]
            new = self.new(read[:, 2 * n :] + r * self.rhq(inner[:, 2 * n :]))
            h = z * state + (1 - z) * new
            found.append(h)
        return torch.stack(found, 1) if self.sequences else h


class Rnn(nn.Module):
    """Plain recurrent units, step by step."""

    kernel: Tensor
    bias: Tensor
    recurrent: Tensor

    def __init__(self, parts: dict[str, nn.Module], weights: dict[str, Any], sequences: bool, backwards: bool) -> None:
        super().__init__()
        self.iq, self.function = parts["iq"], parts["function"]
        for name, values in weights.items():
            buffer(self, name, values)
        self.units = int(weights["recurrent"].shape[0])
        self.sequences, self.backwards = sequences, backwards

    def forward(self, x: Tensor) -> Tensor:
        if self.backwards:
            x = x.flip(1)
        h = torch.zeros([x.shape[0], self.units], dtype=torch.float64, device=x.device)
        found: list[Tensor] = []
        for t in range(x.shape[1]):
            h = self.function(self.iq(x[:, t]) @ self.kernel + self.bias + h @ self.recurrent)
            found.append(h)
        return torch.stack(found, 1) if self.sequences else h

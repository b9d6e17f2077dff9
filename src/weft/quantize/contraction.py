"""Which numbers of one array are multiplied with which of another, and to which result each product is added.

Every layer that multiplies is one of two forms: an einsum (dense layers, scalings, attention, products of two tensors)
or a convolution. A form is a sum over products, linear in three arrays: `first` (what a layer reads), `second` (its
kernel, or the other tensor) and `result`. Put widths in for two of them and a mask for the third, and it counts bits;
put ones in, and it counts products. A product with the zeros that pad a convolution is none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Shape = tuple[int, ...]

_SMALL = 2**14
"""Up to so many products an einsum is quicker as it stands than after a search for its best order."""


class Form(Protocol):
    """A sum over products; arrays have no batch axis."""

    @property
    def fan_in(self) -> int:
        """How many products are added up to one number of the result, padding counted as if it were data."""
        ...

    @property
    def positions(self) -> int:
        """How often the whole `second` is applied, padding counted as if it were data."""
        ...

    @property
    def result_shape(self) -> Shape:
        """Shape of the result."""
        ...

    def weigh(self, first: ArrayLike, result: ArrayLike) -> Floats:
        """Return for each number of `second` the sum over its products of `first` times `result`."""
        ...


@dataclass(frozen=True)
class Einsum:
    """An einsum of two tensors whose axes all have names; the batch axis is left out.

    Attributes:
        first: Labels of the axes of `first`, one letter each.
        second: The same of `second`.
        result: The same of the result.
        sizes: The size of each label.
    """

    first: str
    second: str
    result: str
    sizes: dict[str, int]

    @classmethod
    def of(cls, equation: str, first: Sequence[int], second: Sequence[int], *, batched: bool = False) -> Einsum:
        """Make the form of an equation such as `...a,ab->...b`; the batch is the first axis and is left out.

        Args:
            equation: As in Keras.
            first: Shape of the first tensor, with the batch axis.
            second: Shape of the second one, with the batch axis if `batched`.
            batched: Whether the second tensor has a batch axis, too.
        """
        return _einsum(equation, tuple(first), tuple(second), batched)

    @property
    def fan_in(self) -> int:
        return self._size(set(self.first + self.second) - set(self.result))

    @property
    def positions(self) -> int:
        return self._size(set(self.first) - set(self.second))

    @property
    def result_shape(self) -> Shape:
        return tuple(self.sizes[label] for label in self.result)

    def weigh(self, first: ArrayLike, result: ArrayLike) -> Floats:
        return self._sum(self.second, (self.first, first), (self.result, result))

    def back(self, second: ArrayLike, result: ArrayLike) -> Floats:
        """Return for each number of `first` the sum over its products of `second` times `result`."""
        return self._sum(self.first, (self.second, second), (self.result, result))

    def forward(self, first: ArrayLike, second: ArrayLike) -> Floats:
        """Return the result."""
        return self._sum(self.result, (self.first, first), (self.second, second))

    def _size(self, labels: set[str]) -> int:
        return math.prod(self.sizes[label] for label in labels)

    def _sum(self, wanted: str, *known: tuple[str, ArrayLike]) -> Floats:
        arrays = [np.asarray(values, np.float64) for _, values in known]
        text, ones, times, optimize = self._plan(wanted, *(labels for labels, _ in known))
        found = np.einsum(text, *arrays, *ones, optimize=optimize)
        return found if times == 1 else found * times

    def _plan(self, wanted: str, *labels: str) -> tuple[str, list[Floats], int, bool]:
        """Return the equation of a sum, ones for what no array has, how often all is added, and how it is computed."""
        plans = self.__dict__.setdefault("_plans", {})
        if (wanted, labels) not in plans:
            known = set("".join(labels))
            missing = "".join(sorted(set(wanted) - known))
            ones = [np.ones([self.sizes[one] for one in missing])] if missing else []
            text = f"{','.join([*labels, missing] if missing else labels)}->{wanted}"
            times = self._size(set(self.first + self.second) - set(wanted) - known)
            plans[wanted, labels] = text, ones, times, self._size(known | set(missing)) > _SMALL
        return plans[wanted, labels]


@lru_cache(maxsize=1024)
def _einsum(equation: str, first: tuple[int, ...], second: tuple[int, ...], batched: bool) -> Einsum:
    spare = iter(c for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" if c not in equation)
    inputs, out = equation.replace(" ", "").split("->")
    one, two = inputs.split(",")
    n_hidden = max(
        len(shape) - len(labels) + 3 for labels, shape in ((one, first), (two, second)) if "..." in labels
    ) if "..." in inputs else 0  # fmt: skip
    hidden = "".join(next(spare) for _ in range(n_hidden))
    one, two, out = (labels.replace("...", hidden) for labels in (one, two, out))
    sizes = {
        label: int(size)
        for labels, shape in ((one, first), (two, second))
        for label, size in zip(labels, shape, strict=True)
        if size is not None
    }
    return Einsum(one[1:], two[1:] if batched else two, out.replace(one[0], ""), sizes)


@dataclass(frozen=True)
class Axis:
    """A convolution along one axis."""

    n_in: int
    taps: int
    stride: int
    dilation: int
    padding: str

    @property
    def n_out(self) -> int:
        """How many windows there are."""
        span = (self.taps - 1) * self.dilation
        room = self.n_in - span if self.padding == "valid" else self.n_in
        return max(0, -(-room // self.stride))

    @property
    def read(self) -> NDArray[np.int64]:
        """What each window reads through each tap, (n_out, taps); `n_in` where that is padding."""
        span = (self.taps - 1) * self.dilation
        around = max(0, (self.n_out - 1) * self.stride + span + 1 - self.n_in)
        before = {"valid": 0, "same": around // 2, "causal": span}[self.padding]
        place = np.arange(self.n_out)[:, None] * self.stride + np.arange(self.taps)[None, :] * self.dilation - before
        return np.where((place >= 0) & (place < self.n_in), place, self.n_in)


@dataclass(frozen=True)
class Convolution:
    """A convolution in groups; `second` is a kernel (*window, channels of a group, all outputs).

    Attributes:
        axes: What happens along each axis of space.
        channels: Channels of the input.
        outputs: Channels of the output.
        groups: Groups of channels that see only each other.
        first_axis: Whether channels are the first axis of input and output, instead of the last.
    """

    axes: tuple[Axis, ...]
    channels: int
    outputs: int
    groups: int = 1
    first_axis: bool = False

    @cached_property
    def taps(self) -> Shape:
        """The size of the window."""
        return tuple(axis.taps for axis in self.axes)

    @property
    def fan_in(self) -> int:
        return math.prod(self.taps) * self.channels // self.groups

    @property
    def positions(self) -> int:
        return math.prod(axis.n_out for axis in self.axes)

    @property
    def result_shape(self) -> Shape:
        space = tuple(axis.n_out for axis in self.axes)
        return (self.outputs, *space) if self.first_axis else (*space, self.outputs)

    def weigh(self, first: ArrayLike, result: ArrayLike) -> Floats:
        first, result = (np.asarray(one, np.float64) for one in (first, result))
        if self.first_axis:
            first, result = np.moveaxis(first, 0, -1), np.moveaxis(result, 0, -1)
        groups, rank = self.groups, len(self.axes)
        for i, axis in enumerate(self.axes):  # each axis of space becomes two: window and tap
            place = 2 * i
            border = np.zeros([1 if j == place else size for j, size in enumerate(first.shape)])
            first = np.take(np.concatenate([first, border], axis=place), axis.read, axis=place)
        order = [*range(1, 2 * rank, 2), *range(0, 2 * rank, 2), 2 * rank]
        windows = first.transpose(order).reshape(math.prod(self.taps), self.positions, groups, -1)
        windows = windows.transpose(2, 0, 3, 1).reshape(groups, -1, self.positions)  # group, tap and channel, window
        made = windows @ result.reshape(self.positions, groups, -1).transpose(1, 0, 2)
        by_tap = made.reshape(groups, math.prod(self.taps), self.channels // groups, -1)
        return by_tap.transpose(1, 2, 0, 3).reshape(*self.taps, self.channels // groups, self.outputs)


def convolution_of(layer: Any, shape: Sequence[int], window: bool = True) -> Convolution:
    """Return the form of a Keras or HGQ2 convolution that reads a tensor.

    Args:
        layer: A built convolution, depthwise and separable ones too: they are those of as many groups as channels.
        shape: Shape of what it reads, without the batch axis.
        window: Whether it is the window that is applied; of a separable layer, what comes after it is one point.
    """
    from keras.src.layers.convolutional.base_conv import BaseConv

    first_axis = layer.data_format == "channels_first"
    space, channels = (shape[1:], shape[0]) if first_axis else (shape[:-1], shape[-1])
    if not window:
        points = tuple(Axis(int(size), 1, 1, 1, "valid") for size in space)
        return Convolution(points, channels, layer.filters, 1, first_axis)
    sizes = zip(space, layer.kernel_size, layer.strides, layer.dilation_rate, strict=True)
    axes = tuple(Axis(*map(int, one), padding=layer.padding) for one in sizes)
    if isinstance(layer, BaseConv):
        return Convolution(axes, channels, layer.filters, layer.groups, first_axis)
    return Convolution(axes, channels, channels * layer.depth_multiplier, channels, first_axis)

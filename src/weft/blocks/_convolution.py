"""What the blocks of convolutions share: layers of filters, each with its window, stride and pooling.

Windows are padded (`same`), so that a sequence or image is shortened by strides and pooling only. A stride or a pooling
that what is left is too short for falls away.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Self

from pydantic import Field, model_validator

from weft.blocks._base import Count, HiddenBlock, HiddenGenes, PerLayer, Shape
from weft.choice import Choice, one_of, whole


class ConvolutionGenes(HiddenGenes):
    """Of each layer: filters, side of the window, stride, and side of the pooling behind it (1: none)."""

    filters: tuple[Count, ...] = Field(min_length=1)
    kernel: tuple[Count, ...]
    stride: tuple[Count, ...]
    pool: tuple[Count, ...]

    @model_validator(mode="after")
    def _layers_agree(self) -> Self:
        counts = {name: len(getattr(self, name)) for name in ("filters", "kernel", "stride", "pool")}
        if len(set(counts.values())) > 1:
            raise ValueError(f"needs one value a layer in each, and has {counts}; give each the same number")
        return self

    def fitted(self, shape: Shape) -> Self:
        sides, fitted = shape[:-1], []
        for stride, pool in zip(self.stride, self.pool, strict=True):
            stride = fitting(stride, sides)
            sides = _strided(sides, stride)
            pool = fitting(pool, sides)
            sides = _pooled(sides, pool)
            fitted.append((stride, pool))
        strides, pools = zip(*fitted, strict=True)
        return self.model_copy(update={"stride": strides, "pool": pools})

    def output_shape(self, shape: Shape) -> Shape:
        sides = shape[:-1]
        for stride, pool in zip(self.stride, self.pool, strict=True):
            sides = _pooled(_strided(sides, stride), pool)
        return (*sides, self.filters[-1])

    def build(self, x: Any, prefix: str) -> Any:
        """Add the layers; `x` is (n, length, features) or (n, height, width, channels), and so is the result."""
        from weft.blocks._layers import dropout, pooled

        for i, pool in enumerate(self.pool):
            x = self.convolve(x, i, f"{prefix}_conv{i}")
            x = pooled(x, pool, f"{prefix}_pool{i}")
            x = dropout(x, self.dropout, f"{prefix}_dropout{i}")
        return x

    def convolve(self, x: Any, i: int, name: str) -> Any:
        """Add layer `i`."""
        from weft.blocks._layers import convolution

        shape = self.filters[i], self.kernel[i], self.stride[i]
        return convolution(x, *shape, self.activation, self.normalization, name)

    @property
    def text(self) -> str:
        return f"{self.type}({','.join(map(str, self.filters))})"


class ConvolutionBlock(HiddenBlock):
    """What may be chosen of layers of convolutions."""

    depth: Choice[Count] = Field(default=one_of(1, 2), description="Number of layers.")
    filters: PerLayer[Count] = Field(default=one_of(4, 8, 16), description="Filters of a layer.")
    kernel: PerLayer[Count] = Field(default=one_of(3), description="Side of the window.")
    stride: PerLayer[Count] = Field(default=one_of(1), description="Steps of the window.")
    pool: PerLayer[Count] = Field(
        default=one_of(1, 2), description="Side of the maximum pooling behind a layer; 1: none."
    )

    layered: ClassVar[dict[str, str]] = dict.fromkeys(("filters", "kernel", "stride", "pool"), "depth")

    def shapes(self, shape: Shape) -> Iterable[Shape]:
        reached = {shape[:-1]}
        layers = zip(*(self._each(name) for name in ("filters", "stride", "pool")), strict=True)
        for depth, (filters, strides, pools) in enumerate(layers, start=1):
            reached = {_strided(sides, fitting(stride, sides)) for sides in reached for stride in whole(strides)}
            reached = {_pooled(sides, fitting(pool, sides)) for sides in reached for pool in whole(pools)}
            if depth in whole(self.depth):
                yield from ((*sides, width) for sides in reached for width in whole(filters))


def fitting(step: int, sides: Sequence[int]) -> int:
    """Return a stride or a pooling, or 1 if one of the sides is too short for it."""
    return step if step <= min(sides) else 1


def _strided(sides: Shape, stride: int) -> Shape:
    return tuple(-(-side // stride) for side in sides)


def _pooled(sides: Shape, pool: int) -> Shape:
    return tuple(side // pool for side in sides)

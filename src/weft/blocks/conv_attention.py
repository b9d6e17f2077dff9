"""The `conv_attention` block: a convolution, then attention of every place to every other, added to it.

The block `ConvAttn` of SNAC-Pack (arXiv:2605.16138): one head, whose queries, keys and values have `hidden` channels.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import prod
from typing import Any, ClassVar, Literal, Self

from pydantic import Field

from weft.blocks._base import Count, GenesType, HiddenBlock, HiddenGenes, Shape
from weft.blocks._convolution import fitting
from weft.choice import Choice, one_of, whole


class ConvAttentionGenes(HiddenGenes):
    """Filters and side of the window of the convolution, side of the pooling behind it, channels of the attention."""

    type: Literal["conv_attention"] = "conv_attention"
    filters: Count
    kernel: Count = 3
    pool: Count = 1
    hidden: Count

    def fitted(self, shape: Shape) -> Self:
        return self.model_copy(update={"pool": fitting(self.pool, shape[:-1])})

    def output_shape(self, shape: Shape) -> Shape:
        return (*(side // self.pool for side in shape[:-1]), self.filters)

    def build(self, x: Any, prefix: str) -> Any:
        """Add the layers; `x` is (n, length, features) or (n, height, width, channels), and so is the result."""
        from weft.blocks._layers import attention, convolution, dropout, pooled, reshape

        x = convolution(x, self.filters, self.kernel, 1, self.activation, self.normalization, f"{prefix}_conv")
        x = pooled(x, self.pool, f"{prefix}_pool")
        shape = tuple(x.shape[1:])
        x = reshape(x, (prod(shape[:-1]), self.filters), f"{prefix}_places")
        x = attention(x, 1, self.hidden, x, f"{prefix}_attention")
        return dropout(reshape(x, shape, f"{prefix}_image"), self.dropout, f"{prefix}_dropout")

    @property
    def text(self) -> str:
        return f"{self.type}({self.filters},{self.hidden})"


class ConvAttentionBlock(HiddenBlock):
    """A convolution, and attention between all places."""

    type: Literal["conv_attention"] = Field(default="conv_attention", description="The kind of block.")
    filters: Choice[Count] = Field(default=one_of(4, 8), description="Filters of the convolution.")
    kernel: Choice[Count] = Field(default=one_of(1, 3), description="Side of its window.")
    pool: Choice[Count] = Field(default=one_of(1, 2), description="Side of the maximum pooling behind it; 1: none.")
    hidden: Choice[Count] = Field(default=one_of(2, 4), description="Channels of queries, keys and values.")

    genes: ClassVar[GenesType] = ConvAttentionGenes
    takes: ClassVar[tuple[int, ...]] = (2, 3)
    no_hls: ClassVar[str | None] = "hls4ml 1.3 knows attention of an older HGQ2 only"

    def shapes(self, shape: Shape) -> Iterable[Shape]:
        *sides, _ = shape
        pools = {fitting(pool, sides) for pool in self.taken("pool")}
        return ((*(side // pool for side in sides), filters) for pool in pools for filters in whole(self.filters))

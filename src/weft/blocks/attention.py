"""The `attention` block: each of `depth` layers adds multi-head self-attention to a sequence, then a dense network.

`linformer` attends to `projection` mixtures of the places instead of to all: its cost grows with the length, not with
its square. One matrix makes the mixtures for keys and values of all heads.

Sources: Vaswani et al., "Attention Is All You Need", 2017, arXiv:1706.03762; Wang et al., "Linformer", 2020,
arXiv:2006.04768.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Literal, Self

from pydantic import Field

from weft.blocks._base import Count, Genes, GenesType, HiddenBlock, HiddenGenes, Natural, Shape
from weft.choice import Choice, allows, one_of

Kind = Literal["multi_head", "linformer"]


class AttentionGenes(HiddenGenes):
    """The choices of one `attention` block; `feed_forward` is the width of the dense network, 0 for none."""

    type: Literal["attention"] = "attention"
    depth: Count = 1
    kind: Kind = "multi_head"
    heads: Count = 1
    key_dim: Count
    projection: Count | None = None
    feed_forward: Natural = 0

    def fitted(self, shape: Shape) -> Self:
        """With as many mixtures as places there is nothing to gain: all are attended to."""
        if self.projection is None or self.projection < shape[0]:
            return self
        return self.model_copy(update={"kind": "multi_head", "projection": None})

    def output_shape(self, shape: Shape) -> Shape:
        return shape

    def build(self, x: Any, prefix: str) -> Any:
        """Add the layers; `x` is (n, length, features), and so is the result."""
        import keras

        from weft.blocks._layers import attention, dense, dropout

        features = x.shape[-1]
        for i in range(self.depth):
            memory = x
            if self.projection is not None:
                memory = keras.layers.Permute((2, 1), name=f"{prefix}_places{i}")(x)
                memory = dense(memory, self.projection, "none", "none", f"{prefix}_mix{i}")
                memory = keras.layers.Permute((2, 1), name=f"{prefix}_mixtures{i}")(memory)
            x = attention(x, self.heads, self.key_dim, memory, f"{prefix}_attention{i}")
            if self.feed_forward:
                y = dense(x, self.feed_forward, self.activation, self.normalization, f"{prefix}_wide{i}")
                y = dense(y, features, "none", "none", f"{prefix}_narrow{i}")
                x = keras.layers.Add(name=f"{prefix}_add{i}")([x, y])
            x = dropout(x, self.dropout, f"{prefix}_dropout{i}")
        return x

    @property
    def text(self) -> str:
        what = self.kind if self.projection is None else f"{self.kind} {self.projection}"
        return f"{self.depth}x{what}({self.heads}x{self.key_dim},{self.feed_forward})"


class AttentionBlock(HiddenBlock):
    """Self-attention on a sequence."""

    type: Literal["attention"] = Field(default="attention", description="The kind of block.")
    depth: Choice[Count] = Field(default=one_of(1), description="Number of layers.")
    kind: Choice[Kind] = Field(
        default=one_of("multi_head"), description="What is attended to: all places, or mixtures."
    )
    heads: Choice[Count] = Field(default=one_of(1, 2), description="Number of heads.")
    key_dim: Choice[Count] = Field(default=one_of(2, 4), description="Features of a query, key or value, in each head.")
    projection: Choice[Count] = Field(default=one_of(2, 4), description="Mixtures of places (linformer).")
    feed_forward: Choice[Natural] = Field(
        default=one_of(0, 16), description="Width of the dense network behind the attention; 0: none."
    )

    genes: ClassVar[GenesType] = AttentionGenes
    conditions: ClassVar[dict[str, dict[str, list[Any]]]] = {"projection": {"kind": ["linformer"]}}
    takes: ClassVar[tuple[int, ...]] = (2,)
    no_hls: ClassVar[str | None] = "hls4ml 1.3 knows attention of an older HGQ2 only"

    def params(self, genes: Genes) -> dict[str, Any]:
        """Where only mixtures may be chosen, attention to all places is that of too many of them."""
        found = super().params(genes)
        if allows(self.kind, found["kind"]):
            return found
        return found | {"kind": "linformer", "projection": self.projection.bounds[1]}

    def shapes(self, shape: Shape) -> Iterable[Shape]:
        return (shape,)

"""The `reshape` block: the same numbers in another shape, such as a flat trace as a sequence of I and Q."""

from __future__ import annotations

from collections.abc import Iterable
from math import prod
from typing import Any, ClassVar, Literal

from pydantic import Field

from weft.blocks._base import Block, Count, Genes, GenesType, Shape


class ReshapeGenes(Genes):
    """The shape of a row."""

    type: Literal["reshape"] = "reshape"
    shape: tuple[Count, ...] = Field(min_length=1, max_length=3)

    def objection(self, shape: Shape) -> str | None:
        if prod(shape) == prod(self.shape):
            return None
        return f"has {prod(self.shape)} numbers, and rows of shape {shape} have {prod(shape)}; make them equal"

    def output_shape(self, shape: Shape) -> Shape:
        return self.shape

    def build(self, x: Any, prefix: str) -> Any:
        from weft.blocks._layers import reshape

        return reshape(x, self.shape, f"{prefix}_reshape")

    @property
    def text(self) -> str:
        return "x".join(map(str, self.shape))


class ReshapeBlock(Block):
    """Another shape for the same numbers."""

    type: Literal["reshape"] = Field(default="reshape", description="The kind of block.")
    shape: list[Count] = Field(
        min_length=1, max_length=3, description="Shape of a row: (features), (length, features) or an image."
    )

    genes: ClassVar[GenesType] = ReshapeGenes
    blind: ClassVar[str | None] = "cannot know how many numbers a row has; put it before blocks of unknown shape"

    def gives(self, rank: int) -> int:
        return len(self.shape)

    def objection(self, shape: Shape) -> str | None:
        return ReshapeGenes(shape=tuple(self.shape)).objection(shape)

    def shapes(self, shape: Shape) -> Iterable[Shape]:
        return (tuple(self.shape),)

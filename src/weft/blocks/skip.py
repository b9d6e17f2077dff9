"""The `skip` block: nothing. Beside other blocks in `one_of` it lets the search leave a block out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Literal

from pydantic import Field

from weft.blocks._base import Block, Genes, GenesType, Shape


class SkipGenes(Genes):
    """No choices; networks do not keep these genes, so that a network with a skipped block is one without it."""

    type: Literal["skip"] = "skip"

    def output_shape(self, shape: Shape) -> Shape:
        return shape

    def build(self, x: Any, prefix: str) -> Any:
        return x


class SkipBlock(Block):
    """Nothing."""

    type: Literal["skip"] = Field(default="skip", description="The kind of block.")

    genes: ClassVar[GenesType] = SkipGenes

    def shapes(self, shape: Shape) -> Iterable[Shape]:
        return (shape,)

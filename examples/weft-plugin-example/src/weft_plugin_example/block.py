"""A block: two dense layers, the second half as wide as the first."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from weft.blocks import Block, Count, Genes, GenesType, Shape
from weft.choice import Choice, one_of


class FunnelGenes(Genes):
    """What was chosen: the width of the first layer."""

    type: Literal["funnel"] = "funnel"
    first: Count

    def output_shape(self, shape: Shape) -> Shape:
        return (self._second,)

    def build(self, x: Any, prefix: str) -> Any:
        """Add the layers; `x` is (n, features)."""
        import keras

        x = keras.layers.Dense(self.first, name=f"{prefix}_dense0")(x)
        x = keras.layers.ReLU(name=f"{prefix}_relu0")(x)
        x = keras.layers.Dense(self._second, name=f"{prefix}_dense1")(x)
        return keras.layers.ReLU(name=f"{prefix}_relu1")(x)

    @property
    def _second(self) -> int:
        return max(1, self.first // 2)


class FunnelBlock(Block):
    """Two dense layers, the second half as wide as the first."""

    type: Literal["funnel"] = Field(default="funnel", description="The kind of block.")
    first: Choice[Count] = Field(default=one_of(8, 16), description="Neurons of the first layer.")

    genes: ClassVar[GenesType] = FunnelGenes
    takes: ClassVar[tuple[int, ...]] = (1,)

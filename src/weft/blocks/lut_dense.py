"""The `lut_dense` block: layers whose every connection is a learned function of one variable, a table in firmware.

In training a small network stands for each function; widths of what it reads and of what it gives are learned with it,
and the tables are what is left of it. These are HGQ2's layers `QDenseT`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Literal

from pydantic import Field

from weft.blocks._base import Block, Count, Genes, GenesType, PerLayer, Shape
from weft.choice import Choice, one_of


class LutDenseGenes(Genes):
    """Neurons of each layer, and neurons of the network that stands for a function."""

    type: Literal["lut_dense"] = "lut_dense"
    units: tuple[Count, ...] = Field(min_length=1)
    hidden: Count = 8

    def output_shape(self, shape: Shape) -> Shape:
        return (self.units[-1],)

    def build(self, x: Any, prefix: str) -> Any:
        """Add the layers; `x` is (n, ...) and is flattened, the result is (n, units[-1])."""
        import hgq.layers

        from weft.blocks._layers import flatten

        x = flatten(x, f"{prefix}_flatten")
        for i, units in enumerate(self.units):
            x = hgq.layers.QDenseT(units, d_hl=self.hidden, batch_norm=True, name=f"{prefix}_tables{i}")(x)
        return x

    @property
    def text(self) -> str:
        return f"tables({','.join(map(str, self.units))})"


class LutDenseBlock(Block):
    """Layers of tables; what they read is flattened."""

    type: Literal["lut_dense"] = Field(default="lut_dense", description="The kind of block.")
    depth: Choice[Count] = Field(default=one_of(1, 2), description="Number of layers.")
    units: PerLayer[Count] = Field(default=one_of(8, 16), description="Neurons of a layer.")
    hidden: Choice[Count] = Field(default=one_of(8), description="Neurons of the network that stands for a table.")

    genes: ClassVar[GenesType] = LutDenseGenes
    layered: ClassVar[dict[str, str]] = {"units": "depth"}
    needs_hgq: ClassVar[bool] = True
    no_products: ClassVar[str | None] = "is made of tables, which multiply nothing"
    no_hls: ClassVar[str | None] = "hls4ml has no layers of tables"

    def gives(self, rank: int) -> int:
        return 1

    def shapes(self, shape: Shape) -> Iterable[Shape]:
        return ((units,) for units in self.last("units"))

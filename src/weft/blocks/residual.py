"""The `residual` block: layers of two dense ones, the second as wide as what they read, to which it is added.

Source: He et al., "Deep Residual Learning", CVPR 2016, arXiv:1512.03385.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Literal

from pydantic import Field

from weft.blocks._base import Count, GenesType, HiddenBlock, HiddenGenes, PerLayer, Shape
from weft.choice import Choice, one_of


class ResidualGenes(HiddenGenes):
    """Widths inside each layer."""

    type: Literal["residual"] = "residual"
    units: tuple[Count, ...] = Field(min_length=1)

    def output_shape(self, shape: Shape) -> Shape:
        return shape

    def build(self, x: Any, prefix: str) -> Any:
        """Add the layers on the last axis; the result has the shape of `x`."""
        import keras

        from weft.blocks._layers import dense, dropout

        for i, units in enumerate(self.units):
            y = dense(x, units, self.activation, self.normalization, f"{prefix}_wide{i}")
            y = dense(y, x.shape[-1], "none", "none", f"{prefix}_narrow{i}")
            x = keras.layers.Add(name=f"{prefix}_add{i}")([x, dropout(y, self.dropout, f"{prefix}_dropout{i}")])
        return x

    @property
    def text(self) -> str:
        return f"residual({','.join(map(str, self.units))})"


class ResidualBlock(HiddenBlock):
    """Dense layers around which what they read goes, too."""

    type: Literal["residual"] = Field(default="residual", description="The kind of block.")
    depth: Choice[Count] = Field(default=one_of(1, 2), description="Number of layers.")
    units: PerLayer[Count] = Field(default=one_of(8, 16, 32), description="Width inside a layer.")

    genes: ClassVar[GenesType] = ResidualGenes
    layered: ClassVar[dict[str, str]] = {"units": "depth"}

    def shapes(self, shape: Shape) -> Iterable[Shape]:
        return (shape,)

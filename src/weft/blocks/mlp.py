"""The `mlp` block: dense layers of chosen widths, one activation and one normalisation for all."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Literal

from pydantic import Field

from weft.blocks._base import Count, GenesType, HiddenBlock, HiddenGenes, PerLayer, Shape
from weft.choice import Choice, one_of


class MlpGenes(HiddenGenes):
    """The choices of one `mlp` block: `units` holds the width of each hidden layer."""

    type: Literal["mlp"] = "mlp"
    units: tuple[Count, ...] = Field(min_length=1)

    def output_shape(self, shape: Shape) -> Shape:
        """The last width."""
        return (self.units[-1],)

    def build(self, x: Any, prefix: str) -> Any:
        """Add the layers; `x` is (n, ...) and is flattened, the result is (n, units[-1])."""
        from weft.blocks._layers import flatten, hidden

        return hidden(flatten(x, f"{prefix}_flatten"), self.units, self, prefix)

    @property
    def text(self) -> str:
        """The widths."""
        return "-".join(map(str, self.units))


class MlpBlock(HiddenBlock):
    """A stack of dense hidden layers; what it reads is flattened."""

    type: Literal["mlp"] = Field(default="mlp", description="The kind of block.")
    depth: Choice[Count] = Field(default=one_of(2, 3), description="Number of hidden layers.")
    units: PerLayer[Count] = Field(
        default=one_of(16, 32, 64),
        description="Neurons of a hidden layer; a list of lists gives each layer, from the first, its own choices.",
    )

    genes: ClassVar[GenesType] = MlpGenes
    layered: ClassVar[dict[str, str]] = {"units": "depth"}

    def gives(self, rank: int) -> int:
        return 1

    def shapes(self, shape: Shape) -> Iterable[Shape]:
        return ((units,) for units in self.last("units"))

"""The `gru` block: gated recurrent units along a sequence; the last state goes on.

In firmware the sequence is unrolled: every step has its own logic, and a new sequence is taken every cycle.
Source: Cho et al., 2014, arXiv:1406.1078.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Literal

from pydantic import Field

from weft.blocks._base import Block, Count, Genes, GenesType, PerLayer, Shape
from weft.choice import Choice, one_of


class GruGenes(Genes):
    """Widths of the states, from the first layer on."""

    type: Literal["gru"] = "gru"
    units: tuple[Count, ...] = Field(min_length=1)

    def output_shape(self, shape: Shape) -> Shape:
        return (self.units[-1],)

    def build(self, x: Any, prefix: str) -> Any:
        """Add the layers; `x` is (n, length, features), the result is (n, units[-1])."""
        import keras

        for i, units in enumerate(self.units):
            whole = i < len(self.units) - 1
            x = keras.layers.GRU(units, return_sequences=whole, name=f"{prefix}_gru{i}")(x)
        return x

    @property
    def text(self) -> str:
        return f"gru({','.join(map(str, self.units))})"


class GruBlock(Block):
    """Gated recurrent units."""

    type: Literal["gru"] = Field(default="gru", description="The kind of block.")
    depth: Choice[Count] = Field(default=one_of(1), description="Number of layers.")
    units: PerLayer[Count] = Field(default=one_of(4, 8, 16), description="Width of a state.")

    genes: ClassVar[GenesType] = GruGenes
    layered: ClassVar[dict[str, str]] = {"units": "depth"}
    takes: ClassVar[tuple[int, ...]] = (2,)
    no_hls: ClassVar[str | None] = "hls4ml derives no exact types for recurrent layers"

    def gives(self, rank: int) -> int:
        return 1

    def shapes(self, shape: Shape) -> Iterable[Shape]:
        return ((units,) for units in self.last("units"))

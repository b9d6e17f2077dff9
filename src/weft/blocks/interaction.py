"""The `interaction` block: a graph network of every particle with all others, at a cost linear in their number.

What a pair does to a particle is linear in both before the activation, and the mean over all pairs is then a mean over
particles, computed once: h_i = act(A x_i + B mean_j(x_j)). Source: the JEDI-linear network, arXiv:2508.15468, after
interaction networks, arXiv:1612.00222.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Literal

from pydantic import Field

from weft.blocks._base import Count, GenesType, HiddenBlock, HiddenGenes, PerLayer, Shape
from weft.choice import Choice, one_of


class InteractionGenes(HiddenGenes):
    """Features of a particle behind each layer."""

    type: Literal["interaction"] = "interaction"
    units: tuple[Count, ...] = Field(min_length=1)

    def output_shape(self, shape: Shape) -> Shape:
        return (shape[0], self.units[-1])

    def build(self, x: Any, prefix: str) -> Any:
        """Add the layers; `x` is (n, particles, features), the result is (n, particles, units[-1])."""
        import keras

        from weft.blocks._layers import activated, dense, dropout, mean

        particles = x.shape[1]
        for i, units in enumerate(self.units):
            others = dense(mean(x, f"{prefix}_mean{i}"), units, "none", "none", f"{prefix}_others{i}")
            others = keras.layers.RepeatVector(particles, name=f"{prefix}_each{i}")(others)
            own = dense(x, units, "none", self.normalization, f"{prefix}_own{i}")
            x = keras.layers.Add(name=f"{prefix}_add{i}")([own, others])
            x = activated(x, self.activation, f"{prefix}_act{i}")
            x = dropout(x, self.dropout, f"{prefix}_dropout{i}")
        return x

    @property
    def text(self) -> str:
        return f"interaction({','.join(map(str, self.units))})"


class InteractionBlock(HiddenBlock):
    """Layers of a graph network on all pairs of particles."""

    type: Literal["interaction"] = Field(default="interaction", description="The kind of block.")
    depth: Choice[Count] = Field(default=one_of(1, 2), description="Number of layers.")
    units: PerLayer[Count] = Field(default=one_of(8, 16), description="Features of a particle behind a layer.")

    genes: ClassVar[GenesType] = InteractionGenes
    layered: ClassVar[dict[str, str]] = {"units": "depth"}
    takes: ClassVar[tuple[int, ...]] = (2,)
    no_hls: ClassVar[str | None] = "hls4ml has no RepeatVector"

    def shapes(self, shape: Shape) -> Iterable[Shape]:
        return ((shape[0], units) for units in self.last("units"))

"""The `deepsets` block: a network for each particle, the sum of all, and a network on it; their order is nothing.

Source: Zaheer et al., "Deep Sets", 2017, arXiv:1703.06114; as energy flow networks: Komiske et al., arXiv:1810.05165.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Literal

from pydantic import Field

from weft.blocks._base import Count, GenesType, HiddenBlock, HiddenGenes, Natural, PerLayer, Shape
from weft.choice import Categorical, Choice, one_of, whole

Aggregation = Literal["sum", "mean", "max"]


class DeepsetsGenes(HiddenGenes):
    """Widths of the network on particles (`phi`), how they become one, widths of the network behind (`rho`)."""

    type: Literal["deepsets"] = "deepsets"
    phi: tuple[Count, ...] = Field(min_length=1)
    aggregation: Aggregation = "mean"
    rho: tuple[Count, ...] = ()

    def output_shape(self, shape: Shape) -> Shape:
        return ((*self.phi, *self.rho)[-1],)

    def build(self, x: Any, prefix: str) -> Any:
        """Add the layers; `x` is (n, particles, features), the result is (n, width)."""
        import keras

        from weft.blocks._layers import hidden, mean

        x = hidden(x, self.phi, self, f"{prefix}_phi")
        match self.aggregation:
            case "sum":
                x = keras.ops.sum(x, axis=1)
            case "mean":
                x = mean(x, f"{prefix}_mean")
            case "max":
                x = keras.layers.GlobalMaxPooling1D(name=f"{prefix}_max")(x)
        return hidden(x, self.rho, self, f"{prefix}_rho")

    @property
    def text(self) -> str:
        phi, rho = ("-".join(map(str, widths)) for widths in (self.phi, self.rho))
        return f"{self.aggregation}({phi})" + (f"-{rho}" if rho else "")


class DeepsetsBlock(HiddenBlock):
    """A network on each particle, and one on their sum, mean or maximum."""

    type: Literal["deepsets"] = Field(default="deepsets", description="The kind of block.")
    phi_depth: Choice[Count] = Field(default=one_of(1, 2), description="Layers of the network on each particle.")
    phi: PerLayer[Count] = Field(default=one_of(8, 16, 32), description="Neurons of such a layer.")
    aggregation: Choice[Aggregation] = Field(default=one_of("mean", "max"), description="How particles become one.")
    rho_depth: Choice[Natural] = Field(default=one_of(1), description="Layers of the network behind.")
    rho: PerLayer[Count] = Field(default=one_of(16, 32), description="Neurons of such a layer.")

    genes: ClassVar[GenesType] = DeepsetsGenes
    layered: ClassVar[dict[str, str]] = {"phi": "phi_depth", "rho": "rho_depth"}
    takes: ClassVar[tuple[int, ...]] = (2,)

    def gives(self, rank: int) -> int:
        return 1

    def shapes(self, shape: Shape) -> Iterable[Shape]:
        names = ("phi", "rho") if 0 in whole(self.rho_depth) else ("rho",)
        return ((width,) for name in names for width in self.last(name))

    def hls_objection(self) -> str | None:
        summed = isinstance(self.aggregation, Categorical) and "sum" in self.aggregation.values
        return "hls4ml sums over no axis, and aggregation may be sum" if summed else None

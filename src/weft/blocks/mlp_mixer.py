"""The `mlp_mixer` block: dense networks by turns along the places and along the features, each added to what it reads.

Source: Tolstikhin et al., "MLP-Mixer", 2021, arXiv:2105.01601; for jets at the trigger: Sun et al., arXiv:2503.03103.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from weft.blocks._base import Count, GenesType, HiddenBlock, HiddenGenes, PerLayer, Shape
from weft.choice import Choice, one_of


class MlpMixerGenes(HiddenGenes):
    """Of each layer, the hidden width of the network along the places and of the one along the features."""

    type: Literal["mlp_mixer"] = "mlp_mixer"
    places: tuple[Count, ...] = Field(min_length=1)
    features: tuple[Count, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _layers_agree(self) -> Self:
        if len(self.places) != len(self.features):
            raise ValueError(f"needs as many places as features; got {len(self.places)} and {len(self.features)}")
        return self

    def output_shape(self, shape: Shape) -> Shape:
        return shape

    def build(self, x: Any, prefix: str) -> Any:
        """Add the layers; `x` is (n, places, features), and so is the result."""
        import keras

        from weft.blocks._layers import dropout

        turn = keras.layers.Permute
        for i, (places, features) in enumerate(zip(self.places, self.features, strict=True)):
            y = self._network(turn((2, 1), name=f"{prefix}_turn{i}")(x), places, f"{prefix}_places{i}")
            x = keras.layers.Add(name=f"{prefix}_add{i}")([x, turn((2, 1), name=f"{prefix}_back{i}")(y)])
            y = self._network(x, features, f"{prefix}_features{i}")
            x = keras.layers.Add(name=f"{prefix}_sum{i}")([x, y])
            x = dropout(x, self.dropout, f"{prefix}_dropout{i}")
        return x

    def _network(self, x: Any, width: int, name: str) -> Any:
        from weft.blocks._layers import dense

        y = dense(x, width, self.activation, self.normalization, f"{name}_wide")
        return dense(y, x.shape[-1], "none", "none", f"{name}_narrow")

    @property
    def text(self) -> str:
        return f"mixer({','.join(f'{a}x{b}' for a, b in zip(self.places, self.features, strict=True))})"


class MlpMixerBlock(HiddenBlock):
    """Dense networks along places and features by turns."""

    type: Literal["mlp_mixer"] = Field(default="mlp_mixer", description="The kind of block.")
    depth: Choice[Count] = Field(default=one_of(1, 2), description="Number of layers, each of two networks.")
    places: PerLayer[Count] = Field(default=one_of(8, 16), description="Hidden width of the network along the places.")
    features: PerLayer[Count] = Field(
        default=one_of(8, 16), description="Hidden width of the network along the features."
    )

    genes: ClassVar[GenesType] = MlpMixerGenes
    layered: ClassVar[dict[str, str]] = {"places": "depth", "features": "depth"}
    takes: ClassVar[tuple[int, ...]] = (2,)

    def shapes(self, shape: Shape) -> Iterable[Shape]:
        return (shape,)

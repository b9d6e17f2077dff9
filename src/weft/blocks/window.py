"""The `window` block: a stretch of the samples of a trace; only wires in firmware, and what is left out costs nothing.

A trace is (length, channels), or flat with the channels of each sample side by side, such as I and Q.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from weft.blocks._base import Block, Count, Genes, GenesType, Natural, Shape
from weft.choice import Categorical, Choice, whole


class WindowGenes(Genes):
    """First sample, number of samples, and channels of a sample where the trace is flat."""

    type: Literal["window"] = "window"
    start: Natural
    length: Count
    channels: Count = 2

    def objection(self, shape: Shape) -> str | None:
        if len(shape) == 1 and shape[0] % self.channels:
            return f"reads samples of {self.channels} channels, and a row has {shape[0]} numbers; set channels"
        end, samples = self.start + self.length, _samples(shape, self.channels)
        return f"ends at sample {end}, and a trace has {samples}; lower start or length" if end > samples else None

    def output_shape(self, shape: Shape) -> Shape:
        return (self.length, shape[1]) if len(shape) == 2 else (self.length * self.channels,)

    def build(self, x: Any, prefix: str) -> Any:
        """Add the layers; `x` is (n, samples, channels) or (n, samples * channels), the result likewise."""
        import keras

        from weft.blocks._layers import flatten, reshape

        flat = len(x.shape) == 2
        x = reshape(x, (x.shape[1] // self.channels, self.channels), f"{prefix}_samples") if flat else x
        cut = (self.start, x.shape[1] - self.start - self.length)
        x = keras.layers.Cropping1D(cut, name=f"{prefix}_window")(x) if any(cut) else x
        return flatten(x, f"{prefix}_flatten") if flat else x

    @property
    def text(self) -> str:
        return f"[{self.start}:{self.start + self.length}]"


class WindowBlock(Block):
    """Which samples of a trace are read; start + length never goes beyond its end."""

    type: Literal["window"] = Field(default="window", description="The kind of block.")
    start: Choice[Natural] = Field(description="First sample.")
    length: Choice[Count] = Field(description="Number of samples.")
    channels: Count = Field(default=2, ge=1, description="Numbers of one sample, where a row is flat.")

    genes: ClassVar[GenesType] = WindowGenes
    blind: ClassVar[str | None] = "cannot know how long a row is; put it before blocks of unknown shape"
    takes: ClassVar[tuple[int, ...]] = (1, 2)
    no_hls: ClassVar[str | None] = "hls4ml has no Cropping1D"

    def decide(self, asked: Mapping[str, Any], shape: Shape | None) -> Genes:
        """Take the start and length asked for; one that goes beyond the end stands for another that does not.

        Of a list the starts that fit are counted through anew from the first; a range ends where the last one fits.
        """
        assert shape is not None, "a window stands where shapes are known"
        samples = _samples(shape, self.channels)
        length = self._fits(self.length, asked["length"], samples - self.start.bounds[0])
        return WindowGenes(
            start=self._fits(self.start, asked["start"], samples - length), length=length, channels=self.channels
        )

    def objection(self, shape: Shape) -> str | None:
        return WindowGenes(start=self.start.bounds[0], length=self.length.bounds[0], channels=self.channels).objection(
            shape
        )

    def shapes(self, shape: Shape) -> Iterable[Shape]:
        most = _samples(shape, self.channels) - self.start.bounds[0]
        lengths = (length for length in whole(self.length) if length <= most)
        return ((length, shape[1]) if len(shape) == 2 else (length * self.channels,) for length in lengths)

    @staticmethod
    def _fits(choice: Choice[int], value: int, most: int) -> int:
        if value <= most:
            return value
        if not isinstance(choice, Categorical):
            return most if choice.step is None else choice.low + (most - choice.low) // choice.step * choice.step
        fitting = [one for one in choice.values if one <= most]
        return fitting[choice.values.index(value) % len(fitting)]


def _samples(shape: Shape, channels: int) -> int:
    return shape[0] if len(shape) == 2 else shape[0] // channels

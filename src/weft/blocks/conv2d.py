"""The `conv2d` block: convolutions over an image. What it reads and gives is (height, width, channels)."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from weft.blocks._base import GenesType
from weft.blocks._convolution import ConvolutionBlock, ConvolutionGenes


class Conv2dGenes(ConvolutionGenes):
    """The choices of one `conv2d` block."""

    type: Literal["conv2d"] = "conv2d"


class Conv2dBlock(ConvolutionBlock):
    """Convolutions over an image."""

    type: Literal["conv2d"] = Field(default="conv2d", description="The kind of block.")

    genes: ClassVar[GenesType] = Conv2dGenes
    takes: ClassVar[tuple[int, ...]] = (3,)

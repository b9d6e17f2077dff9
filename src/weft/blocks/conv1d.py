"""The `conv1d` block: convolutions along a sequence. What it reads and gives is (length, features)."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from weft.blocks._base import GenesType
from weft.blocks._convolution import ConvolutionBlock, ConvolutionGenes


class Conv1dGenes(ConvolutionGenes):
    """The choices of one `conv1d` block."""

    type: Literal["conv1d"] = "conv1d"


class Conv1dBlock(ConvolutionBlock):
    """Convolutions along a sequence."""

    type: Literal["conv1d"] = Field(default="conv1d", description="The kind of block.")

    genes: ClassVar[GenesType] = Conv1dGenes
    takes: ClassVar[tuple[int, ...]] = (2,)

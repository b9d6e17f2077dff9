"""The `separable_conv` block: each channel is convolved alone, and then all are mixed at every place.

Source: Chollet, "Xception", CVPR 2017, arXiv:1610.02357.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from weft.blocks._base import GenesType
from weft.blocks._convolution import ConvolutionBlock, ConvolutionGenes


class SeparableConvGenes(ConvolutionGenes):
    """The choices of one `separable_conv` block."""

    type: Literal["separable_conv"] = "separable_conv"

    def convolve(self, x: Any, i: int, name: str) -> Any:
        """Add a depthwise convolution, and a dense layer on the channels."""
        import keras

        from weft.blocks._layers import dense

        kind = keras.layers.DepthwiseConv1D if len(x.shape) == 3 else keras.layers.DepthwiseConv2D
        options = {"strides": self.stride[i], "padding": "same", "use_bias": False}
        x = kind(self.kernel[i], **options, name=f"{name}_depthwise")(x)
        return dense(x, self.filters[i], self.activation, self.normalization, name)


class SeparableConvBlock(ConvolutionBlock):
    """Separable convolutions along a sequence or over an image."""

    type: Literal["separable_conv"] = Field(default="separable_conv", description="The kind of block.")

    genes: ClassVar[GenesType] = SeparableConvGenes
    takes: ClassVar[tuple[int, ...]] = (2, 3)
    no_hls: ClassVar[str | None] = "hls4ml reads the kernel of a convolution in groups as if it had one"

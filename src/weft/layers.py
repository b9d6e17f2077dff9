"""Quantised layers to write a model with by hand; see `weft.quantize.layers`.

Under PyTorch each takes `input_shape=`, the shape of a row, and then is an `nn.Module` for a module written by hand.
"""

from __future__ import annotations

from weft.quantize import layers as _layers
from weft.quantize.layers import *  # noqa: F403
from weft.quantize.layers import __all__
from weft.torch_loop.direct import direct

globals().update({name: direct(getattr(_layers, name)) for name in __all__ if name.startswith("Q")})

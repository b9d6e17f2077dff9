"""Quantised layers to write a model with by hand; see `weft.quantize.layers`."""

from __future__ import annotations

from weft.quantize.layers import *  # noqa: F403
from weft.quantize.layers import __all__  # noqa: F401

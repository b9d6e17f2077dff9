"""From any Keras model to one whose weights and activations are fixed point: layers, replacement, ranges, masks."""

from __future__ import annotations

from weft.config.layers import layers_from_yaml
from weft.quantize.layer_file import layers_to_yaml

__all__ = ["layers_from_yaml", "layers_to_yaml"]

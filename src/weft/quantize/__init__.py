"""From any Keras model to one whose weights and activations are fixed point: layers, replacement, ranges, masks."""

from __future__ import annotations

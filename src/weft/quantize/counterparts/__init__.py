"""The quantised counterparts of Keras layers, one module for each family: which HGQ2 layers do the same, and how."""

from __future__ import annotations

from typing import Any

from weft.quantize.counterparts import (
    attention,
    convolution,
    dense,
    functions,
    layer_norm,
    merging,
    normalization,
    pooling,
    recurrent,
)
from weft.quantize.counterparts._base import Kit, Made, Read, Rule
from weft.quantize.counterparts.fusion import can_fuse
from weft.quantize.counterparts.missing import why_missing
from weft.quantize.counterparts.present import copied, with_method
from weft.quantize.operations import is_keras, is_pure, is_quantized, name_of

__all__ = [
    "LAYERS",
    "Kit",
    "Made",
    "Read",
    "Rule",
    "can_fuse",
    "copied",
    "rule_of",
    "why_missing",
    "with_method",
]

LAYERS: dict[str, Rule] = {
    **dense.RULES,
    **convolution.RULES,
    **normalization.RULES,
    **layer_norm.RULES,
    **pooling.RULES,
    **merging.RULES,
    **attention.RULES,
    **recurrent.RULES,
    **functions.RULES,
}
"""The rule of each class of Keras layers."""

OPERATIONS: dict[str, Rule] = {**merging.OPERATIONS, **functions.OPERATIONS}
"""The rule of each class of pure operations."""


def rule_of(operation: Any) -> Rule | None:
    """Return the rule of a layer or operation of Keras, or of a quantised layer's float form, if there is one."""
    if is_quantized(operation):
        return LAYERS.get(name_of(operation).removesuffix("Batchnorm"))
    if not is_keras(operation):
        return None
    return (OPERATIONS if is_pure(operation) else LAYERS).get(type(operation).__name__)

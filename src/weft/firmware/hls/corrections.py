"""Corrections of hls4ml 1.3; each has a test with the smallest network that comes out wrong without it."""

from __future__ import annotations

from typing import Any


def correct() -> None:
    """Put the corrections in place."""
    from hls4ml.model.optimizer.passes import bit_exact

    bit_exact.requested_by_non_saturating_quantizer = _wrapped_behind


def _wrapped_behind(layer: Any) -> bool:
    """Return whether a quantiser that wraps reads a layer, also behind moves of its values.

    hls4ml looks through Reshape only. An unsigned value before a Concatenate or Permute then keeps the integer bits of
    a signed format and not the bit of its sign, into which it may wrap.
    """
    from hls4ml.model.layers import Concatenate, Reshape, Transpose
    from hls4ml.model.optimizer.passes.bit_exact import get_output_layers
    from hls4ml.model.optimizer.passes.hgq_proxy_model import FixedPointQuantizer

    return any(
        reader.SAT not in ("SAT", "SAT_SYM")
        if isinstance(reader, FixedPointQuantizer)
        else isinstance(reader, Concatenate | Reshape | Transpose) and _wrapped_behind(reader)
        for reader in get_output_layers(layer)
    )

"""Pooling: the largest or the mean value of windows, or of everything."""

from __future__ import annotations

from typing import Any

import hgq.layers as hgq

from weft.quantize.counterparts._base import Kit, Made, Rule, config_of


def _pooling(layer: Any, kit: Kit) -> Made:
    kind = getattr(hgq, f"Q{type(layer).__name__}")
    return Made([kind(**config_of(layer), iq_conf=kit.input(), **kit.rest())])


_NAMES = ("MaxPooling", "AveragePooling", "GlobalMaxPooling", "GlobalAveragePooling")

RULES = {f"{name}{rank}D": Rule(_pooling) for name in _NAMES for rank in (1, 2, 3)}

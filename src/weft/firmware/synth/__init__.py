"""Synthesis tools, one a module."""

from __future__ import annotations

from weft.firmware.synth._base import family_of
from weft.firmware.synth.yosys import synthesise

__all__ = ["family_of", "synthesise"]

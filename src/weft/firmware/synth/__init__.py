"""Synthesis tools, one a module."""

from __future__ import annotations

from weft.firmware.synth import vivado
from weft.firmware.synth.layers import synthesise_layers
from weft.firmware.synth.nextpnr import route
from weft.firmware.synth.yosys import synthesise

__all__ = ["route", "synthesise", "synthesise_layers", "vivado"]

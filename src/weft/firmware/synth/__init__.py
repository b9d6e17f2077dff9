"""Synthesis tools, one a module."""

from __future__ import annotations

from pathlib import Path

from weft.config import FirmwareConfig
from weft.firmware.synth import vivado
from weft.firmware.synth.layers import synthesise_layers
from weft.firmware.synth.nextpnr import route
from weft.firmware.synth.yosys import synthesise
from weft.types import Quantity

__all__ = ["route", "synthesise", "synthesise_by", "synthesise_layers", "vivado"]


def synthesise_by(config: FirmwareConfig, directory: Path, part: str) -> dict[str, Quantity]:
    """Synthesise a project with the tool of a configuration, within its limits; see the tool's `synthesise`."""
    limit = 60.0 * config.synth_timeout_minutes
    if config.synth == "vivado":
        return vivado.synthesise(directory, part, limit, memory_gib=config.tool_memory_gib)
    return synthesise(directory, part, timeout_s=limit)

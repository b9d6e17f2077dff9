"""The FPGAs that weft knows, with their capacities as published in AMD's product tables."""

from __future__ import annotations

from dataclasses import dataclass

from weft.errors import ConfigError
from weft.section import did_you_mean


@dataclass(frozen=True)
class Part:
    """The capacities of one device: LUTs, flip-flops, DSP slices, 18 Kb block RAMs and UltraRAMs."""

    device: str
    lut: int
    ff: int
    dsp: int
    bram_18k: int
    uram: int


_ALL = (
    Part("xcvu13p", 1_728_000, 3_456_000, 12_288, 5_376, 1_280),
    Part("xcvu9p", 1_182_240, 2_364_480, 6_840, 4_320, 960),
    Part("xcu250", 1_728_000, 3_456_000, 12_288, 5_376, 1_280),
    Part("xczu9eg", 274_080, 548_160, 2_520, 1_824, 0),
    Part("xczu49dr", 425_280, 850_560, 4_272, 2_160, 80),
    Part("xc7z020", 53_200, 106_400, 220, 280, 0),
    Part("xck26", 117_120, 234_240, 1_248, 288, 64),
)

PARTS: dict[str, Part] = {part.device: part for part in _ALL}
"""Capacities by device, the part name without package and speed grade."""


def find_part(name: str) -> Part:
    """Return the device of a part name such as `xcvu13p-flga2577-2-e`; package and speed grade do not matter.

    Raises:
        ConfigError: the name starts with no known device.
    """
    for device, part in PARTS.items():
        if name.lower().startswith(device):
            return part
    hint = did_you_mean(name.split("-")[0], PARTS) or f"; the devices weft knows are {', '.join(PARTS)}"
    raise ConfigError(f"unknown part '{name}'{hint}")

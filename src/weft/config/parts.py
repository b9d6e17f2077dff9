"""The FPGAs that weft knows, with their capacities as published in the makers' product tables, and boards with them.

A package and a speed grade behind the device do not change what is on the die. `slr` says into how many chiplets (super
logic regions) a device is cut: a design that has to be fast should fit into one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from weft.errors import ConfigError
from weft.section import did_you_mean


@dataclass(frozen=True)
class Part:
    """The capacities of one device, and the family by which synthesis knows it.

    Attributes:
        device: The part name without package and speed grade.
        family: In the words of Yosys: xcup, xcu, xc7, ecp5 or ice40.
        lut: Look-up tables, of six inputs (AMD) or four (Lattice).
        ff: Flip-flops.
        dsp: DSP slices or multipliers.
        bram_18k: Block RAMs of 18 kbit (a block of 36 kbit counts as two); those of iCE40 hold 4 kbit.
        uram: UltraRAMs of 288 kbit.
        slr: Super logic regions.
    """

    device: str
    family: str
    lut: int
    ff: int
    dsp: int
    bram_18k: int
    uram: int = 0
    slr: int = 1

    @property
    def per_slr(self) -> dict[str, int]:
        """What one super logic region holds, by resource."""
        return {name: getattr(self, name) // self.slr for name in RESOURCES}

    def strain(self, used: Mapping[str, float | None]) -> dict[str, str]:
        """Say by resource where a design is too large for the device, or for one super logic region of it.

        Args:
            used: What the design takes, by resource; other names and unknown values are passed over.

        Example:
            >>> find_part("xcvu13p").strain({"lut": 2e6, "dsp": 12})
            {'lut': 'does not fit: 2,000,000 LUT of 1,728,000'}
        """
        said: dict[str, str] = {}
        for name, word in RESOURCES.items():
            n, there, in_one = used.get(name) or 0.0, getattr(self, name), self.per_slr[name]
            if n > there:
                said[name] = f"does not fit: {n:,.0f} {word} of {there:,}"
            elif n > in_one:
                said[name] = f"spans super logic regions: {n:,.0f} {word} of {in_one:,} in one"
        return said


RESOURCES = {"lut": "LUT", "ff": "FF", "dsp": "DSP", "bram_18k": "BRAM of 18 kbit", "uram": "URAM"}
"""What is counted, and its name for people."""

_ALL = (
    Part("xcvu13p", "xcup", 1_728_000, 3_456_000, 12_288, 5_376, 1_280, slr=4),
    Part("xcvu9p", "xcup", 1_182_240, 2_364_480, 6_840, 4_320, 960, slr=3),
    Part("xcvu7p", "xcup", 788_160, 1_576_320, 4_560, 2_880, 640, slr=2),
    Part("xcku15p", "xcup", 522_720, 1_045_440, 1_968, 1_968, 128),
    Part("xcu50", "xcup", 871_680, 1_743_360, 5_952, 2_688, 640, slr=2),
    Part("xcu55c", "xcup", 1_303_680, 2_607_360, 9_024, 4_032, 960, slr=3),
    Part("xcu200", "xcup", 1_182_240, 2_364_480, 6_840, 4_320, 960, slr=3),
    Part("xcu250", "xcup", 1_728_000, 3_456_000, 12_288, 5_376, 1_280, slr=4),
    Part("xcu280", "xcup", 1_303_680, 2_607_360, 9_024, 4_032, 960, slr=3),
    Part("xczu3eg", "xcup", 70_560, 141_120, 360, 432),
    Part("xczu7ev", "xcup", 230_400, 460_800, 1_728, 624, 96),
    Part("xczu9eg", "xcup", 274_080, 548_160, 2_520, 1_824),
    Part("xczu28dr", "xcup", 425_280, 850_560, 4_272, 2_160, 80),
    Part("xczu48dr", "xcup", 425_280, 850_560, 4_272, 2_160, 80),
    Part("xczu49dr", "xcup", 425_280, 850_560, 4_272, 2_160, 80),
    Part("xck26", "xcup", 117_120, 234_240, 1_248, 288, 64),
    Part("xcku040", "xcu", 242_400, 484_800, 1_920, 1_200),
    Part("xcku115", "xcu", 663_360, 1_326_720, 5_520, 4_320, slr=2),
    Part("xc7vx690t", "xc7", 433_200, 866_400, 3_600, 2_940),
    Part("xc7k325t", "xc7", 203_800, 407_600, 840, 890),
    Part("xc7a35t", "xc7", 20_800, 41_600, 90, 100),
    Part("xc7a100t", "xc7", 63_400, 126_800, 240, 270),
    Part("xc7z010", "xc7", 17_600, 35_200, 80, 120),
    Part("xc7z020", "xc7", 53_200, 106_400, 220, 280),
    Part("lfe5u-25f", "ecp5", 24_288, 24_288, 28, 56),
    Part("lfe5u-45f", "ecp5", 43_848, 43_848, 72, 108),
    Part("lfe5u-85f", "ecp5", 83_640, 83_640, 156, 208),
    Part("ice40hx8k", "ice40", 7_680, 7_680, 0, 32),
    Part("ice40up5k", "ice40", 5_280, 5_280, 8, 30),
)

PARTS: dict[str, Part] = {part.device: part for part in _ALL}
"""Capacities by device."""

BOARDS: dict[str, str] = {
    "zcu102": "xczu9eg-ffvb1156-2-e",
    "zcu104": "xczu7ev-ffvc1156-2-e",
    "zcu111": "xczu28dr-ffvg1517-2-e",
    "zcu208": "xczu48dr-fsvg1517-2-e",
    "zcu216": "xczu49dr-ffvf1760-2-e",
    "rfsoc4x2": "xczu48dr-ffvg1517-2-e",
    "pynq-z2": "xc7z020clg400-1",
    "zybo-z7-10": "xc7z010clg400-1",
    "arty-a7-35": "xc7a35ticsg324-1L",
    "arty-a7-100": "xc7a100tcsg324-1",
    "kv260": "xck26-sfvc784-2LV-c",
    "ultra96": "xczu3eg-sbva484-1-e",
    "vcu118": "xcvu9p-flga2104-2L-e",
    "alveo-u50": "xcu50-fsvh2104-2-e",
    "alveo-u55c": "xcu55c-fsvh2892-2L-e",
    "alveo-u200": "xcu200-fsgd2104-2-e",
    "alveo-u250": "xcu250-figd2104-2L-e",
    "alveo-u280": "xcu280-fsvh2892-2L-e",
    "ulx3s-85f": "lfe5u-85f-6bg381c",
}
"""The part on a board, by the board's name."""


def part_name(name: str) -> str:
    """Return the full part name that a part or a board stands for.

    Raises:
        ConfigError: It is neither.
    """
    found = BOARDS.get(name.lower(), name)
    find_part(found)
    return found


_PACKAGE = r"(-.*|[a-z]{2,4}\d{2,4}.*)?"
"""What may stand behind a device: a package with its speed grade, behind a hyphen or not."""


def find_part(name: str) -> Part:
    """Return the device of a part name such as `xcvu13p-flga2577-2-e`, or of a board.

    Raises:
        ConfigError: The name starts with no known device, and is no board.
    """
    wanted = BOARDS.get(name.lower(), name).lower()
    matches = [part for device, part in PARTS.items() if re.fullmatch(re.escape(device) + _PACKAGE, wanted)]
    if matches:
        return max(matches, key=lambda part: len(part.device))
    known = [*PARTS, *BOARDS]
    hint = did_you_mean(wanted.split("-")[0], known) or (
        f"; the devices weft knows are {', '.join(PARTS)}; the boards are {', '.join(BOARDS)}"
    )
    raise ConfigError(f"unknown part '{name}'{hint}")

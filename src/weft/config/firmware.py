"""Section `firmware`: how the Verilog is checked and measured."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from weft.config.parts import part_name
from weft.section import Section


class VerifyConfig(Section):
    """The inputs on which every level of a design must agree bit for bit."""

    samples: int = Field(
        default=10_000, ge=1, description="Rows of real data, at most; all are used if there are fewer."
    )
    extremes: bool = Field(
        default=True, description="Whether inputs at and beyond the ends of the input format are added."
    )
    exhaustive_bits: int = Field(
        default=20, ge=0, le=24, description="A design with no more input bits than this is checked on every input."
    )


class FirmwareConfig(Section):
    """Verification and synthesis."""

    verify: VerifyConfig = Field(default=VerifyConfig(), description="The inputs of the bit-exact check.")
    synth: Literal["yosys", "none"] = Field(
        default="yosys", description="The synthesis tool; none leaves synthesis out."
    )
    route: Literal["none", "nextpnr"] = Field(
        default="none", description="Place and route of each design: nextpnr does it on route_part, an ECP5."
    )
    route_part: Annotated[str, AfterValidator(part_name)] = Field(
        default="lfe5u-85f", description="The part or board that place and route takes."
    )
    route_timeout_minutes: float = Field(
        default=60.0, gt=0, description="Longest place and route of a design, in minutes."
    )
    synth_timeout_minutes: float = Field(default=20.0, gt=0, description="Longest synthesis of one design, in minutes.")

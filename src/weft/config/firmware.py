"""Section `firmware`: what is written for a design, and how it is checked and measured."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from weft.config.hls import HlsConfig
from weft.config.parts import part_name
from weft.section import Section, refuse


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
    seek: bool = Field(
        default=True, description="Whether inputs like the real ones are sought that overflow a layer no real one does."
    )


class SolverConfig(Section):
    """How sums of products become additions: what is shared, and how deep the trees of adders may be.

    More sharing takes fewer look-up tables and longer chains of adders, so more pipeline stages. Source of the methods:
    Sun et al., "da4ml: Distributed Arithmetic for Real-time Neural Networks on FPGAs", 2025, arXiv:2507.04535.
    """

    extra_depth: int | None = Field(
        default=None, ge=0, description="Adders that a sum may be deeper than the flattest tree; null: any number."
    )
    sharing: Literal["wmc", "wmc-pdc", "wmc-dc", "mc", "none"] = Field(
        default="wmc",
        description="Which common part is shared first: the most common (mc), by width too (wmc), of less depth too "
        "(wmc-pdc, wmc-dc), or none.",
    )
    decompose: Annotated[int, Field(ge=0)] | Literal["best", "none"] = Field(
        default="best",
        description="Depth to which a matrix is split into two before its sums are shared; best tries all.",
    )

    @model_validator(mode="after")
    def _depth_needs_sharing(self) -> SolverConfig:
        if self.sharing == "none" and self.extra_depth is not None:
            problem = f"alkaid 0.8.2 takes no limit without sharing, where no tree is deep; got {self.extra_depth}"
            refuse([(("extra_depth",), problem)])
        return self


class RtlConfig(Section):
    """What is written for a design: the language, and how it is cut into register stages."""

    language: Literal["verilog", "vhdl"] = Field(
        default="verilog", description="Of the sources; VHDL is simulated and synthesised through ghdl."
    )
    pipeline: bool = Field(
        default=True, description="Register stages for the target's clock; false: one combinational block, no clock."
    )
    stages: int | None = Field(
        default=None, ge=1, description="Number of stages; null: as many as the target's clock needs."
    )
    ternary_adders: bool = Field(
        default=False, description="Adders of three operands: fewer LUTs by Vivado, not by open synthesis."
    )
    shift_registers: bool = Field(
        default=True, description="Whether synthesis may put registers in a row into shift registers (AMD)."
    )
    solver: SolverConfig = Field(default=SolverConfig(), description="How sums become additions.")

    @model_validator(mode="after")
    def _stages_need_a_pipeline(self) -> RtlConfig:
        if self.stages is not None and not self.pipeline:
            problem = f"a combinational design has no stages; got {self.stages}: leave it out, or set pipeline: true"
            refuse([(("stages",), problem)])
        return self

    @model_validator(mode="after")
    def _vhdl_has_no_such_attribute(self) -> RtlConfig:
        if self.language == "vhdl" and not self.shift_registers:
            problem = (
                "alkaid 0.8.2 writes it into VHDL where no tool accepts it; leave it true, or set language: verilog"
            )
            refuse([(("shift_registers",), problem)])
        return self


class FirmwareConfig(Section):
    """What is written, verification and synthesis."""

    rtl: RtlConfig = Field(default=RtlConfig(), description="Language and stages of what is written.")
    verify: VerifyConfig = Field(default=VerifyConfig(), description="The inputs of the bit-exact check.")
    synth: Literal["yosys", "vivado", "none"] = Field(
        default="yosys", description="The synthesis tool; none leaves synthesis out."
    )
    route: Literal["none", "nextpnr", "vivado"] = Field(
        default="none",
        description="Place and route of each design: nextpnr on route_part, an ECP5; vivado on target.part.",
    )
    synth_layers: bool = Field(
        default=False, description="Whether each layer is synthesised by itself too, to see what takes how much."
    )
    tool_memory_gib: float | None = Field(
        default=None, gt=0, description="Memory that a vendor's tool may take, in GiB; null is no limit."
    )
    route_part: Annotated[str, AfterValidator(part_name)] = Field(
        default="lfe5u-85f", description="The part or board that place and route takes."
    )
    route_timeout_minutes: float = Field(
        default=60.0, gt=0, description="Longest place and route of a design, in minutes."
    )
    synth_timeout_minutes: float = Field(default=20.0, gt=0, description="Longest synthesis of one design, in minutes.")
    hls: HlsConfig | None = Field(
        default=None, description="An HLS project of each design by hls4ml, beside its Verilog; null writes none."
    )

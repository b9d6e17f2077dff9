"""Section `firmware.hls`: the HLS project that hls4ml writes of each design, beside its Verilog."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from weft.section import Found, Section, refuse

Backend = Literal["vitis", "vivado", "quartus", "oneapi", "catapult", "libero"]
Strategy = Literal["latency", "resource", "distributed_arithmetic"]

STRATEGIES: dict[str, tuple[str, ...]] = {
    "vitis": ("latency", "resource", "distributed_arithmetic"),
    "vivado": ("latency", "resource", "distributed_arithmetic"),
    "quartus": ("resource",),
    "oneapi": ("resource",),
    "catapult": ("latency", "resource"),
    "libero": ("latency", "resource"),
}
"""What each backend has code for. Given another strategy, hls4ml 1.3 takes one of these without a word."""

VENDOR_TOOLS = {"vitis": "vitis-run or vitis_hls", "vivado": "vivado_hls"}
"""The programs that `build: vendor` runs, by backend."""


class HlsConfig(Section):
    """An HLS project by hls4ml: the backend it is written for, and how products share multipliers."""

    backend: Backend = Field(default="vitis", description="The HLS compiler that the project is written for.")
    strategy: Strategy = Field(
        default="latency",
        description="How products are made: latency unrolls them, resource shares multipliers, "
        "distributed_arithmetic makes shifts and additions of them.",
    )
    io: Literal["parallel", "stream"] = Field(
        default="parallel", description="Whether all values enter at once, or one position of a sequence after another."
    )
    reuse_factor: int | dict[str, int] = Field(
        default=1, description="Products per multiplier: one number, or one a layer by name; layers left out have 1."
    )
    part: str | None = Field(
        default=None, description="The part in the words of the HLS compiler; null takes target.part."
    )
    build: Literal["none", "vendor"] = Field(
        default="none", description="Whether the vendor's tool, which must be on PATH, synthesises the project."
    )
    cosim: bool = Field(
        default=False,
        description="Whether the vendor's tool also simulates the RTL it makes, on 100 rows (C/RTL co-simulation).",
    )
    timeout_minutes: float = Field(default=120.0, gt=0, description="Longest run of the vendor's tool, in minutes.")
    memory_gb: float = Field(default=32.0, gt=0, description="Memory that the vendor's tool may take, in GB.")

    def reuse_of(self, layer: str) -> int:
        """Return the reuse factor of a layer."""
        return self.reuse_factor.get(layer, 1) if isinstance(self.reuse_factor, dict) else self.reuse_factor

    @model_validator(mode="after")
    def _backend_can(self) -> HlsConfig:
        found: Found = []
        known = STRATEGIES[self.backend]
        if self.strategy not in known:
            found.append((("strategy",), f"hls4ml's {self.backend} backend has no strategy '{self.strategy}'; "
                          f"it has {', '.join(known)}"))  # fmt: skip
        reuse = self.reuse_factor
        for name, factor in reuse.items() if isinstance(reuse, dict) else [(None, reuse)]:
            path = ("reuse_factor",) if name is None else ("reuse_factor", name)
            if factor < 1:
                found.append((path, f"a multiplier makes one product or more; got {factor}"))
            elif factor > 1 and self.strategy == "distributed_arithmetic":
                found.append((path, f"distributed_arithmetic has no multipliers to share; got {factor}, set 1"))
        if self.backend == "libero" and self.io == "stream":
            found.append((("io",), "hls4ml's libero backend has no streams; set parallel"))
        if self.build == "vendor" and self.backend not in VENDOR_TOOLS:
            found.append((("build",), f"weft runs the tools of {' and '.join(VENDOR_TOOLS)} only; set none, and build "
                          f"the {self.backend} project with its own tool"))  # fmt: skip
        if self.cosim and self.build != "vendor":
            found.append((("cosim",), "the vendor's tool simulates the RTL that it makes; set build: vendor, or false"))
        refuse(found)
        return self

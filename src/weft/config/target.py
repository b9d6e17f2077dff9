"""Section `target`: the FPGA, its clock, and the budget a design must stay within."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from weft.config.parts import Part, find_part, part_name
from weft.section import Found, Section, refuse


class BudgetConfig(Section):
    """What a design may use at most; null is no limit."""

    lut: int | None = Field(default=None, ge=1, description="Look-up tables, a count.")
    ff: int | None = Field(default=None, ge=1, description="Flip-flops, a count.")
    dsp: int | None = Field(default=None, ge=0, description="DSP slices, a count.")
    latency_ns: float | None = Field(default=None, gt=0, description="Time from input to output, in ns.")
    latency_cycles: int | None = Field(default=None, ge=1, description="Clock cycles from input to output.")
    ii_cycles: int | None = Field(
        default=None, ge=1, description="Clock cycles between two inputs (initiation interval)."
    )

    def limits(self) -> dict[str, float]:
        """Return the limits that are set, by name."""
        return self.model_dump(exclude_none=True)


class TargetConfig(Section):
    """Where the network will run."""

    part: Annotated[str, AfterValidator(part_name)] = Field(
        default="xcvu13p-flga2577-2-e",
        description="Part or board name; the device in front of package and speed grade must be known.",
    )
    clock_period_ns: float = Field(default=5.0, gt=0, description="Clock period, in ns.")
    flow: Literal["rtl"] = Field(default="rtl", description="How the firmware is made: rtl writes Verilog.")
    budget: BudgetConfig = Field(default=BudgetConfig(), description="What a design may use at most.")

    @property
    def capacity(self) -> Part:
        """The capacities of the part."""
        return find_part(self.part)

    @model_validator(mode="after")
    def _budget_is_possible(self) -> TargetConfig:
        found: Found = []
        for name in ("lut", "ff", "dsp"):
            limit, capacity = getattr(self.budget, name), getattr(self.capacity, name)
            if limit is not None and limit > capacity:
                found.append((("budget", name), f"the part {self.part} has only {capacity}; got {limit}"))
        latency = self.budget.latency_ns
        if latency is not None and latency < self.clock_period_ns:
            found.append((("budget", "latency_ns"), below_one_period(latency, self.clock_period_ns)))
        refuse(found)
        return self


def below_one_period(latency_ns: float, clock_period_ns: float) -> str:
    """Say that no design can be faster than one clock period."""
    return (
        f"no design can meet {latency_ns:g} ns, less than one clock period of {clock_period_ns:g} ns; "
        "raise it or lower target.clock_period_ns"
    )

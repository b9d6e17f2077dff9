"""The nouns that every room shares: quantities, estimates and progress.

A number about hardware is never a bare float in weft: it is a `Quantity`, which says its unit, the stage
it was obtained at and the source that gave it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Stage = Literal["predicted", "solver", "hls_report", "synthesis", "post_route"]
"""How a number was obtained, from the weakest to the strongest evidence."""

Task = Literal["classification", "binary", "regression"]

Tensor = Any
"""An array of any backend (JAX, NumPy, PyTorch); shapes are stated in the docstrings."""

Progress = Callable[[int, int, str], None]
"""Called as `progress(done, total, note)` by long work."""


class Quantity(BaseModel):
    """One number with its unit, stage and source.

    Attributes:
        value: The number, or None where the tool did not give it (then `reason` says why).
        unit: `count`, `cycles`, `ns`, `bits`, `fraction` or another unit spelled out.
        stage: How the number was obtained.
        source: The program or formula that gave it, with its version.
        low: Lower end of the interval, in `unit`, if there is one.
        high: Upper end of the interval, in `unit`, if there is one.
        reason: Why `value` is None, or what to know about it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    value: float | None
    unit: str
    stage: Stage
    source: str
    low: float | None = None
    high: float | None = None
    reason: str | None = None

    @model_validator(mode="after")
    def _a_missing_value_has_a_reason(self) -> Quantity:
        if self.value is None and not self.reason:
            raise ValueError("a quantity without a value needs a reason")
        return self


class Estimate(BaseModel):
    """The quantities that one cost model gives for one design, by name (`lut`, `ff`, `latency_cycles`, ...)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    quantities: Mapping[str, Quantity] = Field(default_factory=dict)
    in_domain: bool = True
    notes: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> Quantity:
        return self.quantities[name]


def no_progress(done: int, total: int, note: str = "") -> None:
    """Ignore progress; the default of every function that reports it."""


def part_of(progress: Progress, begin: float, end: float) -> Progress:
    """Return what reports a part of a whole, which lies between two shares in [0, 1] of it."""

    def report(done: int, total: int, note: str = "") -> None:
        progress(round(1000 * (begin + (end - begin) * done / max(total, 1))), 1000, note)

    return report

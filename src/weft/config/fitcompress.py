"""FITCompress: what it may change, and the goal that it searches for."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, model_validator

from weft.section import Found, Section, refuse

GoalKind = Literal["ebops", "bops_ratio", "bytes"]
Bits = Annotated[int, Field(ge=2, le=24)]


class Goal(Section):
    """The cost that a compressed network must not exceed; exactly one of the three.

    The bit operations of the ratio are those of products, b_w · b_a for each weight that is not zero. The accumulations
    that objective `bops` counts too do not shrink with the sparsity: no network has less than 1 % of them.
    """

    ebops: int | None = Field(default=None, gt=0, description="Effective bit operations of all products with weights.")
    bops_ratio: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="Bit operations of all products, as a share of those of the same network in 32 bits.",
    )
    bytes: int | None = Field(default=None, gt=0, description="Storage of the weights that are not zero, in bytes.")

    @model_validator(mode="after")
    def _is_one_of_three(self) -> Goal:
        given = [name for name in ("ebops", "bops_ratio", "bytes") if getattr(self, name) is not None]
        if len(given) != 1:
            found = " and ".join(given) if given else "none"
            refuse([((), f"needs exactly one of ebops, bops_ratio and bytes; got {found}")])
        return self

    @property
    def kind(self) -> GoalKind:
        """Which of the three is given."""
        kinds: tuple[GoalKind, ...] = ("ebops", "bops_ratio", "bytes")
        return next(kind for kind in kinds if getattr(self, kind) is not None)

    @property
    def value(self) -> float:
        """Its value."""
        return float(getattr(self, self.kind))


class FitCompressConfig(Section):
    """Search bits for each layer and a sparsity for the network that reach a goal at the least Fisher distance."""

    goal: Goal = Field(description="The cost to get below: {ebops: n}, {bops_ratio: r} or {bytes: n}.")
    weight_bits: list[Bits] = Field(
        default=[8, 7, 6, 5, 4, 3, 2],
        min_length=1,
        description="Widths that the weights of a layer go through, signs counted; all start with the first.",
    )
    activation_bits: list[Bits] = Field(
        default=[8, 7, 6, 5, 4],
        min_length=1,
        description="Widths that the input of a layer goes through, signs counted; all start with the first.",
    )
    max_sparsity: float = Field(
        default=0.99, ge=0, lt=1, description="Largest share of the weights that is removed; 0 removes none."
    )
    sparsity_steps: int = Field(
        default=20, ge=1, description="Steps to the largest sparsity, each leaving the same share of the weights."
    )
    heuristic: float = Field(
        default=1.0, ge=0, description="Weight of the estimate of the way that is left; 0 looks at the way behind only."
    )
    approximate: bool = Field(
        default=True, description="Estimate with the Fisher information of the state before, not measured anew."
    )
    keep: int = Field(default=4, ge=1, description="Open states kept, the best; 1 is greedy.")
    max_states: int = Field(default=2000, ge=1, description="States after whose expansion the search gives up.")
    tolerance: float = Field(
        default=0.05, gt=0, description="Relative standard error of the Fisher trace at which measuring it ends."
    )
    draws: int = Field(default=100, ge=8, description="Most calibration batches that one measurement takes.")
    seed: int = Field(default=0, ge=0, description="Of the random signs in the Fisher information.")
    only: list[str] = Field(default=["*"], description="Layers to compress, by path or pattern.")
    skip: list[str] = Field(
        default=[], description="Layers to leave as they are, and not to count, by path or pattern."
    )

    @model_validator(mode="after")
    def _widths_fall(self) -> FitCompressConfig:
        problems: Found = []
        for name in ("weight_bits", "activation_bits"):
            widths = getattr(self, name)
            if any(a <= b for a, b in pairwise(widths)):
                problems.append(((name,), f"must fall from one to the next; got {widths}"))
        refuse(problems)
        return self

    @property
    def sparsities(self) -> list[float]:
        """Shares of weights removed, rising from 0."""
        if self.max_sparsity == 0:
            return [0.0]
        steps = self.sparsity_steps
        return [1 - (1 - self.max_sparsity) ** (step / steps) for step in range(steps + 1)]

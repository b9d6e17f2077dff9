"""Low-rank factorisation: which layers become two thinner ones, and how thin."""

from __future__ import annotations

from pydantic import Field, model_validator

from weft.section import Section, refuse


class LowRankBudget(Section):
    """What the whole network may have at most; exactly one of the two."""

    parameters: int | None = Field(default=None, ge=1, description="Weights and biases of the whole network.")
    macs: int | None = Field(default=None, ge=1, description="Products with weights in one inference.")

    @model_validator(mode="after")
    def _is_one_of_two(self) -> LowRankBudget:
        if (self.parameters is None) == (self.macs is None):
            refuse([((), f"needs either parameters or macs; got {'none' if self.macs is None else 'both'}")])
        return self


class LowRankConfig(Section):
    """Replace a layer by two with fewer weights, as a step before quantisation."""

    energy: float | None = Field(
        default=None, gt=0, le=1, description="Share of the sum of squared singular values that each layer keeps."
    )
    rank: int | None = Field(default=None, ge=1, description="Rank of every layer.")
    budget: LowRankBudget | None = Field(
        default=None, description="Size of the whole network, {parameters: n} or {macs: n}; ranks are chosen for it."
    )
    layers: list[str] = Field(
        default=["*"], min_length=1, description="Layers that may be factorised, by name or pattern."
    )

    @model_validator(mode="after")
    def _is_one_of_three(self) -> LowRankConfig:
        given = [name for name in ("energy", "rank", "budget") if getattr(self, name) is not None]
        if len(given) != 1:
            refuse([((), f"needs exactly one of energy, rank and budget; got {' and '.join(given) or 'none'}")])
        return self

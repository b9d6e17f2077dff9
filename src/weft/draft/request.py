"""What a user wants of an experiment: data, part, bounds and effort, each left out where nothing was said."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from weft.section import Section
from weft.types import Task

Share = Annotated[float, Field(gt=0, le=1)]
Count = Annotated[int, Field(ge=1)]
CountOrNone = Annotated[int, Field(ge=0)]
Size = Annotated[float, Field(gt=0)]
Words = Annotated[tuple[str, ...], Field(strict=False)]


class Request(Section):
    """A wish for an experiment; null says nothing. Bounds are inclusive, shares are fractions in [0, 1]."""

    data: str | None = Field(default=None, description="A data set that weft knows by name, or openml:<number>.")
    files: str | None = Field(default=None, description="The user's own data file, instead of a name.")
    tree: str | None = Field(default=None, description="Tree of the user's ROOT file; null: the only one.")
    label: str | None = Field(default=None, description="Column or array of the label, in the user's file.")
    features: Words = Field(default=(), description="Columns used as features; empty uses all.")
    missing: Literal["refuse", "drop"] = Field(default="refuse", description="What becomes of rows with a gap.")
    classes: Literal["numbered", "values"] = Field(default="numbered", description="What whole-number labels are.")
    constituents: Literal[8, 16] | None = Field(default=None, description="Particles of each jet (jets-constituents).")
    task: Task | None = Field(default=None, description="What is learnt.")

    part: str | None = Field(default=None, description="Part or board.")
    clock_period_ns: Size | None = Field(default=None, description="Clock period, in ns.")
    latency_ns: Size | None = Field(default=None, description="Longest time from input to output, in ns.")
    latency_cycles: Count | None = Field(default=None, description="Most clock cycles from input to output.")
    ii_cycles: Count | None = Field(default=None, description="Most clock cycles from one input to the next.")
    lut: Count | None = Field(default=None, description="Most look-up tables.")
    ff: Count | None = Field(default=None, description="Most flip-flops.")
    dsp: CountOrNone | None = Field(default=None, description="Most DSP slices.")
    bram_18k: CountOrNone | None = Field(default=None, description="Most block RAMs of 18 kbit.")
    lut_fraction: Share | None = Field(default=None, description="Largest share of the part's look-up tables.")
    ff_fraction: Share | None = Field(default=None, description="Largest share of the part's flip-flops.")
    dsp_fraction: Share | None = Field(default=None, description="Largest share of the part's DSP slices.")
    bram_fraction: Share | None = Field(default=None, description="Largest share of the part's block RAMs.")

    accuracy: Share | None = Field(default=None, description="Least accuracy.")
    auc: Share | None = Field(default=None, description="Least area under the ROC curve.")
    fidelity: Share | None = Field(default=None, description="Least assignment fidelity.")
    efficiency: Share | None = Field(default=None, description="Least signal efficiency at a background of 1 %.")

    trials: Count | None = Field(default=None, description="Networks that the search tries.")
    epochs: Count | None = Field(default=None, description="Epochs that each network of the search trains.")
    minutes: Size | None = Field(default=None, description="No new network is tried after this, in minutes.")
    recipe: str | None = Field(default=None, description="The recipe of the compression.")
    quick: bool = Field(default=False, description="A first run of a few minutes: few, short trainings.")

    not_understood: Words = Field(default=(), description="What of a sentence was not read, word for word.")
    notes: Words = Field(default=(), description="Why something was not read, and what was taken for granted.")


RESOURCES = ("lut", "ff", "dsp", "bram_18k")
SHARES = {"lut_fraction": "lut", "ff_fraction": "ff", "dsp_fraction": "dsp", "bram_fraction": "bram_18k"}
FLOORS = ("accuracy", "auc", "fidelity", "efficiency")
"""Metrics of which a request may state the least that will do."""

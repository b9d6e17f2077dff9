"""Distillation: what a student learns from a teacher besides the labels."""

from __future__ import annotations

from pydantic import Field

from weft.section import Section


class FeaturePair(Section):
    """A layer of the student whose output is to be like that of a layer of the teacher."""

    student: str = Field(description="Name of the student's layer.")
    teacher: str = Field(description="Name of the teacher's layer, or of its module in PyTorch.")
    weight: float = Field(default=1.0, gt=0, description="Weight of the mean squared difference in the loss.")


class DistilConfig(Section):
    """Train towards the outputs of a teacher, and towards what its layers give."""

    teacher: str | None = Field(default=None, description="File of the teacher, .keras; in Python it is handed over.")
    temperature: float = Field(
        default=4.0, gt=0, description="Both sides' logits are divided by it before they are compared."
    )
    alpha: float = Field(default=0.7, ge=0, le=1, description="Weight of the teacher; the labels have 1 - alpha.")
    features: list[FeaturePair] = Field(default=[], description="Layers to be alike, student and teacher.")
    project: bool = Field(
        default=False,
        description="Whether a student's layer of another width is compared through a learned projection.",
    )

"""Distillation: what a student learns from a teacher besides the labels."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from weft.section import Section, refuse


class FeaturePair(Section):
    """A layer of the student whose output is to be like that of a layer of the teacher.

    The output of a layer that a batch normalisation became one with is that of the normalisation.
    """

    student: str = Field(description="Name of the student's layer.")
    teacher: str = Field(description="Name of the teacher's layer, or of its module in PyTorch.")
    weight: float = Field(default=1.0, gt=0, description="Weight of the mean squared difference in the loss.")


def _pair(value: Any) -> Any:
    return {"student": value, "teacher": value} if isinstance(value, str) else value


_Feature = Annotated[FeaturePair, BeforeValidator(_pair, json_schema_input_type=FeaturePair | str)]


class DistilConfig(Section):
    """Train towards the outputs of a teacher, and towards what its layers give."""

    teacher: str | None = Field(
        default=None,
        description="File of the teacher, .keras; by default the float network that is compressed, as it was before.",
    )
    temperature: float = Field(
        default=4.0, gt=0, description="Both sides' logits are divided by it before they are compared."
    )
    alpha: float = Field(default=0.7, ge=0, le=1, description="Weight of the teacher; the labels have 1 - alpha.")
    features: list[_Feature] = Field(
        default=[], description="Layers to be alike, student and teacher; a bare name stands for both."
    )
    project: bool = Field(
        default=False,
        description="Whether a student's layer of another width is compared through a learned projection.",
    )

    @model_validator(mode="after")
    def _teaches(self) -> DistilConfig:
        if self.alpha == 0 and not self.features:
            refuse([(("alpha",), "0 without features leaves the teacher nothing to say; raise it, or name features")])
        return self

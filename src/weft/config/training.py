"""What every section that trains shares: epochs, batches, schedule of the learning rate, stopping, loss and metric."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from weft.section import Section, refuse, with_default_tag
from weft.types import Task

Loss = Literal["auto", "cross_entropy", "bce", "mse", "huber"]
Metric = Literal["auto", "accuracy", "auc", "fidelity", "mse", "efficiency"]

METRICS_OF_TASK: dict[Task, tuple[str, ...]] = {
    "classification": ("accuracy", "auc", "efficiency"),
    "binary": ("accuracy", "auc", "efficiency", "fidelity"),
    "regression": ("mse",),
}
"""The metrics that a task has, the usual one first; fidelity is about two states."""

LOSSES_OF_TASK: dict[Task, tuple[str, ...]] = {
    "classification": ("cross_entropy",),
    "binary": ("bce",),
    "regression": ("mse", "huber"),
}
"""The losses that fit the outputs of a task, the usual one first."""


class ConstantSchedule(Section):
    """The learning rate stays as it is."""

    name: Literal["constant"] = Field(default="constant", description="The kind of schedule.")


class CosineSchedule(Section):
    """The learning rate rises linearly in the warm-up, then falls along half a cosine."""

    name: Literal["cosine"] = Field(default="cosine", description="The kind of schedule.")
    final_fraction: float = Field(default=0.0, ge=0, le=1, description="Last learning rate as a share of the first.")
    warmup_epochs: int = Field(default=0, ge=0, description="Epochs in which the learning rate rises from zero.")


class RestartsSchedule(Section):
    """The learning rate falls along half a cosine, jumps back, and falls again."""

    name: Literal["restarts"] = Field(default="restarts", description="The kind of schedule.")
    period_epochs: int = Field(ge=1, description="Epochs until the first restart.")
    factor: float = Field(
        default=1.0, ge=1, description="Each period is this many times as long as the one before, >= 1."
    )


class PlateauSchedule(Section):
    """The learning rate falls whenever the metric stops improving."""

    name: Literal["plateau"] = Field(default="plateau", description="The kind of schedule.")
    factor: float = Field(default=0.5, gt=0, lt=1, description="What the learning rate is multiplied with, in (0, 1).")
    patience: int = Field(default=5, ge=1, description="Epochs without improvement before the learning rate falls.")
    min_fraction: float = Field(default=1e-3, ge=0, lt=1, description="Lowest learning rate as a share of the first.")


_Schedule = Annotated[
    ConstantSchedule | CosineSchedule | RestartsSchedule | PlateauSchedule, Field(discriminator="name")
]

Schedule = Annotated[
    _Schedule,
    BeforeValidator(
        with_default_tag("name"), json_schema_input_type=_Schedule | Literal["constant", "cosine", "plateau"]
    ),
]
"""How the learning rate changes, told apart by `name`; the bare word stands for the schedule with its defaults."""


class EarlyStopping(Section):
    """Training ends once the metric has stopped improving."""

    patience: int = Field(ge=1, description="Epochs without improvement before training stops.")
    min_delta: float = Field(
        default=0.0, ge=0, description="Smallest change of the metric that counts as an improvement."
    )


class TrainingConfig(Section):
    """The base of the sections that train; not a section itself."""

    epochs: int = Field(ge=1, description="Passes over the training rows.")
    batch_size: int = Field(default=1024, ge=1, description="Rows of one training step.")
    schedule: Schedule = Field(default=ConstantSchedule(), description="How the learning rate changes over the epochs.")
    early_stopping: EarlyStopping | None = Field(
        default=None, description="When to stop before the last epoch; null: never."
    )
    loss: Loss = Field(default="auto", description="What training minimises; auto decides by the task.")
    metric: Metric = Field(
        default="auto",
        description="Validation metric that stopping, plateau and selection watch; auto decides by the task.",
    )

    @model_validator(mode="after")
    def _schedule_fits_the_epochs(self) -> TrainingConfig:
        schedule = self.schedule
        if self.epochs == 0:
            return self
        if isinstance(schedule, CosineSchedule) and schedule.warmup_epochs >= self.epochs:
            refuse([(("schedule", "warmup_epochs"), f"must be < epochs={self.epochs}; got {schedule.warmup_epochs}")])
        if isinstance(schedule, RestartsSchedule) and schedule.period_epochs >= self.epochs:
            refuse(
                [
                    (
                        ("schedule", "period_epochs"),
                        f"must be < epochs={self.epochs}, or nothing restarts (that is the "
                        f"schedule 'cosine'); got {schedule.period_epochs}",
                    )
                ]
            )
        return self

"""Section `search`: how candidates are proposed, trained, compared and limited."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from weft.config.constraint import Constraints, ObjectiveName
from weft.config.space import Activation, Bits, Count, Normalization
from weft.config.training import TrainingConfig
from weft.config.workers import WorkersConfig
from weft.objectives import METRICS
from weft.section import Found, Section, refuse


class BaselineConfig(Section):
    """A network that the search evaluates first, to compare with; it may lie outside the space."""

    units: list[Count] = Field(min_length=1, description="Neurons of each hidden layer, from the first.")
    activation: Activation = Field(default="relu", description="Activation after each hidden layer.")
    normalization: Normalization = Field(default="none", description="Normalisation before the activation.")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="Share of activations dropped in training, in [0, 1).")
    l1: float = Field(default=0.0, ge=0, description="Factor of the L1 penalty on the weights, >= 0.")
    learning_rate: float = Field(default=1e-3, gt=0, description="Learning rate at the start of training, > 0.")
    beta: float | None = Field(
        default=None, gt=0, description="Weight of the EBOPs in the loss (mode hgq); null: from the space."
    )
    total_bits: Bits | None = Field(
        default=None, description="Width of each number, in bits (mode fixed); null: from the space."
    )


class CalibrateConfig(Section):
    """Synthesis of some candidates during the search, by which the estimates of all are put right."""

    every: int = Field(default=20, ge=2, description="Candidates evaluated from one round of synthesis to the next.")
    designs: int = Field(default=3, ge=1, description="Candidates synthesised in a round.")


class SearchConfig(TrainingConfig):
    """The search over the space."""

    epochs: int = Field(default=5, ge=1, description="Epochs that each candidate trains.")
    sampler: Literal["nsga2", "random", "tpe"] = Field(default="nsga2", description="What proposes the next candidate.")
    trials: int = Field(default=100, ge=1, description="Candidates to evaluate, baselines included.")
    population: int = Field(default=20, ge=2, description="Candidates of one generation (nsga2).")
    objectives: list[ObjectiveName] = Field(
        default=["accuracy", "lut", "latency_cycles"], min_length=1, description="What is traded off, each once."
    )
    constraints: Constraints = Field(default={}, description='Bounds that a design must meet, such as lut: "<= 10000".')
    workers: WorkersConfig = Field(
        default="auto", description="Processes that train at the same time; dask://host:port, or a cluster."
    )
    seed: int = Field(default=0, ge=0, description="Seed of the sampler and of every training.")
    baselines: list[BaselineConfig] = Field(
        default=[], description="Networks evaluated before the search proposes any."
    )
    timeout_minutes: float | None = Field(
        default=None, gt=0, description="No new candidate starts after this; null: no limit."
    )
    trial_timeout_minutes: float | None = Field(
        default=None,
        gt=0,
        description="A training that takes longer is killed, and counts as an attempt; null: none is.",
    )
    attempts: int = Field(default=3, ge=1, description="How often a candidate is tried if its worker dies.")
    calibrate: CalibrateConfig | None = Field(
        default=None, description="Synthesis of some candidates on the way; null: none before the designs."
    )

    @model_validator(mode="after")
    def _can_search(self) -> SearchConfig:
        found: Found = []
        if len(set(self.objectives)) < len(self.objectives):
            found.append((("objectives",), f"an objective is listed twice in {self.objectives}; list each once"))
        if not any(name in METRICS for name in (*self.objectives, *self.constraints)):
            found.append(
                (
                    ("objectives",),
                    f"{self.objectives} holds no metric, so the smallest network would win; add one of "
                    f"{', '.join(METRICS)}, or constrain one",
                )
            )
        if len(self.baselines) > self.trials:
            found.append((("baselines",), f"lists {len(self.baselines)} networks, more than trials={self.trials}"))
        refuse(found)
        return self

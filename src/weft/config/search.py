"""Section `search`: how candidates are proposed, trained, compared and limited."""

from __future__ import annotations

from typing import Annotated, Any, Literal, cast

from pydantic import BeforeValidator, Field, model_validator

from weft.blocks import Activation, AnyGenes, Count, Normalization
from weft.config.constraint import Constraints, Objective
from weft.config.data import FilePath
from weft.config.fidelity import FinalConfig, HalvingConfig
from weft.config.sampler import SamplerName
from weft.config.space import Bits
from weft.config.training import TrainingConfig
from weft.config.workers import WorkersConfig
from weft.objectives import METRICS
from weft.section import Found, Section, refuse


class BaselineConfig(Section):
    """A network that the search evaluates first, to compare with; it may lie outside the space."""

    units: list[Count] | None = Field(
        default=None, min_length=1, description="Neurons of each hidden layer of an mlp, from the first."
    )
    blocks: list[AnyGenes] | None = Field(
        default=None, min_length=1, description="Or the blocks of any network, each with one value for every choice."
    )
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

    @model_validator(mode="after")
    def _is_one_network(self) -> BaselineConfig:
        if (self.units is None) == (self.blocks is None):
            refuse([((), "needs units, for an mlp, or blocks, and not both")])
        of_an_mlp = ("activation", "normalization", "dropout", "l1")
        mine = [name for name in of_an_mlp if getattr(self, name) != type(self).model_fields[name].default]
        if self.blocks is not None:
            refuse([((name,), "belongs into blocks here, to the block that has it") for name in mine])
        return self


class WarmStartConfig(Section):
    """Networks that earlier searches found, evaluated before the search proposes any."""

    runs: list[FilePath] = Field(
        min_length=1, description="Run directories of earlier searches; relative to the YAML file."
    )
    trials: int = Field(
        default=10, ge=1, description="Networks taken at most, of all runs together, those of the best fronts first."
    )


def _runs_alone(value: Any) -> Any:
    return {"runs": cast(Any, value)} if isinstance(value, list) else value


WarmStart = Annotated[WarmStartConfig, BeforeValidator(_runs_alone, json_schema_input_type=WarmStartConfig | list[str])]
"""Earlier runs; a list stands for the section with that list as `runs`."""


class CalibrateConfig(Section):
    """Synthesis of some candidates during the search, by which the estimates of all are put right."""

    every: int = Field(default=20, ge=2, description="Candidates evaluated from one round of synthesis to the next.")
    designs: int = Field(default=3, ge=1, description="Candidates synthesised in a round.")


class SearchConfig(TrainingConfig):
    """The search over the space."""

    epochs: int = Field(default=5, ge=1, description="Epochs that each candidate trains.")
    sampler: SamplerName = Field(
        default="nsga2", description="What proposes the next candidate: a sampler of Optuna; grid tries every one."
    )
    trials: int = Field(default=100, ge=1, description="Candidates to evaluate, baselines included.")
    population: int = Field(default=20, ge=2, description="Candidates proposed before the results of any are known.")
    objectives: list[Objective] = Field(
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
    warm_start: WarmStart | None = Field(
        default=None,
        description="Earlier runs whose best networks are evaluated after the baselines, as far as the space holds "
        "them; null: none.",
    )
    timeout_minutes: float | None = Field(
        default=None, gt=0, description="No new candidate starts after this; null: no limit."
    )
    trial_timeout_minutes: float | None = Field(
        default=None,
        gt=0,
        description="A training that takes longer is killed, and counts as an attempt; null: none is.",
    )
    worker_timeout_minutes: float | None = Field(
        default=None,
        gt=0,
        description="Longest wait while no worker is there at all; null: 1 with dask://, 30 with a cluster.",
    )
    attempts: int = Field(default=3, ge=1, description="How often a candidate is tried if its worker dies.")
    calibrate: CalibrateConfig | None = Field(
        default=None, description="Synthesis of some candidates on the way; null: none before the designs."
    )
    halving: HalvingConfig | None = Field(
        default=None, description="Successive halving of each generation; null: every candidate is trained in full."
    )
    final: FinalConfig | None = Field(
        default=None, description="Re-evaluation of the front with several seeds; null: none."
    )
    inherit: bool = Field(
        default=False, description="Whether a candidate starts from the weights of the nearest design of the front."
    )

    vmap: Literal["auto", "always", "never"] = Field(
        default="auto",
        description="Whether candidates, folds and seeds of one network train in one program; auto measures it first.",
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

"""What recipes share that train one network, and the stages: pretrain, train in rounds with rewinding, fine-tune."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, Union

from pydantic import BeforeValidator, Field, SerializeAsAny, model_validator

from weft.config.distil import DistilConfig
from weft.config.layers import Layers
from weft.config.low_rank import LowRankConfig
from weft.config.optimizer import AdamConfig, OptimizerConfig, WeightDecayConfig
from weft.config.training import TrainingConfig
from weft.prune import Method, methods
from weft.section import Found, refuse, with_default_tag

if TYPE_CHECKING:
    PruneConfig = Method
else:
    _Prune = Annotated[Union[tuple(methods().values())], Field(discriminator="method")]  # noqa: UP007
    PruneConfig = Annotated[
        SerializeAsAny[_Prune],
        BeforeValidator(with_default_tag("method"), json_schema_input_type=_Prune | Literal[tuple(sorted(methods()))]),
    ]
"""A pruning method, told apart by `method`; the bare word stands for the method with its defaults."""

QuantizeFrom = Literal["pretrain", "train", "finetune"]
Rewind = Literal["never", "every_round", "after_training"]


class RecipeConfig(TrainingConfig):
    """The base of the recipes that train one network; not a section itself."""

    optimizer: OptimizerConfig = Field(default=AdamConfig(), description="What moves the weights.")
    weight_decay: WeightDecayConfig | None = Field(
        default=None, description="How weights shrink beside the optimizer's steps; null: they do not."
    )
    distil: DistilConfig | None = Field(default=None, description="What a teacher adds to the loss; null: no teacher.")
    low_rank: LowRankConfig | None = Field(
        default=None, description="Layers that become two thinner ones before quantisation; null: none."
    )

    @model_validator(mode="after")
    def _techniques_fit(self) -> RecipeConfig:
        problems: Found = []
        if self.distil is not None and self.loss == "huber":
            problems.append((("loss",), "must be auto beside distil, which has losses of its own; got huber"))
        ranked = self.low_rank is not None and self.low_rank.rank is None
        if ranked and not getattr(self, "warm_start", True):
            problems.append(
                (
                    ("low_rank",),
                    "chooses ranks by trained weights, and warm_start: false leaves none; set warm_start to true, or "
                    "give low_rank a rank",
                )
            )
        refuse(problems)
        return self


class StagesConfig(RecipeConfig):
    """The base of the recipes that go through stages; not a section itself.

    Pretraining leaves the weights whole, training prunes them, in `rounds` of `epochs` each, then the mask is fixed and
    fine-tuning goes on with what is left.
    """

    prune: PruneConfig | None = Field(default=None, description="How weights are removed; null leaves them all.")
    keep_float: list[str] = Field(
        default=[],
        description="Layers that stay in float, by name or pattern, as they cannot be replaced; firmware cannot have "
        "them.",
    )
    prune_first: bool = Field(default=True, description="Whether the mask comes before quantisation, or after it.")
    quantize_from: QuantizeFrom = Field(
        default="pretrain",
        description="The first stage whose weights and activations are quantised; before it they are float, and their "
        "ranges are found anew when it begins.",
    )
    pretrain_epochs: int = Field(default=0, ge=0, description="Epochs before the first weight is removed.")
    rounds: int = Field(default=1, ge=1, description="How often the train stage runs.")
    finetune_epochs: int = Field(default=0, ge=0, description="Epochs with the mask fixed.")
    rewind: Rewind = Field(
        default="never", description="When weights go back to where they were at the beginning of save_epoch."
    )
    save_epoch: int = Field(default=0, ge=0, description="Epoch of the first round at whose start weights are saved.")
    layers: Layers = Field(
        default={},
        description="What single layers do differently, by name or pattern; or a file of that, as 'weft init-layers' "
        "writes it, relative to the YAML file.",
    )

    @model_validator(mode="after")
    def _stages_fit(self) -> StagesConfig:
        problems: Found = []
        if self.epochs == 0:
            problems += self._without_training()
        elif self.save_epoch >= self.epochs:
            problems.append((("save_epoch",), f"must be < epochs={self.epochs}; got {self.save_epoch}"))
        needed = {"train": "pretrain_epochs", "finetune": "finetune_epochs"}.get(self.quantize_from)
        if needed is not None and getattr(self, needed) == 0:
            problems.append((("quantize_from",), f"{self.quantize_from} needs {needed} >= 1; got 0"))
        if self.rounds > 1 and self.prune is None:
            problems.append((("rounds",), f"> 1 needs a method in prune, or all rounds are alike; got {self.rounds}"))
        refuse(problems)
        return self

    def _without_training(self) -> Found:
        """Return what a recipe cannot have whose train stage has no epochs."""
        found: Found = []
        if self.prune is not None and not self.prune.one_shot:
            able = ", ".join(sorted(name for name, kind in methods().items() if kind.one_shot))
            found.append(
                (
                    ("prune",),
                    f"'{self.prune.method}' finds its masks in training, and epochs: 0 leaves it none; raise epochs, "
                    f"or choose a method that needs none: {able}",
                )
            )
        for name, usual in (("rounds", 1), ("rewind", "never"), ("save_epoch", 0)):
            if (value := getattr(self, name)) != usual:
                found.append(((name,), f"means nothing where epochs is 0; leave it out, got {value}"))
        return found

    @property
    def float_epochs(self) -> int:
        """Epochs before anything is quantised."""
        if self.quantize_from == "pretrain":
            return 0
        return self.pretrain_epochs + (self.rounds * self.epochs if self.quantize_from == "finetune" else 0)

    @property
    def total_epochs(self) -> int:
        """Epochs of all stages."""
        return self.pretrain_epochs + self.rounds * self.epochs + self.finetune_epochs

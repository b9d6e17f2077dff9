"""Section `compress`: how the picked designs are trained on, quantised and pruned, by one recipe."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import BeforeValidator, Field, Tag, model_validator

from weft.config.document import parse
from weft.config.fitcompress import FitCompressConfig
from weft.config.numbers import IntegerBits
from weft.config.space import Bits, Granularity, Positive, StartBits
from weft.config.stages import RecipeConfig, StagesConfig
from weft.config.training import CosineSchedule, Loss, Metric, Schedule
from weft.section import Section, by_shape, did_you_mean, refuse, with_default_tag


class NoCompression(Section):
    """Designs stay as the search trained them."""

    recipe: Literal["none"] = Field(default="none", description="The recipe.")


class BetaRamp(Section):
    """The price of bits rises during training, evenly in the logarithm."""

    from_: float = Field(gt=0, alias="from", description="Beta at the first epoch, > 0.")
    to: float = Field(gt=0, description="Beta at the last epoch, > from.")

    @model_validator(mode="after")
    def _rises(self) -> BetaRamp:
        if self.from_ >= self.to:
            raise ValueError(f"needs 0 < from < to; got from={self.from_:g}, to={self.to:g}")
        return self


class SizeTarget(Section):
    """Where a controller on log(beta) drives the network; exactly one of the two."""

    ebops: int | None = Field(default=None, ge=1, description="Effective bit operations of the whole network.")
    lut: int | None = Field(
        default=None,
        ge=1,
        description="Look-up tables of the whole design, counted by the solver a few times during training.",
    )

    @model_validator(mode="after")
    def _is_one_of_two(self) -> SizeTarget:
        if (self.ebops is None) == (self.lut is None):
            refuse([((), f"needs either ebops or lut; got {'none' if self.lut is None else 'both'}")])
        return self


Beta = Annotated[Annotated[Positive, Tag("(scalar)")] | Annotated[BetaRamp, Tag("(mapping)")], by_shape]


class HgqCompression(StagesConfig):
    """Train with learned widths while the price of bits rises, and keep the best designs on the way."""

    recipe: Literal["hgq"] = Field(default="hgq", description="The recipe.")
    epochs: int = Field(default=150, ge=1, description="Passes over the training rows.")
    learning_rate: float = Field(default=3e-3, gt=0, description="Learning rate at the start of training, > 0.")
    schedule: Schedule = Field(default=CosineSchedule(), description="How the learning rate changes over the epochs.")
    beta: Beta = Field(
        default=BetaRamp.model_validate({"from": 1e-7, "to": 1e-4}),
        description="Weight of the EBOPs in the loss: a number > 0, or {from, to}, a ramp even in the logarithm.",
    )
    target: SizeTarget | None = Field(
        default=None, description="Control beta so that this size is reached; beta is then only where it starts."
    )
    gamma: float = Field(default=1e-8, ge=0, description="Weight of the sum of all widths in the loss, >= 0.")
    bits0: StartBits = Field(default=6, description="Width that each weight starts with, in bits.")
    finetune_epochs: int = Field(
        default=20,
        ge=0,
        description="Epochs in which a kept design trains on with its widths fixed, its metric recovering.",
    )
    keep: int = Field(default=2, ge=1, description="Designs kept of each training, spread over accuracy and cost.")
    warm_start: bool = Field(default=True, description="Whether training goes on from the weights of the search.")

    @model_validator(mode="after")
    def _learns_widths(self) -> HgqCompression:
        if self.quantize_from == "finetune":
            refuse([(("quantize_from",), "must be pretrain or train: widths are learnt before fine-tuning")])
        if self.rewind == "after_training":
            refuse([(("rewind",), "must be never or every_round: learned widths would go back to where they began")])
        return self

    @property
    def beta_start(self) -> float:
        """Beta at the first epoch."""
        return self.beta.from_ if isinstance(self.beta, BetaRamp) else self.beta

    @property
    def beta_end(self) -> float:
        """Beta at the last epoch, if no target controls it."""
        return self.beta.to if isinstance(self.beta, BetaRamp) else self.beta


class Precision(Section):
    """A fixed-point format, as `ap_fixed<total_bits, integer_bits>`: the sign counts in both."""

    total_bits: Bits = Field(description="Width with the sign, in bits.")
    integer_bits: IntegerBits | Literal["auto"] = Field(
        default="auto",
        description="Bits left of the binary point, with the sign, may be < 0; auto fits the data.",
    )

    @model_validator(mode="after")
    def _integer_bits_fit(self) -> Precision:
        if isinstance(self.integer_bits, int) and self.integer_bits > self.total_bits:
            refuse(
                [
                    (
                        ("integer_bits",),
                        f"must be <= total_bits={self.total_bits}, which counts the sign; got {self.integer_bits}",
                    )
                ]
            )
        return self


class FixedCompression(StagesConfig):
    """Train on at fixed-point precisions, one training for each."""

    recipe: Literal["fixed"] = Field(default="fixed", description="The recipe.")
    precisions: list[Precision] = Field(
        default=[Precision(total_bits=8)],
        min_length=1,
        description="Formats of weights and activations, one training each.",
    )
    granularity: Granularity = Field(
        default="tensor", description="What shares one format: a tensor, a channel or a weight."
    )
    io_bits: Bits = Field(default=16, description="Width of the network's inputs and outputs, in bits.")
    epochs: int = Field(
        default=30,
        ge=0,
        description="Passes over the training rows, for each precision; 0 quantises, and prunes by a method that can, "
        "without training.",
    )
    learning_rate: float = Field(default=1e-3, gt=0, description="Learning rate at the start of training, > 0.")
    keep: int = Field(default=1, ge=1, description="Designs kept of each design that was picked.")
    warm_start: bool = Field(default=True, description="Whether training goes on from the weights of the search.")


class ImpCompression(RecipeConfig):
    """Iterative magnitude pruning: train, remove the smallest weights, rewind, and again, at each precision."""

    recipe: Literal["imp"] = Field(default="imp", description="The recipe.")
    precisions: list[Precision] = Field(
        default=[Precision(total_bits=16, integer_bits=6), Precision(total_bits=8, integer_bits=3)],
        min_length=1,
        description="The formats of weights and activations, one sequence of rounds each.",
    )
    granularity: Granularity = Field(
        default="tensor", description="What shares one format: a tensor, a channel or a weight."
    )
    io_bits: Bits = Field(default=16, description="Width of the network's inputs and outputs, in bits.")
    warmup_epochs: int = Field(
        default=5, ge=0, description="Epochs before the first round; its weights are rewound to."
    )
    rounds: int = Field(default=10, ge=1, description="Rounds of pruning.")
    epochs: int = Field(default=10, ge=1, description="Passes over the training rows, for each round.")
    fraction: float = Field(
        default=0.2, gt=0, lt=1, description="Share of the remaining weights removed in each round."
    )
    keep: int = Field(default=1, ge=1, description="Designs kept of each design that was picked.")
    folds: int = Field(
        default=1, ge=1, description="1 trains once on the fixed split; k >= 2 trains on each of k folds."
    )
    learning_rate: float = Field(default=1e-3, gt=0, description="Learning rate at the start of each round, > 0.")
    warm_start: bool = Field(default=True, description="Whether training goes on from the weights of the search.")


class FitCompression(StagesConfig):
    """FITCompress: pretrain in float, search widths and masks that reach a goal, then train with both fixed."""

    recipe: Literal["fitcompress"] = Field(default="fitcompress", description="The recipe.")
    search: FitCompressConfig = Field(description="The goal, and what the search may choose from.")
    granularity: Granularity = Field(
        default="channel", description="What shares one format: a tensor, a channel or a weight."
    )
    io_bits: Bits = Field(default=16, description="Width of the network's inputs and outputs, in bits.")
    pretrain_epochs: int = Field(default=50, ge=0, description="Epochs in float before the search.")
    epochs: int = Field(default=300, ge=1, description="Epochs with widths and masks fixed.")
    learning_rate: float = Field(default=1e-3, gt=0, description="Learning rate at the start of training, > 0.")
    weight_limit: float = Field(default=1.0, gt=0, description="Largest magnitude of a weight while it pretrains.")
    keep: int = Field(default=1, ge=1, description="Designs kept of each design that was picked.")
    warm_start: bool = Field(default=True, description="Whether training goes on from the weights of the search.")

    @model_validator(mode="after")
    def _the_search_decides(self) -> FitCompression:
        alien = {"prune": None, "rounds": 1, "finetune_epochs": 0, "rewind": "never", "quantize_from": "pretrain"}
        refuse(
            [
                (
                    (name,),
                    f"has no place here: the search finds the masks, once; leave it out, got {getattr(self, name)}",
                )
                for name, default in alien.items()
                if getattr(self, name) != default
            ]
        )
        return self


class BudgetCompression(Section):
    """The best metric that fits a budget: widths are learnt (HGQ), and a controller finds the price of a bit."""

    recipe: Literal["budget"] = Field(default="budget", description="The recipe.")
    lut: int | None = Field(default=None, ge=1, description="Look-up tables of the whole design, by the solver.")
    ebops: int | None = Field(default=None, ge=1, description="Effective bit operations of the whole network.")
    epochs: int = Field(default=150, ge=10, description="Passes over the training rows: more effort, better designs.")
    batch_size: int = Field(default=256, ge=1, description="Rows of one training step.")
    loss: Loss = Field(default="auto", description="What training minimises; auto decides by the task.")
    metric: Metric = Field(default="auto", description="Validation metric to be best in; auto decides by the task.")
    keep: int = Field(default=1, ge=1, description="Designs kept of each design that was picked.")
    warm_start: bool = Field(default=True, description="Whether training goes on from the weights of the search.")

    @model_validator(mode="after")
    def _one_budget(self) -> BudgetCompression:
        if (self.lut is None) == (self.ebops is None):
            found = "none" if self.lut is None else "both"
            refuse([((), f"needs a budget, either lut or ebops; got {found}")])
        return self


_Compression = Annotated[
    NoCompression | HgqCompression | FixedCompression | ImpCompression | FitCompression | BudgetCompression,
    Field(discriminator="recipe"),
]

RECIPES = Path(__file__).parent / "recipes"

BASE_RECIPES = ("none", "hgq", "fixed", "imp", "fitcompress", "budget")


def expand(value: Any) -> Any:
    """Return a section with a named recipe of `recipes/` written out; keys beside its name go before its own."""
    if not isinstance(value, Mapping):
        return value
    section = cast("Mapping[str, Any]", value)
    name = section.get("recipe")
    if not isinstance(name, str) or name in BASE_RECIPES:
        return section
    known = (*BASE_RECIPES, *sorted(recipes()))
    if name not in known:
        refuse([(("recipe",), f"must be one of {', '.join(known)}; got '{name}'{did_you_mean(name, known)}")])
    named = parse((RECIPES / f"{name}.yaml").read_text("utf-8")).data
    return {**named, **{key: item for key, item in section.items() if key != "recipe"}}


def recipes() -> dict[str, str]:
    """Return the named recipes: name and one-line description, the comment on the first line of the file."""
    files = sorted(RECIPES.glob("*.yaml"))
    return {file.stem: file.read_text("utf-8").splitlines()[0].removeprefix("#").strip() for file in files}


def _read(value: Any) -> Any:
    return expand(with_default_tag("recipe", "hgq")(value))


CompressConfig = Annotated[
    _Compression,
    BeforeValidator(_read, json_schema_input_type=_Compression | Literal[(*BASE_RECIPES, *recipes())]),
]
"""What happens to a picked design, told apart by `recipe`; the bare word stands for the recipe with its defaults."""

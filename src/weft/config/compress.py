"""Section `compress`: how the picked designs are trained on, quantised and pruned, by one recipe."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import BeforeValidator, Field, Tag, model_validator

from weft.config.document import parse
from weft.config.fitcompress import FitCompressConfig
from weft.config.numbers import Granularity, IntegerBits
from weft.config.space import Bits, Positive, StartBits
from weft.config.stages import PruneConfig, RecipeConfig, StagesConfig
from weft.config.training import CosineSchedule, Loss, Metric, Schedule
from weft.section import Found, KeyPath, Section, by_shape, did_you_mean, refuse, with_default_tag


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
    granularity: Granularity = Field(
        default="weight", description="What shares a width: a tensor, a channel or a weight."
    )
    io_bits: Bits | None = Field(
        default=None, description="Width of the network's inputs, in bits; null: what the search chose, or learned."
    )
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
    io_bits: Bits | None = Field(
        default=None, description="Width of the network's inputs, in bits; null: what the search chose, or 16."
    )
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
    io_bits: Bits | None = Field(
        default=None, description="Width of the network's inputs, in bits; null: what the search chose, or 16."
    )
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
    io_bits: Bits | None = Field(
        default=None, description="Width of the network's inputs, in bits; null: what the search chose, or 16."
    )
    pretrain_epochs: int = Field(default=50, ge=0, description="Epochs in float before the search.")
    epochs: int = Field(default=300, ge=1, description="Epochs with widths and masks fixed.")
    learning_rate: float = Field(default=1e-3, gt=0, description="Learning rate at the start of training, > 0.")
    weight_limit: float = Field(default=1.0, gt=0, description="Largest magnitude of a weight while it pretrains.")
    keep: int = Field(default=1, ge=1, description="Designs kept of each design that was picked.")
    warm_start: bool = Field(default=True, description="Whether training goes on from the weights of the search.")

    @model_validator(mode="after")
    def _the_search_decides(self) -> FitCompression:
        alien: dict[str, Any] = {
            "prune": None,
            "keep_float": [],
            "rounds": 1,
            "finetune_epochs": 0,
            "rewind": "never",
            "quantize_from": "pretrain",
        }
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
    prune: PruneConfig | None = Field(
        default=None, description="How weights are removed besides; null: only those whose widths come down to 0."
    )

    @model_validator(mode="after")
    def _one_budget(self) -> BudgetCompression:
        if (self.lut is None) == (self.ebops is None):
            found = "none" if self.lut is None else "both"
            refuse([((), f"needs a budget, either lut or ebops; got {found}")])
        return self


RECIPES = Path(__file__).parent / "recipes"

BASE_RECIPES = ("none", "hgq", "fixed", "imp", "fitcompress", "budget", "steps", "several")


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


_Training = HgqCompression | FixedCompression | ImpCompression | FitCompression | BudgetCompression

Step = Annotated[
    Annotated[_Training, Field(discriminator="recipe")],
    BeforeValidator(_read, json_schema_input_type=_Training | Literal[(*BASE_RECIPES[1:-2], *recipes())]),
]
"""A recipe that trains."""


class StepsCompression(Section):
    """One recipe after the other, each from the designs that the one before kept."""

    recipe: Literal["steps"] = Field(default="steps", description="The recipe.")
    steps: list[Step] = Field(
        min_length=2, description="Recipes in order. What one has pruned stays pruned in those without a method."
    )

    @model_validator(mode="after")
    def _each_goes_on(self) -> StepsCompression:
        found: Found = []
        for number, step in enumerate(self.steps[1:], start=1):
            if not step.warm_start:
                message = "must be true: a step goes on from the weights of the one before"
                found.append((("steps", number, "warm_start"), message))
            pretrains = isinstance(step, StagesConfig) and step.prune is None and step.pretrain_epochs > 0
            if pretrains and not isinstance(step, FitCompression):
                message = "must be 0 here: weights that were pruned would grow again; use epochs"
                found.append((("steps", number, "pretrain_epochs"), message))
        refuse(found)
        return self

    @property
    def metric(self) -> Metric:
        """The validation metric that the last step chooses by."""
        return self.steps[-1].metric

    @property
    def keep(self) -> int:
        """How many designs the last step keeps."""
        return self.steps[-1].keep

    @property
    def warm_start(self) -> bool:
        """Whether the first step goes on from the weights of the search."""
        return self.steps[0].warm_start


_Tried = _Training | StepsCompression

Tried = Annotated[
    Annotated[_Tried, Field(discriminator="recipe")],
    BeforeValidator(_read, json_schema_input_type=_Tried | Literal[(*BASE_RECIPES[1:-2], *recipes())]),
]


class SeveralCompression(Section):
    """Several recipes, each on every design that was picked, side by side."""

    recipe: Literal["several"] = Field(default="several", description="The recipe.")
    recipes: dict[Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")], Tried] = Field(
        min_length=1, description="Recipes by a name of your own, which the names of their designs begin with."
    )

    @property
    def warm_start(self) -> bool:
        """Whether any of them goes on from the weights of the search; each has its own say."""
        return True


_Compression = Annotated[NoCompression | _Tried | SeveralCompression, Field(discriminator="recipe")]

CompressConfig = Annotated[
    _Compression,
    BeforeValidator(_read, json_schema_input_type=_Compression | Literal[(*BASE_RECIPES[:-2], *recipes())]),
]
"""What happens to a picked design, told apart by `recipe`; the bare word stands for the recipe with its defaults."""


def recipes_of(config: Any, path: KeyPath = ("compress",)) -> list[tuple[KeyPath, Any]]:
    """Return the recipes of a section one by one, with their places."""
    if isinstance(config, SeveralCompression):
        named = config.recipes.items()
        return [found for name, one in named for found in recipes_of(one, (*path, "recipes", name))]
    if isinstance(config, StepsCompression):
        return [((*path, "steps", number), step) for number, step in enumerate(config.steps)]
    return [(path, config)]

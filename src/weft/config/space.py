"""Section `space`: the architectures, learning rates and precisions that the search may choose from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from weft.blocks import Count, MlpBlock, NonNegative, Slot
from weft.choice import Categorical, Choice, one_of
from weft.conditions import Conditional
from weft.config.numbers import Granularity, IntegerBits
from weft.prune import methods
from weft.section import Section, refuse, with_default_tag

ScheduleName = Literal["constant", "cosine"]

Bits = Annotated[int, Field(ge=1, le=24)]
StartBits = Annotated[int, Field(ge=1, le=12)]
Positive = Annotated[float, Field(gt=0)]

DEFAULT_BITS = 8
"""Width of fixed-point numbers where none is given."""


class OptimizerSpace(Conditional):
    """The optimiser, Adam, and what the search may choose of it."""

    learning_rate: Choice[Positive] = Field(
        default=one_of(1e-3), description="Learning rate at the start of training, > 0."
    )
    weight_decay: Choice[NonNegative] = Field(
        default=one_of(0.0), description="Decoupled weight decay (AdamW), a share of each weight in a step, >= 0."
    )
    batch_size: Choice[Count] | None = Field(
        default=None, description="Rows of one training step; null: that of section search."
    )
    schedule: Choice[ScheduleName] | None = Field(
        default=None, description="How the learning rate changes; null: as section search says."
    )


class FloatQuantization(Section):
    """Training in floating point; costs are counted as if every number had `cost_bits`."""

    mode: Literal["float"] = Field(default="float", description="How weights and activations are represented.")
    cost_bits: int = Field(default=8, ge=2, le=24, description="Width that the cost models assume, in bits.")


class FixedQuantization(Conditional):
    """One fixed-point format a layer, as `ap_fixed<total_bits, integer_bits>`: the sign counts in both."""

    mode: Literal["fixed"] = Field(default="fixed", description="How weights and activations are represented.")
    total_bits: Choice[Bits] = Field(
        default=one_of(DEFAULT_BITS), description="Width of weights and activations with the sign, in bits."
    )
    integer_bits: Choice[IntegerBits | Literal["auto"]] = Field(
        default=one_of("auto"),
        description="Bits left of the binary point, with the sign, may be < 0; auto fits the data.",
    )
    granularity: Choice[Granularity] = Field(
        default=one_of("tensor"), description="What shares one format: a tensor, a channel or a weight."
    )
    io_bits: Choice[Bits] = Field(default=one_of(16), description="Width of the network's inputs, in bits.")

    @model_validator(mode="after")
    def _integer_bits_fit(self) -> FixedQuantization:
        widths: list[int] = self.when.get("integer_bits", {}).get("total_bits") or [self.total_bits.bounds[0]]
        fallen_back = [DEFAULT_BITS] if "total_bits" in self.when else []
        narrowest: int = min(widths + fallen_back)
        values = self.integer_bits.values if isinstance(self.integer_bits, Categorical) else self.integer_bits.bounds
        most = max((bits for bits in values if isinstance(bits, int)), default=narrowest)
        if most > narrowest:
            refuse(
                [
                    (
                        ("integer_bits",),
                        f"must be <= total_bits, which counts the sign and goes down to {narrowest}; got {most}",
                    )
                ]
            )
        return self


class HgqQuantization(Conditional):
    """Every weight and activation learns its own width (HGQ), under a price `beta` for each effective bit operation."""

    mode: Literal["hgq"] = Field(default="hgq", description="How weights and activations are represented.")
    beta: Choice[Positive] = Field(default=one_of(1e-5), description="Weight of the EBOPs in the loss, > 0.")
    bits0: Choice[StartBits] = Field(default=one_of(8), description="Width that each weight starts with, in bits.")
    granularity: Choice[Granularity] = Field(
        default=one_of("weight"), description="What shares one learned width: a tensor, a channel or a weight."
    )
    io_bits: Choice[Bits] | None = Field(
        default=None, description="Width of the network's inputs, in bits; null: each learns its own."
    )


_Quantization = Annotated[FloatQuantization | FixedQuantization | HgqQuantization, Field(discriminator="mode")]

QuantizationSpace = Annotated[
    _Quantization,
    BeforeValidator(
        with_default_tag("mode", "hgq"), json_schema_input_type=_Quantization | Literal["float", "fixed", "hgq"]
    ),
]
"""How numbers are represented, told apart by `mode`; the bare word stands for the mode with its defaults."""


if TYPE_CHECKING:
    MethodName = str
else:
    MethodName = Literal[("none", *sorted(methods()))]


class PruningSpace(Conditional):
    """Which weights a trial removes while it trains; the methods have their usual settings."""

    method: Choice[MethodName] = Field(description="The pruning method, or none.")
    sparsity: Choice[Annotated[float, Field(gt=0, lt=1)]] = Field(
        default=one_of(0.5),
        description="Share of the weights that goes, in (0, 1); methods that find their own leave it unread.",
    )


class SpaceConfig(Section):
    """Everything that the search may choose."""

    blocks: list[Slot] = Field(
        default=[MlpBlock()], min_length=1, description="The blocks of the network, input first."
    )
    optimizer: OptimizerSpace = Field(
        default=OptimizerSpace(), description="What the search may choose of the optimiser."
    )
    quantization: QuantizationSpace = Field(default=HgqQuantization(), description="How numbers are represented.")
    pruning: PruningSpace | None = Field(default=None, description="Which weights trials remove; null: none.")

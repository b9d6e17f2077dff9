"""Section `space`: the architectures, learning rates and precisions that the search may choose from."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from weft.config.choice import Choice, one_of
from weft.config.numbers import IntegerBits
from weft.section import Section, refuse, shape_of, with_default_tag

Activation = Literal["relu", "tanh", "sigmoid", "leaky_relu", "none"]
Normalization = Literal["none", "batch"]
Granularity = Literal["tensor", "channel", "weight"]

Count = Annotated[int, Field(ge=1)]
Bits = Annotated[int, Field(ge=1, le=24)]
StartBits = Annotated[int, Field(ge=1, le=12)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Rate = Annotated[float, Field(ge=0, lt=1)]


def _units_shape(value: Any) -> str:
    """A list that holds a list or a mapping is one choice for each layer; everything else is one choice for all."""
    if shape_of(value) == "list" and any(shape_of(item) != "scalar" for item in value):
        return "(per layer)"
    return "(all layers)"


Units = Annotated[
    Annotated[Choice[Count], Tag("(all layers)")] | Annotated[list[Choice[Count]], Tag("(per layer)")],
    Discriminator(_units_shape),
]


class MlpBlock(Section):
    """A stack of dense hidden layers."""

    type: Literal["mlp"] = Field(default="mlp", description="The kind of block.")
    depth: Choice[Count] = Field(default=one_of(2, 3), description="Number of hidden layers.")
    units: Units = Field(
        default=one_of(16, 32, 64),
        description="Neurons of a hidden layer; a list of lists gives each layer, from the first, its own choices.",
    )
    activation: Choice[Activation] = Field(default=one_of("relu"), description="Activation after each hidden layer.")
    normalization: Choice[Normalization] = Field(
        default=one_of("none"), description="Normalisation before the activation."
    )
    dropout: Choice[Rate] = Field(
        default=one_of(0.0), description="Share of activations dropped in training, in [0, 1)."
    )
    l1: Choice[NonNegative] = Field(default=one_of(0.0), description="Factor of the L1 penalty on the weights, >= 0.")

    @model_validator(mode="after")
    def _every_layer_has_units(self) -> MlpBlock:
        deepest = self.depth.bounds[1]
        if isinstance(self.units, list) and deepest > len(self.units):
            refuse(
                [
                    (
                        ("units",),
                        f"lists choices for {len(self.units)} layers, but depth goes up to {deepest}; "
                        "list one more for each missing layer, or lower depth",
                    )
                ]
            )
        return self


Block = MlpBlock
"""The union of the block types, told apart by `type`."""


class OptimizerSpace(Section):
    """The optimiser, Adam, and what the search may choose of it."""

    learning_rate: Choice[Positive] = Field(
        default=one_of(1e-3), description="Learning rate at the start of training, > 0."
    )


class FloatQuantization(Section):
    """Training in floating point; costs are counted as if every number had `cost_bits`."""

    mode: Literal["float"] = Field(default="float", description="How weights and activations are represented.")
    cost_bits: int = Field(default=8, ge=2, le=24, description="Width that the cost models assume, in bits.")


class FixedQuantization(Section):
    """One fixed-point format a layer, as `ap_fixed<total_bits, integer_bits>`: the sign counts in both."""

    mode: Literal["fixed"] = Field(default="fixed", description="How weights and activations are represented.")
    total_bits: Choice[Bits] = Field(
        default=one_of(8), description="Width of weights and activations with the sign, in bits."
    )
    integer_bits: IntegerBits | Literal["auto"] = Field(
        default="auto",
        description="Bits left of the binary point, with the sign, may be < 0; auto fits the data.",
    )
    granularity: Granularity = Field(
        default="tensor", description="What shares one format: a tensor, a channel or a weight."
    )
    io_bits: Bits = Field(default=16, description="Width of the network's inputs and outputs, in bits.")

    @model_validator(mode="after")
    def _integer_bits_fit(self) -> FixedQuantization:
        narrowest = self.total_bits.bounds[0]
        if isinstance(self.integer_bits, int) and self.integer_bits > narrowest:
            refuse(
                [
                    (
                        ("integer_bits",),
                        f"must be <= total_bits, which counts the sign and goes down to {narrowest}; "
                        f"got {self.integer_bits}",
                    )
                ]
            )
        return self


class HgqQuantization(Section):
    """Every weight and activation learns its own width (HGQ), under a price `beta` for each effective bit operation."""

    mode: Literal["hgq"] = Field(default="hgq", description="How weights and activations are represented.")
    beta: Choice[Positive] = Field(default=one_of(1e-5), description="Weight of the EBOPs in the loss, > 0.")
    bits0: StartBits = Field(default=8, description="Width that each weight starts with, in bits.")


_Quantization = Annotated[FloatQuantization | FixedQuantization | HgqQuantization, Field(discriminator="mode")]

QuantizationSpace = Annotated[
    _Quantization,
    BeforeValidator(
        with_default_tag("mode", "hgq"), json_schema_input_type=_Quantization | Literal["float", "fixed", "hgq"]
    ),
]
"""How numbers are represented, told apart by `mode`; the bare word stands for the mode with its defaults."""


class SpaceConfig(Section):
    """Everything that the search may choose."""

    blocks: list[Block] = Field(
        default=[MlpBlock()], min_length=1, description="The blocks of the network, input first."
    )
    optimizer: OptimizerSpace = Field(
        default=OptimizerSpace(), description="What the search may choose of the optimiser."
    )
    quantization: QuantizationSpace = Field(default=HgqQuantization(), description="How numbers are represented.")

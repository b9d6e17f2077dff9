"""How weights and activations are represented, and what single layers do differently.

`Numbers` is one rule for a whole network; `LayerSettings`, by a layer's name or pattern, overrides parts of it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from weft.section import Found, Section, refuse

Granularity = Literal["tensor", "channel", "weight"]
RoundMode = Literal[
    "TRN", "TRN_ZERO", "RND", "RND_CONV", "RND_ZERO", "RND_MIN_INF", "RND_INF",
    "S_RND", "S_RND_CONV",
]  # fmt: skip
OverflowMode = Literal["SAT", "SAT_SYM", "WRAP", "WRAP_SM"]
Width = Annotated[int, Field(ge=0, le=24)]
IntegerBits = Annotated[int, Field(ge=-24, le=24)]


class FloatNumbers(Section):
    """Train in float; hardware cost is that of the weights rounded to `cost_bits`."""

    mode: Literal["float"] = Field(default="float", description="How weights and activations are represented.")
    cost_bits: int = Field(default=8, ge=2, le=24, description="Width that the cost models assume, in bits.")


class FixedNumbers(Section):
    """Train with fixed-point weights and activations of one width.

    `total_bits` counts the sign (ap_fixed's W); `integer_bits` counts it too (ap_fixed's I), and `auto` fits it to
    the weights of each group and to the range of each activation. `io_bits` is the width of the network's input.
    """

    mode: Literal["fixed"] = Field(default="fixed", description="How weights and activations are represented.")
    total_bits: int = Field(
        default=8, ge=1, le=24, description="Width of weights and activations with the sign, in bits."
    )
    integer_bits: IntegerBits | Literal["auto"] = Field(
        default="auto", description="Bits left of the binary point, with the sign, may be < 0; auto fits the data."
    )
    granularity: Granularity = Field(default="tensor", description="Which weights share one format.")
    io_bits: int = Field(default=16, ge=1, le=24, description="Width of the network's input, in bits.")

    @model_validator(mode="after")
    def _integer_bits_fit(self) -> FixedNumbers:
        refuse(_beyond(self.integer_bits, self.total_bits, "total_bits"))
        return self


class HgqNumbers(Section):
    """Train with learned bits, one width for each weight and each input (HGQ, arXiv:2405.00645)."""

    mode: Literal["hgq"] = Field(default="hgq", description="How weights and activations are represented.")
    beta: float = Field(default=1e-5, gt=0, description="Weight of the EBOPs in the loss, > 0.")
    bits0: int = Field(default=8, ge=1, le=12, description="Width without the sign that training starts from, in bits.")
    gamma: float = Field(default=1e-8, ge=0, description="Weight of the sum of all widths in the loss, >= 0.")
    granularity: Granularity = Field(
        default="weight",
        description="Which weights, and which values of an input, share one learned width.",
        exclude_if=lambda granularity: granularity == "weight",  # designs older than the field keep their keys
    )
    io_bits: int | None = Field(
        default=None,
        ge=1,
        le=24,
        description="Width of the network's input, in bits, the same for all its values; null: learned.",
        exclude_if=lambda bits: bits is None,
    )


Numbers = Annotated[FloatNumbers | FixedNumbers | HgqNumbers, Field(discriminator="mode")]


class QuantizerSettings(Section):
    """One quantiser of one layer; what is left out follows the network's numbers."""

    bits: Width | None = Field(
        default=None, description="Width with the sign, in bits (learned: at the start); 0 removes the value."
    )
    integer_bits: IntegerBits | Literal["auto"] | None = Field(
        default=None, description="Bits left of the binary point, with the sign, may be < 0; auto fits the data."
    )
    signed: bool | None = Field(
        default=None,
        description="Whether negative values are kept; a range that fits the data follows what calibration sees.",
    )
    granularity: Granularity | None = Field(default=None, description="What shares one format.")
    round_mode: RoundMode | None = Field(default=None, description="How values are rounded.")
    overflow_mode: OverflowMode | None = Field(default=None, description="What happens to values out of range.")
    learned: bool | None = Field(default=None, description="Whether training changes the width (HGQ).")

    @model_validator(mode="after")
    def _is_a_format(self) -> QuantizerSettings:
        found = [] if self.bits is None else _beyond(self.integer_bits, self.bits, "bits")
        if self.bits == 0 and self.learned:
            found.append((("learned",), "needs bits >= 1 to start from; bits: 0 removes the value for good"))
        refuse(found)
        return self


class LayerSettings(Section):
    """What one layer, or all layers that a pattern matches, do differently."""

    weight: QuantizerSettings = Field(default=QuantizerSettings(), description="The kernel.")
    bias: QuantizerSettings = Field(default=QuantizerSettings(), description="The bias.")
    input: QuantizerSettings = Field(default=QuantizerSettings(), description="What the layer reads.")
    output: QuantizerSettings | None = Field(default=None, description="What the layer gives; none leaves it exact.")
    table: QuantizerSettings = Field(default=QuantizerSettings(), description="The values of a function's table.")
    hard: bool = Field(
        default=False, description="Whether tanh and sigmoid become straight lines that saturate, without a table."
    )
    multiplier: bool = Field(default=False, description="Whether ReLU learns a power of two to multiply with.")
    prune: bool | dict[str, Any] | None = Field(
        default=None, description="false leaves the layer whole; a mapping changes the method's parameters."
    )


def _beyond(integer_bits: int | str | None, bits: int, name: str) -> Found:
    """Return the problem of a binary point right of the last bit; both widths count the sign."""
    if not isinstance(integer_bits, int) or integer_bits <= bits or bits == 0:
        return []
    return [(("integer_bits",), f"must be <= {name}={bits}, which counts the sign too; got {integer_bits}")]

"""What moves the weights of a recipe: the optimizer, and how weights decay beside its steps."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from weft.section import Section, with_default_tag


class AdamConfig(Section):
    """Adam, with the moments' usual rates (arXiv:1412.6980)."""

    name: Literal["adam"] = Field(default="adam", description="The optimizer.")


class SgdConfig(Section):
    """Stochastic gradient descent."""

    name: Literal["sgd"] = Field(default="sgd", description="The optimizer.")
    momentum: float = Field(default=0.9, ge=0, lt=1, description="Share of the last step that goes on, in [0, 1).")


class WeightDecayConfig(Section):
    """Weight decay in any p-norm, decoupled from the gradient (arXiv:2404.10824)."""

    p: float = Field(default=1.0, gt=0, description="The norm: 2 shrinks all weights alike, 1 and less make many zero.")
    decay: float = Field(
        default=1e-2, gt=0, description="Strength, > 0, multiplied with the learning rate of each step."
    )
    decayed: list[str] = Field(
        default=["*kernel"], min_length=1, description="Variables that decay, by path or pattern; the others do not."
    )


_Optimizer = Annotated[AdamConfig | SgdConfig, Field(discriminator="name")]

OptimizerConfig = Annotated[
    _Optimizer, BeforeValidator(with_default_tag("name"), json_schema_input_type=_Optimizer | Literal["adam", "sgd"])
]
"""An optimizer, told apart by `name`; the bare word stands for the optimizer with its defaults."""

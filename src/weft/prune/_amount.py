"""How much a method removes: a share of the weights, or all but n of every m."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

from pydantic import Field, model_validator

from weft.prune._base import Geometry, Method


def gives_way(field: str, *others: str) -> Callable[[Any], Any]:
    """Return a validator that drops the default of `field` where one of `others` is given in its place."""

    def drop(value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        given = cast(Mapping[str, Any], value)
        replaced = field not in given and any(given.get(name) is not None for name in others)
        return {**given, field: None} if replaced else given

    return drop


class Amount(Method):
    """Base of the methods that reach a sparsity given as a share, or as n weights kept of every m."""

    sparsity: float | None = Field(
        default=0.8, ge=0, lt=1, description="Share of the weights that are removed; none where n and m are given."
    )
    n: int | None = Field(default=None, ge=1, description="Weights kept of every m inputs, with m.")
    m: int | None = Field(default=None, ge=2, description="Consecutive inputs that form a group, with n.")

    _default = model_validator(mode="before")(gives_way("sparsity", "n", "m"))

    @model_validator(mode="after")
    def _one_amount(self) -> Amount:
        if (self.n is None) != (self.m is None):
            raise ValueError(f"n and m go together; got n={self.n}, m={self.m}")
        if self.n is not None and self.m is not None and self.n >= self.m:
            raise ValueError(f"n must be smaller than m, or nothing is pruned; got n={self.n}, m={self.m}")
        if (self.n is None) == (self.sparsity is None):
            raise ValueError(f"needs either sparsity, or n and m; got sparsity={self.sparsity}, n={self.n}, m={self.m}")
        return self

    def check(self, geometry: Geometry) -> str | None:
        if self.m is not None and geometry.n_in % self.m:
            return (
                f"its {geometry.n_in} inputs cannot be split into groups of m={self.m}; set m to a divisor of "
                f"{geometry.n_in}, or list the layer in skip"
            )
        return None

"""Continuous sparsification: a mask of sigmoids, which a rising temperature makes hard while training looks for it.

Source: Savarese et al., "Winning the Lottery with Continuous Sparsification", NeurIPS 2020, arXiv:1912.04427. The mask
is sigmoid(beta s) / sigmoid(s_0), so it starts at 1. The factor 1 / sigmoid(s_0) stays on the weights that the hard
mask keeps, as in the authors' code: without it they would shrink when the masks are fixed.
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal

from pydantic import Field

from weft import ops
from weft.prune._base import Clock, Geometry, Method, Slot, State
from weft.types import Tensor


class Cs(Method):
    """Continuous sparsification (NeurIPS 2020): a soft mask is learned that hardens as its temperature rises."""

    rescales: ClassVar[bool] = True

    method: Literal["cs"] = Field(default="cs", description="The method.")
    final_temperature: float = Field(
        default=200.0, ge=1, description="Beta in the last epoch of a round; it starts from 1 and grows geometrically."
    )
    mask_init: float = Field(default=0.0, description="What the mask's sigmoids start from (s_0 of the paper).")
    l1: float = Field(default=1e-9, ge=0, description="Weight of the sum of the mask's sigmoids in the loss.")

    def slots(self, geometry: Geometry) -> dict[str, Slot]:
        return {"s": Slot(geometry.shape, initial=self.mask_init, trainable=True)}

    def apply(self, w: Tensor, state: State, clock: Clock) -> tuple[Tensor, Tensor]:
        return w * (self._sigmoid(state, clock) * self._factor), self._alive(w, state)

    def penalty(self, w: Tensor, state: State, clock: Clock) -> Tensor:
        return self.l1 * ops.sum(self._sigmoid(state, clock))

    def between_rounds(self, w: Tensor, state: State) -> dict[str, Tensor]:
        return {"s": ops.minimum(self.final_temperature * state["s"], self.mask_init)}

    def harden(self, w: Tensor, state: State, clock: Clock) -> tuple[Tensor, Tensor]:
        return w, self._alive(w, state) * self._factor

    @property
    def _factor(self) -> float:
        """1 / sigmoid(s_0): what an open mask multiplies its weight by."""
        return 1.0 + math.exp(-self.mask_init)

    def _alive(self, w: Tensor, state: State) -> Tensor:
        return ops.cast(state["s"] > 0, w.dtype)

    def _sigmoid(self, state: State, clock: Clock) -> Tensor:
        last = clock.epochs - 1.0
        part = ops.clip(1.0 - (last - clock.epoch) / ops.maximum(last, 1.0), 0.0, 1.0)  # a single epoch is the last
        return ops.sigmoid(self.final_temperature**part * state["s"])

"""AutoSparse: weights shrink by a learned threshold, and what falls below it still gets part of its gradient.

Source: Kundu et al., "AutoSparse: Towards Automated Sparse Training of Deep Neural Networks", 2023, arXiv:2304.06941.
The kernel in use is sign(w) relu(|w| - sigmoid(T)); its gradient is 1 above the threshold, and below it a share that
decays during a round. When the masks are fixed, the shrunken weights take the place of the weights.
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal

from pydantic import Field

from weft import ops
from weft.prune._base import Clock, Geometry, Method, Slot, State
from weft.types import Tensor


class AutoSparse(Method):
    """AutoSparse (arXiv:2304.06941): soft thresholds are learned, and the gradient of pruned weights fades out."""

    rescales: ClassVar[bool] = True

    method: Literal["autosparse"] = Field(default="autosparse", description="The method.")
    alpha: float = Field(default=0.5, ge=0, le=1, description="Share of its gradient that a pruned weight starts with.")
    alpha_reset_epoch: int | None = Field(
        default=None, ge=0, description="Epoch of a round, from 0, from which pruned weights get no gradient at all."
    )
    granularity: Literal["tensor", "row", "weight"] = Field(
        default="row", description="What shares one threshold: a layer, an output or a weight."
    )
    threshold_init: float = Field(
        default=-5.0, description="What thresholds start from; their sigmoid is compared with the magnitudes."
    )
    threshold_decay: float = Field(
        default=3e-5, ge=0, description="Weight decay of the thresholds; their zero stands for a magnitude of 0.5."
    )

    def slots(self, geometry: Geometry) -> dict[str, Slot]:
        shape = {"tensor": (1, 1), "row": (geometry.n_out, 1), "weight": geometry.shape}[self.granularity]
        return {"threshold": Slot(shape, initial=self.threshold_init, trainable=True)}

    def apply(self, w: Tensor, state: State, clock: Clock) -> tuple[Tensor, Tensor]:
        shrunk, alive = self._shrink(w, state)
        sign = ops.stop_gradient(ops.sign(w))
        slope = ops.where(alive > 0, 1.0, self._alpha(clock)) * (w - sign * ops.sigmoid(state["threshold"]))
        return ops.stop_gradient(shrunk) + (slope - ops.stop_gradient(slope)), alive

    def penalty(self, w: Tensor, state: State, clock: Clock) -> Tensor:
        return 0.5 * self.threshold_decay * ops.sum(ops.square(state["threshold"]))

    def harden(self, w: Tensor, state: State, clock: Clock) -> tuple[Tensor, Tensor]:
        return self._shrink(w, state)

    def _shrink(self, w: Tensor, state: State) -> tuple[Tensor, Tensor]:
        """Return the shrunken kernel, and 1 where a weight exceeds its threshold."""
        excess = ops.abs(w) - ops.sigmoid(state["threshold"])
        return ops.sign(w) * ops.relu(excess), ops.cast(excess > 0, w.dtype)

    def _alpha(self, clock: Clock) -> Tensor:
        """Return the share of the gradient in this epoch: the larger of a cosine and a sigmoid that go from 1 to 0."""
        part = clock.epoch / ops.maximum(clock.epochs, 1.0)
        cosine = (1.0 + ops.cos(math.pi * part)) / 2.0
        sigmoid = 1.0 - ops.sigmoid(12.0 * part - 6.0)
        alpha = self.alpha * ops.maximum(cosine, sigmoid)
        return alpha if self.alpha_reset_epoch is None else ops.where(clock.epoch < self.alpha_reset_epoch, alpha, 0.0)

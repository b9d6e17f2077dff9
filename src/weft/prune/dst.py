"""Dynamic sparse training: a weight lives while its magnitude exceeds a threshold that is learned.

Source: Liu et al., "Dynamic Sparse Training", ICLR 2020, arXiv:2005.06870. The penalty pushes thresholds up. They are
kept >= 0, and a layer that would lose more than `max_pruned` of its weights starts again with thresholds of 0: in both
cases what counts as 0 is moved to where the trained variable is.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from weft import ops
from weft.prune._base import Clock, Geometry, Method, Slot, State
from weft.types import Tensor


def step_function(x: Tensor) -> Tensor:
    """Return 1 where x > 0, else 0; its gradient is 2 - 4|x| up to 0.4, 0.4 up to 1, and 0 beyond."""
    size = ops.abs(x)
    slope = ops.where(size <= 0.4, 2.0 - 4.0 * size, ops.where(size <= 1.0, 0.4, 0.0))
    smooth = ops.stop_gradient(slope) * x
    return ops.cast(x > 0, x.dtype) + (smooth - ops.stop_gradient(smooth))


class Dst(Method):
    """Dynamic sparse training (arXiv:2005.06870): thresholds are trained together with the weights."""

    method: Literal["dst"] = Field(default="dst", description="The method.")
    alpha: float = Field(default=5e-6, ge=0, description="Weight of the sum of exp(-threshold) in the loss.")
    granularity: Literal["tensor", "row", "weight"] = Field(
        default="row", description="What shares one threshold: a layer, an output or a weight."
    )
    max_pruned: float = Field(
        default=0.99, gt=0, le=1, description="Share of a layer's weights beyond which its thresholds return to 0."
    )

    def slots(self, geometry: Geometry) -> dict[str, Slot]:
        shape = {"tensor": (1, 1), "row": (geometry.n_out, 1), "weight": geometry.shape}[self.granularity]
        return {"threshold": Slot(shape, trainable=True), "origin": Slot(shape)}

    def apply(self, w: Tensor, state: State, clock: Clock) -> tuple[Tensor, Tensor]:
        alive = step_function(ops.abs(w) - self._threshold(w, state))
        return w * alive, ops.stop_gradient(alive)

    def penalty(self, w: Tensor, state: State, clock: Clock) -> Tensor:
        return self.alpha * ops.sum(ops.exp(-self._threshold(w, state)))

    def step(self, w: Tensor, state: State, clock: Clock) -> dict[str, Tensor]:
        moved = self._threshold(w, state) != state["threshold"] - state["origin"]
        return {"origin": ops.where(moved, state["threshold"], state["origin"])}

    def _threshold(self, w: Tensor, state: State) -> Tensor:
        """Return the thresholds, >= 0, and 0 if they would prune too much; the gradient passes as if neither were."""
        trained = state["threshold"] - state["origin"]
        value = ops.relu(trained)
        n_pruned = ops.sum(ops.cast(ops.abs(w) <= value, "int32"))
        most = int(self.max_pruned * (w.shape[0] * w.shape[1]) + 1e-9)
        value = ops.where(n_pruned > most, 0.0, value)
        return ops.stop_gradient(value) + (trained - ops.stop_gradient(trained))

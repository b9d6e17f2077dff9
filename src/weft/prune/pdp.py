"""Parameter-free differentiable pruning: a soft mask follows from the weights and a sparsity that grows.

Source: Cho et al., "PDP: Parameter-free Differentiable Pruning is All You Need", NeurIPS 2023, arXiv:2305.11203. In
each step the threshold t lies midway between the largest magnitude to prune and the smallest to keep, and a weight is
multiplied by sigmoid((w^2 - t^2) / temperature). The gradient flows through this mask; t is a constant of the step,
for otherwise the two weights beside it would receive the gradient of all.

Deviations: a train stage shorter than 1 / epsilon epochs ramps faster, so that it ends with the sparsity that was asked
for; and the final mask keeps the exact count where magnitudes are equal, the earlier weights first.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from weft import ops
from weft.prune._amount import Amount
from weft.prune._base import Clock, Geometry, Slot, State
from weft.prune._groups import keep_largest, threshold
from weft.types import Tensor


class Pdp(Amount):
    """Parameter-free differentiable pruning (arXiv:2305.11203): a global sparsity, N:M, or whole outputs."""

    method: Literal["pdp"] = Field(default="pdp", description="The method.")
    granularity: Literal["weight", "row"] = Field(
        default="weight", description="What is pruned: weights, or outputs; then list the model's last layer in skip."
    )
    epsilon: float = Field(default=0.015, gt=0, le=1, description="Part of the sparsity that each epoch adds.")
    temperature: float = Field(default=1e-5, gt=0, description="Softness of the mask, in units of weights squared.")

    @model_validator(mode="after")
    def _rows_are_whole(self) -> Pdp:
        if self.m is not None and self.structured:
            raise ValueError(f"granularity: row removes whole outputs, n and m do not; got n={self.n}, m={self.m}")
        return self

    @property
    def structured(self) -> bool:  # type: ignore[override]
        """Whether whole outputs are removed."""
        return self.granularity == "row"

    @property
    def wants_budget(self) -> bool:  # type: ignore[override]
        """Whether the slot `share` has to be set: a global sparsity falls on layers by their weights, N:M does not."""
        return self.m is None

    def slots(self, geometry: Geometry) -> dict[str, Slot]:
        return {"share": Slot((), initial=1.0 - self.n / self.m if self.n and self.m else self.sparsity or 0.0)}

    def apply(self, w: Tensor, state: State, clock: Clock) -> tuple[Tensor, Tensor]:
        size = self._sizes(ops.stop_gradient(w))
        pruned = self._pruned(size, state, clock)
        square = ops.sum(w**2, axis=1)[None, :] if self.structured else ops.reshape(w**2, size.shape)
        soft = ops.sigmoid((square - threshold(size, pruned) ** 2) / self.temperature)
        soft = ops.where(pruned > 0, soft, 1.0)
        hard = ops.cast(soft >= 0.5, w.dtype)
        return w * self._spread(soft, w), ops.stop_gradient(self._spread(hard, w))

    def harden(self, w: Tensor, state: State, clock: Clock) -> tuple[Tensor, Tensor]:
        size = self._sizes(w)
        kept = size.shape[-1] - self._pruned(size, state, clock)
        return w, self._spread(keep_largest(size, kept), w)

    def _sizes(self, w: Tensor) -> Tensor:
        """Return what competes, in groups: magnitudes of weights, or norms of rows; (groups, size)."""
        if self.structured:
            return ops.sqrt(ops.sum(w**2, axis=1))[None, :]
        return ops.reshape(ops.abs(w), (-1, self.m) if self.m else (1, -1))

    def _spread(self, mask: Tensor, w: Tensor) -> Tensor:
        """Return a mask of what competes as the mask of the weights, (n_out, n)."""
        if self.structured:
            return ops.broadcast_to(ops.transpose(mask), w.shape)
        return ops.reshape(mask, w.shape)

    def _pruned(self, size: Tensor, state: State, clock: Clock) -> Tensor:
        """Return how many of each group are pruned now, always leaving one."""
        pace = ops.maximum(self.epsilon, 1.0 / ops.maximum(clock.epochs, 1.0))
        ratio = state["share"] * ops.minimum(1.0, pace * (clock.epoch + 1.0))
        count = size.shape[-1]
        return ops.minimum(ops.round(ratio * count), count - 1.0)

"""Activation pruning: a neuron whose output is rarely positive is removed, with its weights and its bias.

Source: arXiv:1903.04476. Time is counted in training batches, and a neuron that was removed stays removed.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from weft import ops
from weft.prune._base import Clock, Geometry, Method, Seen, Slot, State
from weft.types import Tensor


class ActivationPruning(Method):
    """Activation pruning (arXiv:1903.04476): neurons that are positive too rarely are removed, biases with them."""

    wants_batches: ClassVar[bool] = True
    structured: ClassVar[bool] = True

    method: Literal["ap"] = Field(default="ap", description="The method.")
    threshold: float = Field(
        default=0.2, ge=0, le=1, description="Share of positive outputs below which a neuron is removed."
    )
    t_start: int = Field(default=100, ge=0, description="Batches of the train stage before outputs are counted.")
    t_delta: int = Field(default=100, ge=1, description="Batches between two decisions.")

    def check(self, geometry: Geometry) -> str | None:
        if geometry.n_out == 1:
            return "it has one output only, and this method removes whole outputs"
        return None

    def slots(self, geometry: Geometry) -> dict[str, Slot]:
        row = (geometry.n_out, 1)
        return {"mask": Slot(row, initial=1.0), "active": Slot(row), "waited": Slot(()), "counted": Slot(())}

    def apply(self, w: Tensor, state: State, clock: Clock) -> tuple[Tensor, Tensor]:
        return w * state["mask"], ops.broadcast_to(state["mask"], w.shape)

    def observe(self, w: Tensor, state: State, seen: Seen) -> dict[str, Tensor]:
        counts = state["waited"] >= self.t_start
        active = state["active"] + ops.where(counts, ops.reshape(seen.active, state["active"].shape), 0.0)
        counted = state["counted"] + ops.cast(counts, "float32")
        decides = counted >= self.t_delta
        dies = ops.logical_and(decides, active / self.t_delta < self.threshold)
        return {
            "mask": ops.where(dies, 0.0, state["mask"]),
            "active": ops.where(decides, 0.0, active),
            "waited": ops.minimum(state["waited"] + 1, self.t_start),
            "counted": ops.where(decides, 0.0, counted),
        }

"""Iterative magnitude pruning: each round removes the smallest of the weights still alive.

Sources: Frankle & Carbin, "The Lottery Ticket Hypothesis", ICLR 2019, arXiv:1803.03635; rewinding to the weights of an
early epoch: Frankle et al., "Stabilizing the Lottery Ticket Hypothesis", arXiv:1903.01611 and arXiv:1912.05671. Rounds
and rewinding belong to the stages of training; a mask changes only between rounds. Weights are compared within their
kernel, so that each layer loses the same share.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field

from weft import ops
from weft.prune._base import Clock, Geometry, Method, Slot, State
from weft.types import Tensor


def magnitude_mask(w: Tensor, alive: Tensor, fraction: float) -> Tensor:
    """Return the mask after one more round of one kernel.

    Args:
        w: The trained kernel, any shape.
        alive: The mask so far, same shape, non-zero where a weight is still there.
        fraction: Share of the weights still alive that is *removed*, in (0, 1).

    Returns:
        Mask of the shape and type of `alive`: the `round(fraction * n_alive)` smallest magnitudes are gone; of equal
        ones the later goes first. A weight that was gone stays gone.
    """
    import numpy as np

    kept = ops.reshape(ops.not_equal(alive, 0), (-1,))
    n_alive = ops.sum(ops.cast(kept, "int32"))
    n_removed = np.rint(fraction * np.arange(kept.shape[0] + 1)).astype(np.int32)  # by n_alive; a product rounds
    size = ops.where(kept, ops.abs(ops.reshape(w, (-1,))), float("inf"))
    later_first = ops.argsort(ops.flip(size))
    rank = ops.flip(ops.argsort(later_first))  # 0 = the first to go
    gone = rank < ops.take(ops.convert_to_tensor(n_removed), n_alive)
    return ops.where(ops.reshape(gone, alive.shape), ops.zeros_like(alive), alive)


class Magnitude(Method):
    """Iterative magnitude pruning (arXiv:1803.03635): a share of the weights left goes between two rounds."""

    method: Literal["magnitude"] = Field(default="magnitude", description="The method.")
    fraction: float = Field(
        default=0.2, gt=0, lt=1, description="Share of the weights still alive that is removed after each round."
    )
    scope: Literal["layer"] = Field(default="layer", description="Among which weights the smallest are sought.")

    @classmethod
    def steered(cls) -> bool:
        return True

    @classmethod
    def at(cls, sparsity: float) -> Self:
        """Return the method that removes a share of the weights between two rounds."""
        return cls(fraction=sparsity)

    def slots(self, geometry: Geometry) -> dict[str, Slot]:
        return {"mask": Slot(geometry.shape, initial=1.0)}

    def apply(self, w: Tensor, state: State, clock: Clock) -> tuple[Tensor, Tensor]:
        return w * state["mask"], state["mask"]

    def between_rounds(self, w: Tensor, state: State) -> dict[str, Tensor]:
        return {"mask": magnitude_mask(w, state["mask"], self.fraction)}

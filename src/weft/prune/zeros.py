"""What is zero stays zero: the masks of an earlier training go on, and nothing else is removed.

A weight of exactly 0 passes no gradient here, so it keeps its value under any optimizer without weight decay of its
own; no mask has to be kept beside the weights. Made for networks that were pruned before, also elsewhere.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from weft import ops
from weft.prune._base import Clock, Method, Seen, State
from weft.types import Tensor


class Zeros(Method):
    """Weights that are 0 when training begins stay 0; all others are trained."""

    one_shot = True

    method: Literal["zeros"] = Field(default="zeros", description="The method.")

    def apply(self, w: Tensor, state: State, clock: Clock) -> tuple[Tensor, Tensor]:
        mask = ops.cast(ops.not_equal(w, 0), w.dtype)
        return w * mask, mask

    def at_once(self, w: Tensor, state: State, seen: Seen) -> dict[str, Tensor]:
        return {}

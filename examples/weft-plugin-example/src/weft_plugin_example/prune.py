"""A pruning method: every `keep`-th weight along a diagonal stays, whatever its value."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from weft import ops
from weft.prune import Clock, Geometry, Method, Slot, State
from weft.types import Tensor


class Checkerboard(Method):
    """Keep one weight of every `keep`, in a pattern that shifts by one from output to output."""

    method: Literal["checkerboard"] = Field(default="checkerboard", description="The method.")
    keep: int = Field(default=2, ge=1, description="One weight is kept of so many.")

    def check(self, geometry: Geometry) -> str | None:
        return f"its {geometry.n} inputs are fewer than keep={self.keep}" if geometry.n < self.keep else None

    def slots(self, geometry: Geometry) -> dict[str, Slot]:
        return {}

    def apply(self, w: Tensor, state: State, clock: Clock) -> tuple[Tensor, Tensor]:
        rows, columns = w.shape
        mask = (np.add.outer(np.arange(rows), np.arange(columns)) % self.keep == 0).astype("float32")
        mask = ops.cast(ops.convert_to_tensor(mask), w.dtype)
        return w * mask, mask

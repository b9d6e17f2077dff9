"""Pruning by weights and activations: the products of a weight and the norm of its input are compared within an output.

Source: Sun et al., "A Simple and Effective Pruning Approach for Large Language Models", ICLR 2024, arXiv:2306.11695.
The score of a weight is |w| times the L2 norm of its input over some training batches. Once these have been seen, the
lowest scores of each output are pruned, in one shot, and the mask stays. `wanda_mask` does the same without training.

Deviation: an output always keeps one weight.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from weft import ops
from weft.errors import ConfigError, ShapeError
from weft.prune._amount import Amount
from weft.prune._base import Clock, Geometry, Seen, Slot, State
from weft.prune._groups import keep_largest
from weft.types import Tensor


def wanda_mask(
    w: Tensor, square: Tensor, sparsity: float | Tensor | None = None, n: int | None = None, m: int | None = None
) -> Tensor:
    """Return the mask, 0 or 1, that keeps the weights with the largest |w| * sqrt(square) of each output.

    Args:
        w: Weights, (n_out, n), the input channel running fastest.
        square: Sum, or mean, of the squares of each weight's input over some samples, (n,) or (n_out, n).
        sparsity: Share of each output's weights that is pruned; at least one is kept.
        n: Instead of `sparsity`: weights kept of every `m` consecutive inputs.
        m: Inputs that form a group.

    Raises:
        ConfigError: Neither a sparsity nor n and m are given, or both are.
        ShapeError: The shapes do not fit together, or `m` does not divide the weights of an output.
    """
    shape = tuple(w.shape)
    if (m is None) == (sparsity is None) or (n is None) != (m is None):
        raise ConfigError(f"wanda_mask needs either sparsity, or n and m; got sparsity={sparsity}, n={n}, m={m}")
    if len(shape) != 2 or tuple(square.shape) not in (shape, shape[1:]):
        raise ShapeError(
            f"wanda_mask needs weights (n_out, n) and squares (n,) or (n_out, n); got {shape} and {tuple(square.shape)}"
        )
    size = shape[1] if m is None else m
    if shape[1] % size:
        raise ShapeError(f"wanda_mask cannot split {shape[1]} weights of an output into groups of m={m}")
    score = ops.reshape(ops.abs(w) * ops.sqrt(square), (-1, size))
    kept = n if n is not None else ops.maximum(size - ops.round(ops.multiply(sparsity, float(size))), 1.0)
    return ops.reshape(keep_largest(score, kept), shape)


class Wanda(Amount):
    """Pruning by weights and activations (arXiv:2306.11695): one shot, once the inputs of some batches are known."""

    method: Literal["wanda"] = Field(default="wanda", description="The method.")
    wants_batches = True
    one_shot = True
    budget: Literal["uniform", "global"] = Field(
        default="uniform",
        description="Whether each layer loses `sparsity` of its weights, or what lies below one magnitude for all.",
    )
    t_start: int = Field(default=0, ge=0, description="Training batches before the first whose inputs count.")
    t_delta: int = Field(default=100, ge=1, description="Training batches whose inputs count.")

    @model_validator(mode="after")
    def _groups_need_no_budget(self) -> Wanda:
        if self.m is not None and self.budget == "global":
            raise ValueError(f"budget: global shares out a sparsity, n and m leave none; got n={self.n}, m={self.m}")
        return self

    @property
    def wants_budget(self) -> bool:  # type: ignore[override]
        """Whether the slot `share` has to be set."""
        return self.budget == "global"

    def check(self, geometry: Geometry) -> str | None:
        if self.sparsity is not None and self.budget == "uniform" and round(self.sparsity * geometry.n) == geometry.n:
            return (
                f"sparsity {self.sparsity} leaves none of the {geometry.n} weights of an output; the most is "
                f"{1 - 1 / geometry.n:.4g}"
            )
        return super().check(geometry)

    def slots(self, geometry: Geometry) -> dict[str, Slot]:
        slots = {"batches": Slot(()), "square": Slot(geometry.shape), "alive": Slot(geometry.shape, initial=1.0)}
        return slots if self.sparsity is None else {**slots, "share": Slot((), initial=self.sparsity)}

    def apply(self, w: Tensor, state: State, clock: Clock) -> tuple[Tensor, Tensor]:
        return w * state["alive"], state["alive"]

    def observe(self, w: Tensor, state: State, seen: Seen) -> dict[str, Tensor]:
        batches = state["batches"] + 1.0
        end = self.t_start + self.t_delta
        counts = ops.logical_and(batches > self.t_start, batches <= end)
        square = state["square"] + ops.where(counts, seen.square, 0.0)
        alive = ops.cond(
            ops.equal(batches, end),
            lambda: wanda_mask(w, square, state.get("share"), self.n, self.m),
            lambda: state["alive"],
        )
        return {"batches": batches, "square": square, "alive": alive}

    def at_once(self, w: Tensor, state: State, seen: Seen) -> dict[str, Tensor]:
        end = ops.ones_like(state["batches"]) * (self.t_start + self.t_delta)
        return {"alive": wanda_mask(w, seen.square, state.get("share"), self.n, self.m), "batches": end}

    def harden(self, w: Tensor, state: State, clock: Clock) -> tuple[Tensor, Tensor]:
        """Prune by fewer batches, or by the weights alone, where training was too short to see them all."""
        seen = ops.where(ops.sum(state["square"]) > 0, state["square"], 1.0)
        alive = ops.cond(
            state["batches"] < self.t_start + self.t_delta,
            lambda: wanda_mask(w, seen, state.get("share"), self.n, self.m),
            lambda: state["alive"],
        )
        return w, alive

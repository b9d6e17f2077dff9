"""The modified differential method of multipliers: a constraint on the kernel is met while the loss is minimised.

Source: Platt and Barr, "Constrained Differential Optimization", NIPS 1987. The loss gains multiplier * C + damping / 2
* C^2 with a signed C that is 0 where the constraint holds; training descends in the weights, and each step ascends in
the multiplier, which so rises while a kernel is too dense and falls while it is too sparse. Of an inequality the
multiplier stays >= 0, and the quadratic term acts only while it is violated.

C is the relative difference (alive - goal) / (alive + goal): unlike the difference of two sparsities it weighs too
little and too much alike, so that the multiplier comes down as fast as it went up. `weft.prune._metrics` says how C has
a gradient. What presses on a weight at 0 must not throw it over all that counts as 0 in one step of the optimizer; in
Adam it does not, with plain gradient descent it means a small learning rate.
"""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field, model_validator

from weft import ops
from weft.prune import _metrics, _patterns
from weft.prune._amount import gives_way
from weft.prune._base import Clock, Geometry, Method, Seen, Slot, State
from weft.types import Tensor

_NEEDS = {"dsp": {"reuse_factor"}, "bram": {"reuse_factor", "weight_bits"}, "paca": {"patterns"}}
"""The fields that each metric needs; they mean nothing to the others."""


class Mdmm(Method):
    """Constrained training (Platt and Barr, NIPS 1987): each kernel is driven to a sparsity or to a count of resources.

    For metric `ebops` each training batch tells what a weight costs at the widths that its quantisers have by then, so
    that widths may be learnt at the same time; before the first one nothing is driven anywhere.
    """

    method: Literal["mdmm"] = Field(default="mdmm", description="The method.")
    metric: Literal["unstructured", "structured", "dsp", "bram", "ebops", "paca"] = Field(
        default="unstructured",
        description="What is counted: weights; outputs (list the last layer in skip); DSPs or BRAMs of hls4ml with "
        "strategy Resource; effective bit operations of the weights, without biases; weights outside the main patterns "
        "of convolution windows.",
    )
    constraint: Literal["equal", "less", "greater"] = Field(
        default="equal", description="Whether the sparsity, or the count, is met, is an upper or is a lower bound."
    )
    sparsity: float | None = Field(
        default=0.9, gt=0, lt=1, description="Share that is removed of what each kernel has; of each window for paca."
    )
    count: int | None = Field(default=None, ge=1, description="Instead of sparsity: how many each kernel keeps.")
    reuse_factor: int | None = Field(default=None, ge=1, description="Products per DSP, for dsp and bram.")
    weight_bits: int | None = Field(default=None, ge=1, description="Width of a weight, for bram.")
    patterns: int | None = Field(default=None, ge=1, description="How many patterns are dominant, for paca.")
    epsilon: float = Field(
        default=0.05,
        gt=0,
        lt=1,
        description="What counts as 0, as a part of the kernel's typical magnitude (the mean of |w| weighed by |w|) at "
        "the start of the train stage.",
    )
    damping: float = Field(default=1.0, ge=0, description="Weight of the squared constraint in the loss.")
    constraint_lr: float = Field(default=1e-2, gt=0, description="Learning rate of the multipliers.")

    _default = model_validator(mode="before")(gives_way("sparsity", "count"))

    @model_validator(mode="after")
    def _makes_sense(self) -> Mdmm:
        if (self.sparsity is None) == (self.count is None):
            raise ValueError(f"needs either sparsity or count; got sparsity={self.sparsity}, count={self.count}")
        for name in ("reuse_factor", "weight_bits", "patterns"):
            needed, value = name in _NEEDS.get(self.metric, ()), getattr(self, name)
            if needed and value is None:
                raise ValueError(f"metric: {self.metric} needs {name}")
            if value is not None and not needed:
                raise ValueError(f"{name} means nothing to metric: {self.metric}; got {name}={value}")
        if self.metric == "paca" and (self.sparsity is None or self.constraint != "equal"):
            raise ValueError(
                "metric: paca puts each window into a pattern, which takes a sparsity and constraint: equal; got "
                f"sparsity={self.sparsity}, constraint: {self.constraint}"
            )
        return self

    @property
    def wants_batches(self) -> bool:  # type: ignore[override]
        """Whether the slot `cost` has to be kept up to date."""
        return self.metric == "ebops"

    @property
    def wants_cost(self) -> bool:  # type: ignore[override]
        """Whether a batch has to tell what weights cost."""
        return self.metric == "ebops"

    @property
    def structured(self) -> bool:  # type: ignore[override]
        """Whether whole outputs are removed."""
        return self.metric == "structured"

    def check(self, geometry: Geometry) -> str | None:
        metric = f"metric '{self.metric}'"
        if self.metric == "paca":
            total = math.prod(geometry.taps)
            if total == 1:
                return f"{metric} needs a convolution with a window of more than one weight; list the layer in skip"
            if total > _patterns.MOST_POSITIONS:
                return f"{metric} handles windows of up to {_patterns.MOST_POSITIONS} weights, and this has {total}"
        else:
            weights = geometry.n_out * geometry.n
            total = math.ceil(weights / self._group(geometry.n))
            if self.reuse_factor is not None and weights % self.reuse_factor:
                return f"reuse_factor {self.reuse_factor} does not divide its {weights} weights; set it to a divisor"
        if self.count is not None and self.metric != "ebops" and self.count >= total + (self.constraint == "greater"):
            return f"count {self.count} is not reached by removing anything: {metric} counts {total} in it"
        if self.sparsity is not None and round(self.sparsity * total) == 0:
            return f"sparsity {self.sparsity} removes nothing of the {total} that {metric} counts in it"
        return None

    def slots(self, geometry: Geometry) -> dict[str, Slot]:
        slots = {"multiplier": Slot(()), "scale": Slot(())}
        if self.metric == "ebops":
            slots["cost"] = Slot(geometry.shape)
        if self.patterns is not None:
            windows = geometry.n_out * geometry.n_in
            slots["patterns"] = Slot((min(self.patterns, windows), math.prod(geometry.taps)))
        return slots

    def apply(self, w: Tensor, state: State, clock: Clock) -> tuple[Tensor, Tensor]:
        if self.metric == "paca":
            return w, self._nearest(w, state)
        group = self._group(w.shape[1])
        size = _metrics.magnitudes(ops.stop_gradient(w), group)
        alive = ops.cast(size > self.epsilon * self._scale(size, state), w.dtype)
        return w, _metrics.spread(alive, group, w.shape)

    def penalty(self, w: Tensor, state: State, clock: Clock) -> Tensor:
        violation = self._violation(w, state)
        violated = violation if self.constraint == "equal" else ops.relu(violation)
        return state["multiplier"] * violation + self.damping / 2.0 * violated**2

    def step(self, w: Tensor, state: State, clock: Clock) -> dict[str, Tensor]:
        multiplier = state["multiplier"] + self.constraint_lr * self._violation(w, state)
        size = _metrics.magnitudes(w, self._group(w.shape[1]))
        return {
            "multiplier": multiplier if self.constraint == "equal" else ops.relu(multiplier),
            "scale": self._scale(size, state),
            **({"patterns": self._dominant(w, state)} if self.metric == "paca" else {}),
        }

    def observe(self, w: Tensor, state: State, seen: Seen) -> dict[str, Tensor]:
        return {} if seen.cost is None else {"cost": seen.cost}

    def _violation(self, w: Tensor, state: State) -> Tensor:
        """Return the constraint, a scalar: 0 where it is met exactly, > 0 where it is violated."""
        size = _metrics.magnitudes(w, self._group(w.shape[1]))
        scale = self._scale(size, state)
        weight = ops.reshape(state["cost"], (-1,)) if self.metric == "ebops" else ops.ones_like(size)
        if self.metric == "paca":
            inside = ops.reshape(self._nearest(w, state), (-1,))
            size, goal = ops.where(inside > 0, float("inf"), size), ops.sum(inside)
        else:
            total = ops.sum(weight)
            goal = ops.minimum(self.count or ops.maximum(total - ops.round(total * self.sparsity), 1.0), total)
        too_much = _metrics.deviation(size, weight, goal, scale, self.epsilon)
        at_least = self.constraint == ("less" if self.count is None else "greater")
        return -too_much if at_least else too_much

    def _group(self, n: int) -> int:
        """Return how many consecutive weights form a group, `n` being those of an output."""
        if self.metric == "structured":
            return n
        if self.metric == "bram":
            return _metrics.bram_group(self.reuse_factor or 1, self.weight_bits or 1)
        return self.reuse_factor or 1

    @staticmethod
    def _scale(size: Tensor, state: State) -> Tensor:
        """Return the typical magnitude at the first step of the train stage."""
        return ops.where(state["scale"] > 0, state["scale"], _metrics.typical(ops.stop_gradient(size)))

    def _dominant(self, w: Tensor, state: State) -> Tensor:
        """Return the dominant patterns, chosen at the first step of the train stage."""
        known = state["patterns"]
        count, positions = known.shape
        kept = max(positions - round(self.sparsity * positions), 1)
        windows = _patterns.windows(ops.stop_gradient(w), positions)
        return ops.cond(ops.any(known > 0), lambda: known, lambda: _patterns.dominant(windows, kept, count))

    def _nearest(self, w: Tensor, state: State) -> Tensor:
        """Return each window's pattern as a mask, (n_out, n)."""
        patterns = self._dominant(w, state)
        windows = _patterns.windows(ops.stop_gradient(w), patterns.shape[1])
        return _patterns.matrix(_patterns.nearest(windows, patterns), w.shape)

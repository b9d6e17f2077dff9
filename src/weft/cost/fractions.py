"""Shares of what a part has: of each resource, and their mean, which SNAC-Pack searches by (arXiv:2605.16138).

The counts are those of the cost models that decide; this one divides. The mean of four shares says little by itself
(one percent of the DSP slices is no percent of the look-up tables), and is here to compare with.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import get_args

from weft.config import Part, find_part
from weft.cost._base import CostInput, CostModel, Target, providing, register, require
from weft.objectives import SHARES
from weft.types import Estimate, Quantity, Stage


@register
class Fractions:
    """Shares of the target's part, by the counts of other cost models."""

    name = "fractions"
    provides = (*SHARES, "avg_resource")

    def supports(self, design: CostInput) -> str | None:
        return next(filter(None, (model.supports(design) for model in _models(()))), None)

    def estimate(self, designs: Sequence[CostInput], target: Target) -> list[Estimate]:
        return [self._estimate(design, target) for design in designs]

    def _estimate(self, design: CostInput, target: Target) -> Estimate:
        among = getattr(target, "among", ())
        if not among:
            require(self, design)
        counts = dict[str, Quantity]()
        for resource, model in zip(SHARES.values(), _models(among), strict=True):
            counts[resource] = design.ask(model, target)[resource]
        return Estimate(quantities=shares_of(counts, target.part))


def shares_of(counts: Mapping[str, Quantity], part: str) -> dict[str, Quantity]:
    """Return the shares of a part's resources, and their mean, by name; the counts are those of one source."""
    found = find_part(part)
    shares = {name: _share(counts[resource], resource, found) for name, resource in SHARES.items()}
    return {**shares, "avg_resource": _mean(shares.values(), found)}


def _models(among: Sequence[str]) -> list[CostModel]:
    return [providing(resource, among) for resource in SHARES.values()]


def _share(count: Quantity, resource: str, part: Part) -> Quantity:
    capacity = getattr(part, resource)
    source = f"{count.source}; of {capacity:,} on {part.device}"
    if count.value is None or (capacity == 0 and count.value > 0):
        reason = (
            count.reason if count.value is None else f"{part.device} has no {resource}, and {count.value:g} are used"
        )
        return Quantity(value=None, unit="fraction", stage=count.stage, source=source, reason=reason)
    low, value, high = (None if end is None else end / max(capacity, 1) for end in (count.low, count.value, count.high))
    strain, reason = part.strain({resource: count.value}).get(resource, ""), count.reason or ""
    if strain not in reason:  # synthesis said it already
        reason = "; ".join(filter(None, (strain, reason)))
    return count.model_copy(
        update={"low": low, "value": value, "high": high, "unit": "fraction", "source": source,
                "reason": reason or None}
    )  # fmt: skip


def _mean(shares: Iterable[Quantity], part: Part) -> Quantity:
    found = list(shares)
    stages: tuple[Stage, ...] = get_args(Stage)
    stage = min(found, key=lambda one: stages.index(one.stage)).stage
    source = f"mean of the shares of LUT, FF, DSP and BRAM of {part.device}"
    missing = [one.reason for one in found if one.value is None]
    if missing:
        return Quantity(value=None, unit="percent", stage=stage, source=source, reason="; ".join(map(str, missing)))

    def mean(ends: Iterable[float | None]) -> float:
        known = [one.value if end is None else end for one, end in zip(found, ends, strict=True)]
        return 100 * sum(end for end in known if end is not None) / len(known)

    value, low, high = (mean([getattr(one, end) for one in found]) for end in ("value", "low", "high"))
    return Quantity(value=value, unit="percent", stage=stage, source=source, low=low, high=high)

"""The results of a trial's folds become one outcome: mean and spread of every number, or the reason there is none."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from weft.objectives import METRICS
from weft.search.job import Result


def refused(result: Result, names: Iterable[str]) -> Result:
    """Return `result`, or a failed one in its place where a number that the search needs is missing or not finite.

    Args:
        result: As an evaluation returned it.
        names: The objectives and constrained quantities, keys of `weft.objectives.OBJECTIVES`.
    """
    if result.error is not None:
        return result
    for name in dict.fromkeys([*names, *result.metrics]):
        if name in METRICS:
            if name not in result.metrics:
                return _failed(result, "crash", f"the evaluation returned no '{name}', only {sorted(result.metrics)}")
            if not math.isfinite(result.metrics[name]):
                return _failed(result, "diverged", f"{name} is {result.metrics[name]}")
        elif name not in result.costs:
            return _failed(result, "crash", f"the evaluation returned no '{name}', only {sorted(result.costs)}")
        elif result.costs[name]["value"] is None:
            return _failed(result, "unsupported", f"{name} has no value: {result.costs[name].get('reason')}")
        elif not math.isfinite(result.costs[name]["value"]):
            return _failed(result, "crash", f"{name} is {result.costs[name]['value']}")
    return result


def failure(results: Sequence[Result]) -> dict[str, str] | None:
    """Return kind and reason of the first fold that failed, or None where all folds have numbers."""
    for result in results:
        if result.error is not None:
            place = f"fold {result.fold}: " if len(results) > 1 else ""
            return {"kind": result.error_kind or "crash", "reason": place + result.error}
    return None


def merge(results: Sequence[Result]) -> dict[str, Any]:
    """Return mean and sample standard deviation over folds, as JSON.

    Returns:
        `metrics`: name to `{"mean", "std"}`; `costs`: name to `{"quantity", "std"}` with the mean as the quantity's
        value; `seconds` and `compile_seconds` summed; `weights`: one path or None per fold. `std` is None for one fold.
    """
    return {
        "metrics": {
            name: dict(zip(("mean", "std"), _spread([result.metrics[name] for result in results]), strict=True))
            for name in results[0].metrics
        },
        "costs": {name: _merge_cost([result.costs[name] for result in results]) for name in results[0].costs},
        "seconds": sum(result.seconds for result in results),
        "compile_seconds": sum(result.compile_seconds for result in results),
        "weights": [result.weights for result in results],
    }


def values(outcome: Mapping[str, Any]) -> dict[str, float]:
    """Return every number of what `merge` returned, by name."""
    means = {name: entry["mean"] for name, entry in outcome["metrics"].items()}
    return means | {name: entry["quantity"]["value"] for name, entry in outcome["costs"].items()}


def _merge_cost(quantities: list[dict[str, Any]]) -> dict[str, Any]:
    merged, std = dict(quantities[0]), None
    for end in ("value", "low", "high"):
        values = [quantity[end] for quantity in quantities if quantity.get(end) is not None]
        if len(values) < len(quantities):
            merged[end] = None
        else:
            merged[end], spread = _spread(values)
            std = spread if end == "value" else std
    if merged["value"] is None:
        merged["reason"] = next(q.get("reason") or "no value" for q in quantities if q["value"] is None)
    merged["source"] = "; ".join(dict.fromkeys(quantity["source"] for quantity in quantities))
    return {"quantity": merged, "std": std}


def _spread(values: list[float]) -> tuple[float, float | None]:
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None


def _failed(result: Result, kind: Any, reason: str) -> Result:
    return dataclasses.replace(result, metrics={}, costs={}, weights=None, error=reason, error_kind=kind)

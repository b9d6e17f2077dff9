"""What a search can optimise and constrain: each name once, with its direction, unit and meaning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Direction = Literal["max", "min"]


@dataclass(frozen=True)
class ObjectiveSpec:
    """One objective: `kind` says whether it is measured on data (`metric`) or computed from the design (`cost`)."""

    name: str
    direction: Direction
    unit: str
    kind: Literal["metric", "cost"]
    doc: str

    def loss(self, value: float) -> float:
        """Return `value` turned so that smaller is better."""
        return -value if self.direction == "max" else value


_ALL = (
    ObjectiveSpec("accuracy", "max", "fraction", "metric", "share of samples whose class is predicted"),
    ObjectiveSpec("auc", "max", "fraction", "metric", "area under the ROC curve, mean over one-against-rest classes"),
    ObjectiveSpec("fidelity", "max", "fraction", "metric", "assignment fidelity 1 - (P(0|1) + P(1|0)) / 2"),
    ObjectiveSpec("efficiency", "max", "fraction", "metric", "signal efficiency at a background efficiency of 1 %"),
    ObjectiveSpec("mse", "min", "squared target unit", "metric", "mean squared error"),
    ObjectiveSpec("bops", "min", "bit operations", "cost", "bit operations, arXiv:2102.11289"),
    ObjectiveSpec("ebops", "min", "bit operations", "cost", "effective bit operations, arXiv:2405.00645"),
    ObjectiveSpec("lut", "min", "count", "cost", "look-up tables"),
    ObjectiveSpec("ff", "min", "count", "cost", "flip-flops"),
    ObjectiveSpec("latency_cycles", "min", "cycles", "cost", "clock cycles from input register to output register"),
    ObjectiveSpec("latency_ns", "min", "ns", "cost", "latency in cycles times the clock period asked for"),
    ObjectiveSpec("parameters", "min", "count", "cost", "weights and biases"),
)

OBJECTIVES: dict[str, ObjectiveSpec] = {spec.name: spec for spec in _ALL}
METRICS: tuple[str, ...] = tuple(spec.name for spec in _ALL if spec.kind == "metric")
COSTS: tuple[str, ...] = tuple(spec.name for spec in _ALL if spec.kind == "cost")

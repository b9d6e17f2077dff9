"""Several costs of one design at once, by name: each cost model that is needed runs once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from weft.cost._base import CostInput, providing
from weft.objectives import OBJECTIVES
from weft.types import Quantity

if TYPE_CHECKING:
    import keras

    from weft.adder_graph import AdderGraph


@dataclass(frozen=True)
class _Target:
    part: str
    clock_period_ns: float


def costs_of(
    model: keras.Model,
    wanted: Iterable[str],
    part: str,
    clock_period_ns: float,
    graph: AdderGraph | None = None,
) -> dict[str, Quantity]:
    """Return costs of a finalised model.

    Args:
        model: A finalised Keras model of HGQ2 layers.
        wanted: Names of objectives; metrics among them are left out.
        part: The FPGA.
        clock_period_ns: The clock asked for.
        graph: The model's adder graph, where it has been traced already.

    Raises:
        ConfigError: No cost model gives one of the names.
        UnsupportedError: The model has no exact fixed-point form.
    """
    names = [name for name in wanted if name not in OBJECTIVES or OBJECTIVES[name].kind == "cost"]
    models = list(dict.fromkeys(providing(name) for name in names))
    target, design = _Target(part, clock_period_ns), CostInput(model=model, graph=graph)
    found: dict[str, Quantity] = {}
    for cost_model in models:
        found |= cost_model.estimate([design], target)[0].quantities
    return {name: found[name] for name in names}

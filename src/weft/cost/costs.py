"""Several costs of one design at once, by name: each cost model that is needed runs once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from weft.cost._base import CostInput, CostModel, Target, find, providing
from weft.errors import UnsupportedError
from weft.objectives import OBJECTIVES
from weft.types import Quantity

if TYPE_CHECKING:
    import keras

    from weft.adder_graph import AdderGraph
    from weft.config.firmware import FirmwareConfig, HlsConfig


@dataclass(frozen=True)
class FixedTarget:
    """A part and a clock.

    Attributes:
        part: The FPGA.
        clock_period_ns: The clock asked for, in ns.
        among: Names of cost models that are asked first, by those that stand on others.
        hls: How hls4ml is to make products; None for its defaults.
    """

    part: str
    clock_period_ns: float
    among: tuple[str, ...] = ()
    hls: HlsConfig | None = None


def costs_of(
    model: keras.Model,
    wanted: Iterable[str],
    part: str,
    clock_period_ns: float,
    graph: AdderGraph | None = None,
    among: Sequence[str] = (),
    gaps: bool = False,
    firmware: FirmwareConfig | None = None,
) -> dict[str, Quantity]:
    """Return costs of a finalised model.

    Args:
        model: A finalised Keras model of HGQ2 layers.
        wanted: Names of objectives; metrics among them are left out.
        part: The FPGA.
        clock_period_ns: The clock asked for.
        graph: The model's adder graph, where it has been traced already.
        among: Names of cost models that are asked first: the first of them that gives a quantity decides.
        gaps: Whether what a cost model refuses is a quantity without a value, with the reason.
        firmware: How the firmware is written, which the costs are to be of; None for the defaults.

    Raises:
        ConfigError: No cost model gives one of the names.
        UnsupportedError: The model has no exact fixed-point form, or a cost model refuses it and there are no `gaps`.
    """
    names = [name for name in wanted if name not in OBJECTIVES or OBJECTIVES[name].kind == "cost"]
    models = list(dict.fromkeys(providing(name, among) for name in names))
    rtl, hls = (None, None) if firmware is None else (firmware.rtl, firmware.hls)
    target, design = FixedTarget(part, clock_period_ns, tuple(among), hls), CostInput(model, graph, rtl)
    found: dict[str, Quantity] = {}
    for cost_model in models:
        reason = cost_model.supports(design) if gaps else None
        found = (_gaps(cost_model, reason) if reason else dict(design.ask(cost_model, target).quantities)) | found
    return {name: found[name] for name in names}


def _gaps(model: CostModel, reason: str) -> dict[str, Quantity]:
    return {
        name: Quantity(value=None, unit=OBJECTIVES[name].unit, stage="predicted", source=model.name, reason=reason)
        for name in model.provides
    }


class SideBySide(BaseModel):
    """What several cost models say of one design.

    Attributes:
        quantities: By quantity and by cost model, in the order in which the models decide.
        refused: Why a cost model gives nothing, by its name.
        notes: What a cost model wants to be known, by its name.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    quantities: dict[str, dict[str, Quantity]]
    refused: dict[str, str] = {}
    notes: dict[str, tuple[str, ...]] = {}


def side_by_side(design: CostInput, models: Sequence[str], target: Target) -> SideBySide:
    """Ask several cost models, each of which may refuse the design.

    Raises:
        ConfigError: There is no cost model of one of the names.
        ToolError: A program that a cost model needs failed.
    """
    quantities: dict[str, dict[str, Quantity]] = {}
    refused: dict[str, str] = {}
    notes: dict[str, tuple[str, ...]] = {}
    for model in [find(name) for name in models]:
        reason = model.supports(design)
        if reason is not None:
            refused[model.name] = reason
            continue
        try:
            (estimate,) = model.estimate([design], target)
        except UnsupportedError as error:  # for this target
            refused[model.name] = str(error)
            continue
        for name, quantity in estimate.quantities.items():
            quantities.setdefault(name, {})[model.name] = quantity
        if estimate.notes:
            notes[model.name] = estimate.notes
    return SideBySide(quantities=quantities, refused=refused, notes=notes)

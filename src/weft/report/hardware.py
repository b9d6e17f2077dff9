"""Figures about hardware: costs on their way from estimate to routing, estimates against synthesis, ranges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from weft.report.read import Content, DesignContent, QuantityJson
from weft.report.style import (
    DASHES,
    MUTED,
    SERIES,
    SURFACE,
    blank,
    canvas,
    formatter,
    scales,
)
from weft.report.text import grouped, label
from weft.search.calibrate import rows as calibration_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TRAIL = ("lut", "ff", "latency_ns")
"""The costs whose way is drawn."""

JUDGED = ("lut", "ff")
"""The costs whose estimates are held against synthesis."""

MEASURED = ("synthesis", "post_route")

OTHER_CHIP = "other chip"


@dataclass(frozen=True)
class Step:
    """Where a cost stood at one stage; `name` tells stages apart, and `quantity` has a value."""

    name: str
    quantity: QuantityJson

    @property
    def measured(self) -> bool:
        return self.quantity["stage"] in MEASURED


def trails(content: Content, name: str) -> list[tuple[DesignContent, list[Step]]]:
    """Return the way of one cost for each design that has any: in the search, before synthesis, after it, routed."""
    return [(design, steps) for design in content.designs if (steps := _steps(content, design, name))]


def _steps(content: Content, design: DesignContent, name: str) -> list[Step]:
    found: list[tuple[str, QuantityJson | None]] = []
    if content.search is not None and design.trial is not None:
        known = {trial.number: trial for trial in content.search.shown}
        costs: Mapping[str, Mapping[str, Any]] = known[design.trial].costs if design.trial in known else {}
        found.append(("in the search", costs[name]["quantity"] if name in costs else None))
    models = design.models.get(name, {})
    found += [(model.replace("_", " "), one) for model, one in models.items()]
    if not models:
        found.append(("estimate", design.estimates.get(name)))
    found.append(("synthesis", design.synthesis.get(name)))
    routed = "post-route" if content.experiment.firmware.route == "vivado" else f"post-route,\n{OTHER_CHIP}"
    found.append((routed, design.routing.get(name)))
    return [Step(stage, one) for stage, one in found if one is not None and one["value"] is not None]


def cost_trail(content: Content) -> Figure:
    """Draw LUT, FF and latency of every design from stage to stage: estimates hollow, with their range."""
    ways = {name: trails(content, name) for name in TRAIL}
    ways = {name: found for name, found in ways.items() if any(len(steps) > 1 for _, steps in found)}
    figure = blank(10.8, 3.7)
    panels = figure.subplots(1, len(ways), squeeze=False)[0]
    colors = {design.id: SERIES[i % len(SERIES)] for i, design in enumerate(content.designs)}
    dashes = {design.id: DASHES[i % len(DASHES)] for i, design in enumerate(content.designs)}
    for ax, (name, found) in zip(panels, ways.items(), strict=True):
        longest = max((steps for _, steps in found), key=len)
        stages = list(dict.fromkeys(step.name for steps in (longest, *(s for _, s in found)) for step in steps))
        for i, (design, steps) in enumerate(found):
            shift = 0.09 * (i - (len(found) - 1) / 2) if len(found) < 8 else 0.0
            _way(ax, steps, stages, shift, design.id, colors[design.id], dashes[design.id])
        ax.set_xticks(range(len(stages)), [stage.replace(" ", "\n", 1) for stage in stages], fontsize=8)
        ax.set_xlim(-0.5, len(stages) - 0.5)
        ax.grid(axis="x", visible=False)
        ax.minorticks_off()
        values = [(0.0, step.quantity["value"]) for _, steps in found for step in steps]
        scales(ax, name, name, values, log_above=4.0)
        ax.set_xlabel("")
    handles = {name: handle for ax in panels for handle, name in zip(*ax.get_legend_handles_labels(), strict=True)}
    if len(handles) <= 10:
        figure.legend(handles.values(), handles.keys(), loc="outside upper left", ncols=min(len(handles), 5))
    return figure


def _way(
    ax: Axes, steps: Sequence[Step], stages: Sequence[str], shift: float, name: str, color: str, dash: Any
) -> None:
    at = [stages.index(step.name) + shift for step in steps]
    for i, (a, b) in enumerate(pairwise(steps)):
        foreign = OTHER_CHIP in b.name
        values = [a.quantity["value"], b.quantity["value"]]
        line: Any = (0, (1, 2)) if foreign else dash
        ax.plot(at[i : i + 2], values, color=color, linewidth=0.9 if foreign else 1.3, linestyle=line)
    for place, step in zip(at, steps, strict=True):
        low, high = step.quantity.get("low"), step.quantity.get("high")
        if low is not None and high is not None:
            ax.plot([place, place], [low, high], color=color, linewidth=1.1)
        marker = "D" if OTHER_CHIP in step.name else "o"
        face = color if step.measured else SURFACE
        size = 5 if marker == "D" else 6
        ax.plot(place, step.quantity["value"], marker, color=color, markerfacecolor=face, markersize=size, zorder=4)
    ax.plot([], [], "o", color=color, linestyle=dash, markersize=5, label=name)


@dataclass(frozen=True)
class Judged:
    """An estimate and what synthesis found; `inside` says whether its range holds that, None where it has none."""

    quantity: str
    model: str
    where: str
    estimate: float
    low: float | None
    high: float | None
    synthesis: float

    @property
    def inside(self) -> bool | None:
        return None if self.low is None or self.high is None else self.low <= self.synthesis <= self.high


def judged(content: Content) -> list[Judged]:
    """Return every estimate of LUT and FF that synthesis has judged: of designs, and of candidates of the search."""
    found: list[Judged] = []
    for design in content.designs:
        for name in JUDGED:
            made = (design.synthesis.get(name) or {}).get("value")
            models: Mapping[str, QuantityJson] = design.models.get(name) or (
                {"estimate": design.estimates[name]} if name in design.estimates else {}
            )
            found += [
                Judged(name, model, design.id, one["value"], one.get("low"), one.get("high"), made)
                for model, one in models.items()
                if made and one["value"]
            ]
    rounds = () if content.search is None else content.search.results.rounds
    for row in calibration_rows(rounds):
        if row.get("quantity") in JUDGED and row["estimate"] and row["synthesis"]:
            where, ends = f"trial {row['trial']}", (row["low"], row["high"])
            found.append(Judged(row["quantity"], "in the search", where, row["estimate"], *ends, row["synthesis"]))
    return found


def estimates(content: Content) -> Figure:
    """Draw estimates, with their ranges, against synthesis; what a range does not hold is hollow."""
    points = judged(content)
    names = [name for name in JUDGED if any(one.quantity == name for one in points)]
    models = list(dict.fromkeys(one.model for one in points))
    figure = blank(5.2 * len(names), 4.3)
    for ax, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        mine = [one for one in points if one.quantity == name]
        ends = [v for one in mine for v in (one.estimate, one.synthesis, one.low, one.high) if v]
        low, high = min(ends) / 1.12, max(ends) * 1.12
        ax.plot([low, high], [low, high], color=MUTED, linewidth=1, linestyle=DASHES[1], zorder=1)
        for i, model in enumerate(models):
            of_model, color = [one for one in mine if one.model == model], SERIES[i % len(SERIES)]
            for one in of_model:
                if one.low is not None and one.high is not None:
                    ax.plot([one.synthesis] * 2, [one.low, one.high], color=color, linewidth=1.1, alpha=0.8)
                face = SURFACE if one.inside is False else color
                ax.plot(one.synthesis, one.estimate, "o", color=color, markerfacecolor=face, markersize=5, zorder=3)
            if of_model:
                ax.plot([], [], "o", color=color, markersize=5, label=f"{model.replace('_', ' ')}: {_held(of_model)}")
        scales(ax, name, name, [(low, low), (high, high)], log_above=6.0)
        ax.set(xlim=(low, high), ylim=(low, high), aspect="equal")
        ax.locator_params(nbins=5) if ax.get_xscale() == "linear" else None
        ax.set_xlabel(f"{label(name)}, synthesis")
        ax.set_ylabel(f"{label(name)}, estimated")
        ax.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), borderaxespad=0.2)
    return figure


def _held(found: Sequence[Judged]) -> str:
    ranged = [one.inside for one in found if one.inside is not None]
    error = sum(abs(one.estimate / one.synthesis - 1) for one in found) / len(found)
    held = f"{sum(ranged)} of {len(ranged)} ranges hold, " if ranged else ""
    return f"{held}off by {100 * error:.0f} % on average"


def ranges(design: DesignContent) -> Figure:
    """Draw how far the values in each quantiser of activations reach, where 1 is the end of its range."""
    found: Sequence[Mapping[str, Any]] = (design.verification or {})["overflows"]
    figure, (ax,) = canvas(10.8, 1.1 + 0.36 * len(found))
    furthest = max([1.0, *(v for one in found for v in (one["largest"], one["sought"]) if v is not None)])
    right = 1.12 * furthest
    ax.axvspan(1.0, right, color=SERIES[1], alpha=0.09, linewidth=0)
    ax.axvline(1.0, color=SERIES[1], linewidth=1.2)
    for i, one in enumerate(found):
        beyond = one["share"] > 0
        color = SERIES[1] if beyond else SERIES[0]
        ax.barh(i, one["largest"], height=0.5, color=color, linewidth=0)
        if one["sought"] is not None:
            look: dict[str, Any] = {"markerfacecolor": SURFACE, "markersize": 6.5, "linestyle": "none", "zorder": 4}
            ax.plot(one["sought"], i, "D", color=SERIES[3], **look)
        says = f"{100 * one['share']:.2g} % out" if beyond else "none out"
        ax.annotate(says, (1.0, i), (6, 0), xycoords=("axes fraction", "data"), textcoords="offset points", va="center",
                    fontsize=8, annotation_clip=False)  # fmt: skip
    ax.set_yticks(range(len(found)), [f"{one['layer']}  {one['format']} {one['mode']}" for one in found])
    ax.set_ylim(len(found) - 0.4, -0.6)
    ax.set_xlim(0, right)
    ax.grid(axis="y", visible=False)
    ax.tick_params(axis="y", which="both", length=0)
    if right >= 1000:
        ax.xaxis.set_major_formatter(formatter(lambda value, _: grouped(value)))
    ax.set_xlabel("Largest value, as a share of the range")
    return figure

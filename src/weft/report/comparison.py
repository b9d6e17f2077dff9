"""Several runs on one page: their fronts in one plot, hypervolumes in one box, designs, settings that differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from weft import atomic
from weft.objectives import OBJECTIVES
from weft.report.html import FigureInliner, Figures, page
from weft.report.points import Point, pairs, plot_of, staircase
from weft.report.read import describe
from weft.report.style import DASHES, MUTED, SERIES, as_shown, canvas, legend_beside, render, scales, style_of
from weft.report.tables import MISSING, Cell, Column, Table
from weft.report.text import duration, label, metric, number, of_trial, unit
from weft.report.text import provenance as origin
from weft.run.compare_runs import COSTS, RunsComparison, compare_runs

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from weft.run import Run
    from weft.search.results import SearchResults
    from weft.search.seeds import Spread

MARKERS = ("o", "s", "^", "D")
"""Marks of runs, as in the page."""


def write_comparison(runs: Sequence[Run], path: Path, style: str | None = None, spread: Spread | None = None) -> Path:
    """Write one HTML file that compares two or more runs, and return its path; nothing is measured.

    Args:
        runs: The runs.
        path: Of the file.
        style: As in `weft.report.write_report`, of the drawings for readers without JavaScript.
        spread: How far the runs lie apart, if they are one search from several seeds.

    Raises:
        RunError: one of them holds no search.
        ConfigError: they have no objective in common, or there is no such style.
        ToolNotFoundError: the style needs mplhep, which is not installed.
    """
    import matplotlib

    from weft.search.results import read

    found = compare_runs(runs)
    results = [read(run.path) for run in runs]
    figures: Figures = {}
    with matplotlib.rc_context(style_of(style)):
        for x, y in pairs(found.objectives):
            figures[f"fronts_{x}_{y}"] = render(_fronts(found, results, x, y))
        fronts = list(figures)
        if spread is not None:
            figures["progress"] = render(_progress(spread))
    html = page("comparison.html.j2").render(
        found=found,
        verdict=_verdict(found),
        plot=_plot(found, results),
        box=_box(found),
        runs=_runs_table(found),
        designs=_designs_table(found),
        settings=_settings_table(found),
        figure=FigureInliner({name: svg.decode() for name, (_, svg) in figures.items()}),
        fronts=fronts,
        spread=None if spread is None else _spread(spread),
    )
    atomic.write_text(path, html)
    return path


def _verdict(found: RunsComparison) -> str:
    """Say which run reached furthest, and who holds the joint front."""
    rated = [(one.hypervolume, one.run) for one in found.runs if one.hypervolume is not None]
    if not rated:
        return "None of these runs has a trial that meets its constraints."
    most = max(value for value, _ in rated)
    first = [name for value, name in rated if value == most]
    others = ", ".join(f"{name} {value:.3f}" for value, name in rated if name not in first)
    held = ", ".join(f"{sum(p.joint for p in one.front)} of {one.run}" for one in found.runs)
    names = ", ".join(label(name) for name in found.objectives)
    verb = "dominates" if len(first) == 1 else "each dominate"
    rest = f" ({others})" if others else ""
    return f"In {names}, {' and '.join(first)} {verb} {most:.3f} of the common box{rest}; the joint front has {held}."


def _plot(found: RunsComparison, results: Sequence[SearchResults]) -> dict[str, Any] | None:
    points: list[Point] = []
    for series, (one, searched) in enumerate(zip(found.runs, results, strict=True)):
        front = {point.trial: point.joint for point in one.front}
        for trial in searched.evaluated:
            words = "on the joint front" if front.get(trial.number) else "on its run's front"
            shown = searched.chosen(trial.number) if trial.number in front else trial
            points.append(
                {
                    "id": f"{one.run}, trial {trial.number}",
                    "short": str(trial.number),
                    "title": f"{one.run}, trial {trial.number}" + (f": {words}" if trial.number in front else ""),
                    "text": describe(trial.genotype),
                    "values": {name: shown.value(name) for name in found.objectives},
                    "lines": [_line(shown, name) for name in found.objectives],
                    "series": series,
                    "front": trial.number in front,
                    "picked": bool(front.get(trial.number)),
                    "baseline": False,
                    "hollow": not trial.feasible,
                    "misses": not trial.feasible,
                    "named": False,
                }
            )
    if not points or len(found.objectives) < 2:
        return None
    x, y = pairs(found.objectives)[0]
    return {**plot_of(points, found.objectives, x, y), "series": [one.run for one in found.runs]}


def _line(trial: Any, name: str) -> list[str]:
    quantity = trial.costs[name]["quantity"] if name in trial.costs else None
    where = f"{quantity['stage']}, {quantity['source']}" if quantity else "validation"
    return [label(name), of_trial(name, trial.value(name), trial.std(name)), where]


def _fronts(found: RunsComparison, results: Sequence[SearchResults], x: str, y: str) -> Figure:
    figure, (ax,) = canvas(7.4, 4.2)
    every: list[tuple[float, float]] = []

    def at(trial: Any) -> tuple[float, float]:
        here, there = (as_shown(n, trial.number if n == "trial" else trial.value(n)) for n in (x, y))
        return here, there

    for i, (one, searched) in enumerate(zip(found.runs, results, strict=True)):
        color, marker = SERIES[i % len(SERIES)], MARKERS[i % len(MARKERS)]
        on_front = {point.trial for point in one.front}
        trials = [searched.chosen(t.number) if t.number in on_front else t for t in searched.evaluated]
        if not trials:
            continue
        rest = [at(trial) for trial in trials if trial.number not in on_front]
        ahead = [at(trial) for trial in trials if trial.number in on_front]
        if rest:
            ax.scatter(*zip(*rest, strict=True), color=MUTED, marker=marker, s=14, alpha=0.5, linewidths=0)
        if ahead:
            ax.scatter(*zip(*ahead, strict=True), color=color, marker=marker, s=34, label=one.run, zorder=4)
        if x != "trial":
            directions = (OBJECTIVES[x].direction, OBJECTIVES[y].direction)
            steps = staircase([at(trial) for trial in trials if trial.feasible], directions)
            if steps:
                ax.plot(*zip(*steps, strict=True), color=color, linestyle=DASHES[i % len(DASHES)], linewidth=1.2)
        every += rest + ahead
    scales(ax, x, y, every)
    legend_beside(ax)
    return figure


def _progress(spread: Spread) -> Figure:
    figure, (ax,) = canvas(7.4, 3.8)
    evaluated = np.arange(1, spread.volumes.shape[1] + 1)
    for i, (seed, volumes) in enumerate(zip(spread.seeds, spread.volumes, strict=True)):
        color, dashes = SERIES[i % len(SERIES)], DASHES[i % len(DASHES)]
        ax.step(evaluated, volumes, where="post", color=color, linestyle=dashes, linewidth=1.2, label=f"seed {seed}")
    if spread.std is not None:
        ends = spread.mean - spread.std, spread.mean + spread.std
        ax.fill_between(evaluated, *ends, step="post", color=MUTED, alpha=0.25, linewidth=0, label="mean ± std")
    ax.set(xlabel="Evaluated designs", ylabel="Hypervolume, share of the box")
    legend_beside(ax)
    return figure


def _spread(spread: Spread) -> str:
    """Say how much the seed decides: the hypervolume after all designs, and how soon each search came near its end."""
    last, std = spread.volumes[:, -1], spread.std
    error = "" if std is None else f" ± {std[-1]:.3f}"
    near = [int(np.argmax(volumes >= 0.95 * volumes[-1])) + 1 for volumes in spread.volumes]
    return (
        f"After {spread.volumes.shape[1]} evaluated designs the searches with seeds "
        f"{', '.join(map(str, spread.seeds))} have a hypervolume of {last.mean():.3f}{error} of the common box, from "
        f"{last.min():.3f} to {last.max():.3f}. Each came within 5 % of its last after {min(near)} to {max(near)} "
        "designs. These are the numbers of the searches, before any re-evaluation."
    )


def _runs_table(found: RunsComparison) -> Table:
    columns = [
        Column("Run", numeric=False),
        Column("Status", numeric=False),
        Column("Trials"),
        Column("Failed"),
        Column("Evaluated"),
        Column("Front", "trials"),
        Column("Joint front", "trials", "trials that no trial of any run beats"),
        Column("Hypervolume", "share of the box", "of the box from the worst to the best value of all runs"),
        Column("Designs"),
        Column("Wall time"),
    ]
    rows = []
    for one in found.runs:
        volume = "–" if one.hypervolume is None else f"{one.hypervolume:.4f}"
        counts = (one.trials, one.failed, one.evaluated, len(one.front), sum(point.joint for point in one.front))
        rows.append(
            [
                Cell(one.run, title=one.path, sort=one.run),
                Cell(one.status, sort=one.status),
                *(Cell(number(count), sort=count) for count in counts),
                Cell(volume, sort=one.hypervolume, bar=one.hypervolume),
                Cell(str(len(one.designs)), sort=len(one.designs)),
                Cell("–" if one.seconds is None else duration(one.seconds), sort=one.seconds),
            ]
        )
    return Table(columns, rows)


def _designs_table(found: RunsComparison) -> Table | None:
    every = [(one, design) for one in found.runs for design in one.designs]
    if not every:
        return None
    metrics = list(dict.fromkeys(name for _, design in every for name in design.metrics))
    costs = [name for name in COSTS if any(name in design.cost for _, design in every)]
    columns = [
        Column("Design", numeric=False),
        Column("Run", numeric=False),
        *(Column(label(name), f"{unit(name)}, test".removeprefix(", "), OBJECTIVES[name].doc) for name in metrics),
        *(Column(label(name), unit(name) or OBJECTIVES[name].unit, OBJECTIVES[name].doc) for name in costs),
        Column("Verification", numeric=False),
    ]
    rows = []
    for one, design in every:
        tone = {"exact": "good", "mismatch": "bad"}.get(design.verification, "none")
        row = [Cell(design.id, sort=design.id), Cell(one.run, sort=one.run)]
        row += [_metric_cell(name, design.metrics.get(name)) for name in metrics]
        row += [_cost_cell(name, design.cost.get(name)) for name in costs]
        rows.append([*row, Cell(design.verification, sort=design.verification, tone=tone)])
    return Table(columns, rows)


def _metric_cell(name: str, found: Mapping[str, Any] | None) -> Cell:
    if found is None:
        return MISSING
    return Cell(metric(name, found["value"], found.get("error")), sort=found["value"])


def _cost_cell(name: str, found: Mapping[str, Any] | None) -> Cell:
    if found is None:
        return MISSING
    tone = "weak" if found["stage"] in ("predicted", "solver") else ""
    return Cell(number(found["value"]), found["stage"], origin(name, found), found["value"], tone)


def _settings_table(found: RunsComparison) -> Table | None:
    if not found.settings:
        return None
    columns = [Column("Setting", numeric=False), *(Column(one.run, numeric=False) for one in found.runs)]
    rows = [[Cell(name), *(_setting_cell(values[one.run]) for one in found.runs)] for name, values in
            found.settings.items()]  # fmt: skip
    return Table(columns, rows)


def _setting_cell(value: Any) -> Cell:
    if value is None:
        return Cell("–", title="not set", tone="none")
    return Cell(", ".join(map(str, value)) or "none" if isinstance(value, list) else str(value))


def _box(found: RunsComparison) -> list[tuple[str, str, str]]:
    """Return the box that hypervolumes are shares of: objective, worst and best value."""
    ends = ((name, found.reference[name], found.ideal[name]) for name in found.reference)
    return [(label(name), of_trial(name, worst), of_trial(name, best)) for name, worst, best in ends]

"""The figures of a run, drawn with matplotlib and stored as SVG and PNG under stable names."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from weft import atomic
from weft.objectives import OBJECTIVES
from weft.report import hardware
from weft.report.points import pairs, staircase
from weft.report.read import Content, DesignContent, Predictions, Row, SearchContent, search_of
from weft.report.style import (
    DASHES,
    HEAT,
    MUTED,
    SERIES,
    SURFACE,
    as_shown,
    blank,
    canvas,
    few_whole,
    legend_beside,
    log_axis,
    render,
    scales,
    style_of,
)
from weft.report.text import axis, grouped, label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_POINTS = 500
"""Points of a scatter plot; of more, evenly spaced ones are drawn."""

MAX_TARGETS = 6
"""Targets of a regression that are drawn."""

CURVE_POINTS = 240
"""Points of a ROC curve that are drawn."""


def draw_all(content: Content, style: str | None = None) -> dict[str, tuple[bytes, bytes]]:
    """Draw what the run holds by now, and return each figure by name as PNG and as SVG.

    Args:
        content: Of the run.
        style: One of `weft.report.style.STYLES`; None is weft's own.
    """
    import matplotlib

    drawn: dict[Callable[[], Figure], tuple[bytes, bytes]] = {}
    figures = _figures(content)
    with matplotlib.rc_context(style_of(style)):
        for draw in figures.values():
            drawn[draw] = drawn.get(draw) or render(draw())
    return {name: drawn[draw] for name, draw in figures.items()}


def store(figures: Mapping[str, tuple[bytes, bytes]], directory: Path) -> None:
    """Write figures as `<name>.png` and `<name>.svg`."""
    for name, (png, svg) in figures.items():
        atomic.write_bytes(directory / f"{name}.png", png)
        atomic.write_bytes(directory / f"{name}.svg", svg)


def _figures(content: Content) -> dict[str, Callable[[], Figure]]:
    """Return how to draw each figure, by name; the designs of one trial share the figure of its trail."""
    found: dict[str, Callable[[], Figure]] = {}
    trails: dict[Any, Callable[[], Figure]] = {}
    if content.search is not None and content.search.results.evaluated:
        for x, y in pairs(content.search.results.objectives):
            found[f"front_{x}_{y}"] = lambda x=x, y=y, of=content.search: front(of, content.selection, x, y)
    if any(d.quantity("lut") and d.test(content.metric) for d in content.designs):
        found["designs"] = lambda: designs(content)
    for design in content.designs:
        if design.trail:
            found[f"trail_{design.id}"] = trails.setdefault(
                design.family, lambda d=design: trail(d.trail, kept_points(content, d), content.metric)
            )
        if design.predictions is not None:
            found |= _prediction_figures(content, design, design.predictions)
        if design.layers:
            found[f"bits_{design.id}"] = lambda d=design: bits(d)
        if (design.verification or {}).get("overflows"):
            found[f"ranges_{design.id}"] = lambda d=design: hardware.ranges(d)
    if any("lut" in design.estimates or "lut" in design.synthesis for design in content.designs):
        found["cost"] = lambda: cost(content.designs)
    if any(len(steps) > 1 for _, steps in hardware.trails(content, "lut")):
        found["cost_trail"] = lambda: hardware.cost_trail(content)
    if hardware.judged(content):
        found["estimates"] = lambda: hardware.estimates(content)
    return found


def _prediction_figures(
    content: Content, design: DesignContent, predictions: Predictions
) -> dict[str, Callable[[], Figure]]:
    if content.task == "regression":
        return {f"residuals_{design.id}": lambda: residuals(predictions)}
    return {
        f"roc_{design.id}": lambda: roc(predictions, class_names(content)),
        f"confusion_{design.id}": lambda: confusion(predictions, class_names(content)),
    }


def class_names(content: Content) -> list[str]:
    """Return the names of the classes; numbers where the data have no names."""
    names = list((content.data or {}).get("classes", ()))
    if names:
        return names
    highest = max((int(d.predictions.y.max()) for d in content.designs if d.predictions is not None), default=1)
    return [str(number) for number in range(highest + 1)]


def kept_points(content: Content, design: DesignContent) -> dict[str, str]:
    """Return the points of a design's trail that became designs: name of the point to id of the design."""
    return {other.point: other.id for other in content.designs if other.family == design.family}


def draw_fronts(directory: Path, name: str) -> dict[str, tuple[bytes, bytes]]:
    """Draw the trials of a study in each two of its objectives; nothing where there is no study of this name.

    Args:
        directory: The run directory.
        name: Of the study, `search` or `tune`.
    """
    import matplotlib

    search = search_of(directory, name)
    if search is None or not search.results.evaluated:
        return {}
    with matplotlib.rc_context(style_of(None)):
        return {f"front_{x}_{y}": render(front(search, (), x, y)) for x, y in pairs(search.results.objectives)}


def front(search: SearchContent, selection: Sequence[Mapping[str, Any]], x: str, y: str) -> Figure:
    """Draw the evaluated trials of a search in two objectives, those of the selection ringed."""
    trials, baselines = search.shown, search.baselines
    ahead = {trial.number for trial in search.front}
    picked = {one["number"] for one in selection}

    def at(trial: Any) -> tuple[float, float]:
        return tuple(as_shown(n, trial.number if n == "trial" else trial.value(n)) for n in (x, y))  # type: ignore[return-value]

    figure, (ax,) = canvas(6.4, 3.9)
    groups = {
        "evaluated": [t for t in trials if t.feasible and t.number not in ahead],
        "misses a constraint": [t for t in trials if not t.feasible],
        "on the front": [t for t in trials if t.feasible and t.number in ahead],
    }
    looks = {
        "evaluated": {"color": MUTED, "s": 16, "alpha": 0.55},
        "misses a constraint": {"facecolors": "none", "edgecolors": MUTED, "s": 18, "linewidths": 0.9},
        "on the front": {"color": SERIES[0], "s": 34, "zorder": 4},
    }
    for name, members in groups.items():
        if members:
            ax.scatter(*zip(*map(at, members), strict=True), label=name, **looks[name])
    known = [t for t in trials if t.key in baselines]
    chosen = [t for t in trials if t.number in picked]
    ring = {"facecolors": "none", "linewidths": 1.6, "zorder": 5}
    if known:
        places = zip(*map(at, known), strict=True)
        ax.scatter(*places, marker="D", s=44, edgecolors=SERIES[1], label="baseline", **ring)
    if chosen:
        ax.scatter(*zip(*map(at, chosen), strict=True), s=120, edgecolors=SERIES[3], label="selected", **ring)
    scales(ax, x, y, [at(trial) for trial in trials])
    if x != "trial":
        directions = (OBJECTIVES[x].direction, OBJECTIVES[y].direction)
        steps = staircase([at(trial) for trial in trials if trial.feasible], directions)
        ax.plot(*zip(*steps, strict=True), color=SERIES[0], linewidth=1.2, zorder=3) if steps else None
    legend_beside(ax)
    return figure


def designs(content: Content) -> Figure:
    """Draw the final designs: test metric against LUT."""
    figure, (ax,) = canvas(6.4, 3.6)
    name, points = content.metric, []
    for design in content.designs:
        size, found = design.quantity("lut"), design.test(name)
        if size is None or found is None:
            continue
        x, y = size["value"], as_shown(name, found["value"])
        error = as_shown(name, found.get("error") or 0.0)
        face = SERIES[0] if size["stage"] == "synthesis" else SURFACE
        ax.errorbar(x, y, yerr=error or None, fmt="o", color=SERIES[0], markerfacecolor=face, elinewidth=1)
        ax.annotate(design.id, (x, y), (6, 4), textcoords="offset points", fontsize=8)
        points.append((x, y))
    scales(ax, "lut", name, points)
    ax.set_ylabel(f"{axis(name)}, test")
    ax.margins(x=0.18, y=0.15)
    return figure


def trail(rows: Sequence[Row], kept: Mapping[str, str], name: str) -> Figure:
    """Draw what a compression tried: the metric against EBOPs (or sparsity), and everything against epochs or rounds.

    Args:
        rows: One for each epoch or round.
        kept: Points that became designs, name to id of the design.
        name: The metric.
    """
    groups = _by_precision(rows)
    cost_name = next((c for c in ("ebops", "sparsity") if any(c in row for row in rows)), None)
    below = [c for c in ("ebops", "beta", "sparsity") if any(c in row for row in rows)]
    figure = blank(10.8, 3.9)
    grid = figure.add_gridspec(1 + len(below), 2, width_ratios=(1.15, 1))
    panels = [figure.add_subplot(grid[i, 1] if cost_name else grid[i, :]) for i in range(1 + len(below))]
    for panel in panels[1:]:
        panel.sharex(panels[0])
    time = "round" if any("round" in row for row in rows) else "epoch"
    if cost_name is not None:
        ax = figure.add_subplot(grid[:, 0])
        _trail_front(ax, groups, kept, cost_name, name)
    for panel, column in zip(panels, [name, *below], strict=True):
        for i, group in enumerate(groups.values()):
            values = [as_shown(column, row.get(column, math.nan)) for row in group]
            when = [row.get(time, number) for number, row in enumerate(group)]
            panel.plot(when, values, color=SERIES[i % len(SERIES)], linestyle=DASHES[i % len(DASHES)], linewidth=1.3)
            marks = [(w, v) for w, v, row in zip(when, values, group, strict=True) if row["point"] in kept]
            panel.scatter(*zip(*marks, strict=True), **_KEPT_SMALL) if marks else None
        if column in ("ebops", "beta") and all(float(row.get(column, 1.0)) > 0 for row in rows):
            log_axis(panel, "y", [float(row[column]) for row in rows if column in row])
        panel.set_ylabel({"beta": "β", "sparsity": "Sparsity"}.get(column, axis(column)), fontsize=8)
        panel.tick_params(labelbottom=panel is panels[-1])
    panels[-1].set_xlabel(time.capitalize())
    figure.align_ylabels(panels)
    return figure


_BEHIND = {"facecolor": SURFACE, "edgecolor": "none", "alpha": 0.75, "pad": 0.6}
_KEPT = {"s": 90, "facecolors": "none", "edgecolors": SERIES[3], "linewidths": 1.8, "zorder": 5}
_KEPT_SMALL = {**_KEPT, "s": 34, "linewidths": 1.4}


def _trail_front(ax: Axes, groups: Mapping[str, list[Row]], kept: Mapping[str, str], x: str, y: str) -> None:
    shown, names_of = [], []
    for i, (precision, group) in enumerate(groups.items()):
        points = [(row[x], as_shown(y, row[y]), row["point"]) for row in group if x in row and y in row]
        if not points:
            continue
        xs, ys, names = zip(*points, strict=True)
        color, step = SERIES[i % len(SERIES)], math.ceil(len(xs) / MAX_POINTS)
        ax.scatter(xs[::step], ys[::step], color=color, s=11, alpha=0.65, linewidths=0, label=precision or None)
        directions = ("max" if x == "sparsity" else "min", OBJECTIVES[y].direction)
        steps = staircase(list(zip(xs, ys, strict=True)), directions)
        ax.plot(*zip(*steps, strict=True), color=color, linewidth=1.1)
        shown += points
        for px, py, point in zip(xs, ys, names, strict=True):
            if point in kept:
                ax.scatter([px], [py], **_KEPT)
                names_of.append((point, (px, py)))
    if x == "ebops" and shown and all(point[0] > 0 for point in shown):
        log_axis(ax, "x", [point[0] for point in shown])
    ax.set_xlabel("Sparsity" if x == "sparsity" else f"{label(x)} (bit operations)")
    ax.set_ylabel(f"{axis(y)}, validation")
    if shown:
        _leave_out_the_start(ax, np.array([point[:2] for point in shown]), OBJECTIVES[y].loss(1.0))
    for name, place in names_of:
        along = ax.transAxes.inverted().transform(ax.transData.transform(place))[0]  # towards the middle: there is room
        look = {"xytext": (8, -11), "ha": "left"} if along < 0.7 else {"xytext": (-8, -11), "ha": "right"}
        ax.annotate(name, place, textcoords="offset points", fontsize=8, bbox=_BEHIND, **look)
    if any(groups):
        ax.legend(loc="lower right")


def _leave_out_the_start(ax: Axes, points: np.ndarray, sign: float) -> None:
    """Show the points that are not far worse than the best: the first epochs would flatten what matters."""
    loss = sign * points[:, 1]
    worst = loss.min() + 4 * (np.median(loss) - loss.min())
    inside = points[loss <= worst]
    if 1 < len(inside) < len(points):
        margin = 0.06 * (np.ptp(inside[:, 1]) or 1.0)
        ax.set_ylim(inside[:, 1].min() - margin, inside[:, 1].max() + margin)
        ax.set_xlim(inside[:, 0].min() / 1.05, inside[:, 0].max() * 1.05)


def _by_precision(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Group the rows of a trail by what stands before `epoch-` or `round-` in the name of their point."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        words = str(row["point"]).replace("round-", "epoch-").split("epoch-")[0].rstrip("-")
        groups.setdefault(words, []).append(row)
    return groups


def roc(predictions: Predictions, classes: Sequence[str]) -> Figure:
    """Draw background against signal efficiency of each class against the rest; of a binary task, of class 1."""
    from weft.train import metrics

    score, y = metrics.scores(predictions.outputs), predictions.y
    areas = metrics.auc_per_class(predictions.outputs, y)
    signals = [1] if predictions.outputs.shape[1] == 1 else range(score.shape[1])
    figure, (ax,) = canvas(4.6, 3.9)
    lowest = 1.0
    for i, (signal, area) in enumerate(zip(signals, areas, strict=True)):
        background, efficiency = metrics.roc(score[:, signal], y == signal)
        lowest = min(lowest, 1.0 / max(int((y != signal).sum()), 1))
        background, efficiency = _thinned(background, efficiency)
        color, dash = SERIES[i % len(SERIES)], DASHES[i % len(DASHES)]
        ax.plot(efficiency, background, color=color, linestyle=dash, label=f"{classes[signal]}, AUC {area:.4f}")
    low = 10.0 ** max(math.floor(math.log10(lowest)), -5)
    log_axis(ax, "y", [low, 1.0])
    ax.set_ylim(low, 1.0)
    ax.set_xlim(0.0, 1.0)
    ax.set_xlabel("Signal efficiency")
    ax.set_ylabel("Background efficiency")
    ax.legend(loc="lower right")
    return figure


def _thinned(background: np.ndarray, efficiency: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Keep the points of a curve that show on a logarithmic background axis and on a linear signal axis."""
    seen = np.flatnonzero(background > 0)
    background, efficiency = background[seen], efficiency[seen]
    if len(seen) <= CURVE_POINTS:
        return background, efficiency
    half = CURVE_POINTS // 2
    along_log = np.searchsorted(background, np.geomspace(background[0], 1.0, half))
    along_signal = np.searchsorted(efficiency, np.linspace(efficiency[0], 1.0, half))
    keep = np.unique(np.clip(np.concatenate([along_log, along_signal]), 0, len(seen) - 1))
    return background[keep], efficiency[keep]


def confusion_counts(predictions: Predictions, n_classes: int) -> np.ndarray:
    """Return how many rows of each true class (row) are given each class (column), (n_classes, n_classes)."""
    from weft.train.metrics import predicted_class

    counts = np.zeros((n_classes, n_classes), np.int64)
    np.add.at(counts, (predictions.y.ravel(), predicted_class(predictions.outputs)), 1)
    return counts


def shares(counts: np.ndarray) -> np.ndarray:
    """Return each row of counts divided by its sum; 0 for a row without any."""
    return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)


def confusion(predictions: Predictions, classes: Sequence[str]) -> Figure:
    """Draw the confusion matrix, each row as shares of its true class."""
    counts = confusion_counts(predictions, len(classes))
    share = shares(counts)
    size = 1.6 + 0.62 * len(classes)
    figure, (ax,) = canvas(size + 0.4, size)
    from matplotlib.colors import LinearSegmentedColormap

    ax.imshow(share, cmap=LinearSegmentedColormap.from_list("weft", [SURFACE, HEAT]), vmin=0.0, vmax=1.0)
    for (i, j), value in np.ndenumerate(share):
        ax.text(j, i, f"{100 * value:.1f}", ha="center", va="center", fontsize=8)
    ticks = range(len(classes))
    slanted = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if max(map(len, classes)) > 6 else {}
    ax.set_xticks(ticks, classes, **slanted)
    ax.set_yticks(ticks, classes)
    ax.set_xlabel("Predicted (% of the true class)")
    ax.set_ylabel("True")
    ax.grid(visible=False)
    return figure


def residuals(predictions: Predictions) -> Figure:
    """Draw predicted against true values, and a histogram of their difference, one target a row."""
    true = predictions.y.reshape(predictions.outputs.shape)[:, :MAX_TARGETS].astype(float)
    predicted = predictions.outputs[:, :MAX_TARGETS].astype(float)
    n_targets = true.shape[1]
    figure = blank(9.6, 3.6 * n_targets)
    figure.set_layout_engine("constrained", h_pad=0.12)  # inches; a title is not to look like the label above it
    axes = figure.subplots(n_targets, 2, squeeze=False)
    step = math.ceil(len(true) / MAX_POINTS)
    for k, (left, right) in enumerate(axes):
        suffix = f" of target {k}" if n_targets > 1 else ""
        ends = [min(true[:, k].min(), predicted[:, k].min()), max(true[:, k].max(), predicted[:, k].max())]
        left.scatter(true[::step, k], predicted[::step, k], s=6, color=SERIES[0], alpha=0.45, linewidths=0)
        left.plot(ends, ends, color=MUTED, linewidth=1, linestyle=DASHES[1])
        left.set_xlabel(f"True value{suffix}")
        left.set_ylabel("Predicted value")
        difference = predicted[:, k] - true[:, k]
        right.hist(difference, bins=50, color=SERIES[0], edgecolor=SURFACE, linewidth=0.3)
        right.set_xlabel(f"Predicted − true{suffix}")
        right.set_ylabel("Test rows")
        mean = f"{difference.mean():.3g}".replace("-", "−")
        right.set_title(f"mean {mean}, standard deviation {difference.std():.3g}")
    return figure


def bits(design: DesignContent) -> Figure:
    """Draw how many weights, and how many inputs, of each layer have how many bits; those without any are counted."""
    figure = blank(10.8, 0.7 + 1.15 * len(design.layers))
    axes = figure.subplots(len(design.layers), 2, squeeze=False, sharex="col")
    for k, (kind, color) in enumerate((("weights", SERIES[0]), ("inputs", SERIES[2]))):
        highest = max(int(getattr(layer, kind).max(initial=1)) for layer in design.layers)
        for layer, ax in zip(design.layers, axes[:, k], strict=True):
            values = getattr(layer, kind)
            ax.bar(range(1, highest + 1), np.bincount(values, minlength=highest + 1)[1:], width=0.82, color=color)
            ax.set_xticks(range(1, highest + 1))
            ax.grid(axis="x", visible=False)
            ax.yaxis.set_major_locator(few_whole())
            ax.margins(y=0.12)
            ax.tick_params(length=0)
            ax.set_ylabel(kind.capitalize(), fontsize=8)
            absent = "are zero" if kind == "weights" else "not used"
            ax.set_title(f"{layer.name}: {grouped(int((values == 0).sum()))} of {grouped(values.size)} {kind} {absent}")
    axes[-1][0].set_xlabel("Bits of a weight, from highest to lowest non-zero bit")
    axes[-1][1].set_xlabel("Bits of an input, without sign")
    return figure


def cost(found: Sequence[DesignContent]) -> Figure:
    """Draw estimates (hollow, with their interval) beside synthesis (filled), for LUT and FF."""
    names = [n for n in ("lut", "ff") if any(n in d.estimates or n in d.synthesis for d in found)]
    figure = blank(10.8, 1.1 + 0.34 * len(found))
    axes = figure.subplots(1, len(names), squeeze=False, sharey=True)[0]
    for ax, name in zip(axes, names, strict=True):
        values = []
        for i, design in enumerate(found):
            estimate, made = design.estimates.get(name), design.synthesis.get(name)
            if estimate is not None and estimate["value"] is not None:
                value, ends = estimate["value"], [estimate.get("low"), estimate.get("high")]
                if None not in ends:
                    ax.plot(ends, [i, i], color=MUTED, linewidth=1.2)
                ax.plot(value, i, "o", color=MUTED, markerfacecolor=SURFACE, markersize=6, label=estimate["stage"])
                values.append(value)
            if made is not None and made["value"] is not None:
                ax.plot(made["value"], i, "o", color=SERIES[0], markersize=6, label=made["stage"])
                values.append(made["value"])
        scales(ax, name, None, [(value, 0.0) for value in values])
        ax.set_ylim(len(found) - 0.4, -0.6)
        ax.grid(axis="y", visible=False)
    axes[0].set_yticks(range(len(found)), [design.id for design in found])
    handles = {name: handle for ax in axes for handle, name in zip(*ax.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside upper right", ncols=len(handles))
    return figure

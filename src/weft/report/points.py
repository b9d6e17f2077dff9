"""What the interactive scatter plots draw, axes and points as JSON, and the staircase that a front is in two axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

from weft.objectives import OBJECTIVES
from weft.report.read import Content, DesignContent, SearchContent, describe
from weft.report.text import NOT_YET, PERCENT, axis, label, metric, number, of_trial, plural, with_unit

LOG_ABOVE = 20.0
"""An axis starts out logarithmic if its largest value is more than this many times its smallest."""

Axis = dict[str, Any]
Point = dict[str, Any]


def pairs(objectives: Sequence[str]) -> list[tuple[str, str]]:
    """Return (x, y) of every plot of two objectives; a metric goes on y. One objective is drawn against the trials."""
    if len(objectives) == 1:
        return [("trial", objectives[0])]
    is_metric = {name: OBJECTIVES[name].kind == "metric" for name in objectives}
    return [(b, a) if is_metric[a] else (a, b) for a, b in combinations(objectives, 2)]


def search_plot(content: Content) -> dict[str, Any] | None:
    """Return the plot of all evaluated trials; None where there is none."""
    search = content.search
    if search is None or not search.results.evaluated:
        return None
    names = list(dict.fromkeys([*search.results.objectives, *search.results.constraints]))
    front = {trial.number for trial in search.front}
    picked = {one["number"] for one in content.selection}
    points = [_trial_point(search, trial, names, front, picked) for trial in search.shown]
    x, y = pairs(search.results.objectives)[0]
    return plot_of(points, [*names, "trial"], x, y)


def design_plot(content: Content) -> dict[str, Any] | None:
    """Return the plot of the final designs, test metric against LUT; None where no design has both."""
    points = [
        _design_point(content, design)
        for design in content.designs
        if design.quantity("lut") is not None and design.test(content.metric) is not None
    ]
    return plot_of(points, ["lut", content.metric], "lut", content.metric) if points else None


def replay(content: Content) -> dict[str, Any] | None:
    """Return the search as it went: the evaluated trials in order, when each joined the front and when it left it.

    `enters` and `leaves` count evaluated trials: a trial is on the front while `enters <= shown < leaves`. `volume` is
    the hypervolume by then, in the box of the whole search. None where there is nothing to follow.
    """
    search = content.search
    if search is None or len(search.results.evaluated) < 2:
        return None
    results, names = search.results, search.results.objectives
    trials = results.evaluated
    steps: list[Point] = [
        {
            "trial": trial.number,
            "title": f"Trial {trial.number}",
            "text": describe(trial.genotype),
            "values": {**{name: trial.value(name) for name in names}, "trial": trial.number},
            "misses": not trial.feasible,
            "enters": None,
            "leaves": None,
        }
        for trial in trials
    ]
    final = results.hypervolume()
    volume: list[float] = []
    ahead: list[int] = []
    for i, trial in enumerate(trials):
        mine = trial.losses(names)
        if trial.feasible and not any(_beats(trials[j].losses(names), mine) for j in ahead):
            for j in [j for j in ahead if _beats(mine, trials[j].losses(names))]:
                steps[j]["leaves"] = i
                ahead.remove(j)
            ahead.append(i)
            steps[i]["enters"] = i
            assert final is not None  # there is a feasible trial
            now = replace(results, trials=tuple(trials[j] for j in ahead)).hypervolume(final.reference, final.ideal)
            volume.append(now.value if now else 0.0)
        else:
            volume.append(volume[-1] if volume else 0.0)
    x, y = pairs(names)[0]
    axes = [_axis(name, steps) for name in dict.fromkeys([*names, "trial"])]
    z = next(name for name in (*names, "trial") if name not in (x, y)) if len(axes) > 2 else None
    return {"axes": axes, "steps": steps, "volume": volume, "x": x, "y": y, "z": z, "trials": len(results.trials)}


def _beats(one: Sequence[float], other: Sequence[float]) -> bool:
    return all(a <= b for a, b in zip(one, other, strict=True)) and list(one) != list(other)


def plot_of(points: list[Point], names: Sequence[str], x: str, y: str) -> dict[str, Any]:
    """Return a scatter plot of points in these axes, x and y first."""
    return {"axes": [_axis(name, points) for name in names], "points": points, "x": x, "y": y}


def _axis(name: str, points: Sequence[Point]) -> Axis:
    values = [point["values"][name] for point in points if point["values"].get(name) is not None]
    positive = bool(values) and min(values) > 0
    return {
        "name": name,
        "label": axis(name),
        "direction": OBJECTIVES[name].direction if name in OBJECTIVES else None,
        "scale": 100 if name in PERCENT else 1,
        "may_log": positive,
        "log": positive and max(values) / min(values) > LOG_ABOVE,
    }


def _trial_point(search: SearchContent, trial: Any, names: Sequence[str], front: set[int], picked: set[int]) -> Point:
    lines = []
    for name in names:
        quantity = trial.costs[name]["quantity"] if name in trial.costs else None
        where = f"{quantity['stage']}, {quantity['source']}" if quantity else "validation"
        lines.append([label(name), of_trial(name, trial.value(name), trial.std(name)), where])
    if not trial.feasible:
        lines.append(["Constraints", f"missed by {100 * trial.violation:.3g} %", "share of the bound"])
    is_baseline = trial.key in search.baselines
    if trial.seeds is not None:
        lines.append(["Re-evaluated", plural(trial.seeds, "seed"), "mean ± standard deviation"])
    words = [word for word, is_so in _states(trial, front, picked, is_baseline) if is_so]
    return {
        "id": f"trial {trial.number}",
        "short": str(trial.number),
        "title": f"Trial {trial.number}" + (f": {', '.join(words)}" if words else ""),
        "text": describe(trial.genotype),
        "values": {**{name: trial.value(name) for name in names}, "trial": trial.number},
        "lines": lines,
        "front": trial.number in front,
        "picked": trial.number in picked,
        "baseline": is_baseline,
        "hollow": not trial.feasible,
        "misses": not trial.feasible,
        "named": False,
    }


def _states(trial: Any, front: set[int], picked: set[int], is_baseline: bool) -> list[tuple[str, bool]]:
    return [
        ("baseline", is_baseline),
        ("on the front", trial.number in front),
        ("selected", trial.number in picked),
        ("misses a constraint", not trial.feasible),
    ]


def _design_point(content: Content, design: DesignContent) -> Point:
    lut, found = design.quantity("lut"), design.test(content.metric)
    assert lut is not None and found is not None
    name = content.metric
    return {
        "id": design.id,
        "short": design.id,
        "title": design.id,
        "text": design.architecture,
        "values": {"lut": lut["value"], name: found["value"]},
        "error": found.get("error"),
        "lines": [
            [label(name), with_unit(name, metric(name, found["value"], found.get("error"))), "test"],
            ["LUT", number(lut["value"]), f"{lut['stage']}, {lut['source']}"],
            ["Verification", (design.verification or {}).get("status", NOT_YET), ""],
        ],
        "front": True,
        "picked": False,
        "baseline": False,
        "hollow": lut["stage"] != "synthesis",
        "misses": False,
        "named": True,
    }


def staircase(points: Sequence[tuple[float, float]], directions: tuple[str, str]) -> list[tuple[float, float]]:
    """Return the corners of the front of points (x, y), from the best x to the best y.

    Between two neighbours the better x keeps its y until the worse x is reached.

    Example:
        >>> staircase([(1, 5), (2, 7), (2, 6), (3, 6)], ("min", "max"))
        [(1, 5), (2, 5), (2, 7)]
    """
    signs = [-1.0 if direction == "max" else 1.0 for direction in directions]
    corners: list[tuple[float, float]] = []
    best = float("inf")
    for x, y in sorted(points, key=lambda p: (signs[0] * p[0], signs[1] * p[1])):
        if signs[1] * y < best:
            corners += [(x, corners[-1][1]), (x, y)] if corners else [(x, y)]
            best = signs[1] * y
    return corners

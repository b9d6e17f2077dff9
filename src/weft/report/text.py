"""Numbers and names as a reader sees them: grouped digits, units, errors, and where a number is from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from weft.objectives import OBJECTIVES, is_function

GAP = "\u202f"
"""Narrow space that does not break: between groups of digits, and between a number and its unit."""

NOT_YET = "not run yet"

PERCENT = ("accuracy", "fidelity", "efficiency")
"""The metrics that are shown in percent; other fractions are shown as they are."""

LABELS = {
    "accuracy": "Accuracy",
    "auc": "AUC",
    "fidelity": "Fidelity",
    "efficiency": "Signal efficiency",
    "mse": "MSE",
    "bops": "BOPs",
    "ebops": "EBOPs",
    "lut": "LUT",
    "ff": "FF",
    "dsp": "DSP",
    "carry": "CARRY",
    "bram_18k": "BRAM 18k",
    "lut_fraction": "LUT share",
    "ff_fraction": "FF share",
    "dsp_fraction": "DSP share",
    "bram_fraction": "BRAM share",
    "avg_resource": "Mean resource share",
    "energy_nj": "Energy (model)",
    "uram": "URAM",
    "muxf": "MUXF",
    "logic_depth": "Logic depth",
    "fmax_mhz": "Fmax",
    "latency_cycles": "Latency",
    "latency_ns": "Latency",
    "ii_cycles": "II",
    "parameters": "Parameters",
    "trial": "Trial number",
}

LEVELS = {
    "torch": "PyTorch",
    "keras": "Keras",
    "adder_graph": "adder graph",
    "rtl": "RTL",
    "hls_csim": "HLS C simulation",
}


def level(name: str) -> str:
    """Return the name of a level of verification for people."""
    return LEVELS.get(name, name)


def label(name: str) -> str:
    """Return the name of a metric or quantity for people."""
    return LABELS.get(name, name.partition(" [")[0] if is_function(name) else name.replace("_", " "))


def unit(name: str) -> str:
    """Return the unit that `metric` and `axis_value` show a metric or cost in; empty for a pure number."""
    if name in PERCENT:
        return "%"
    spec = OBJECTIVES.get(name)
    return "" if spec is None or spec.unit in ("fraction", "count") else spec.unit


def axis(name: str) -> str:
    """Return the label of an axis, with the unit where the name does not say it."""
    return f"{label(name)} ({unit(name)})" if unit(name) and name not in ("ebops", "bops", "mse") else label(name)


def grouped(value: float, decimals: int = 0) -> str:
    """Return a number with its digits in groups of three.

    Example:
        >>> grouped(12345.678, 1).replace(GAP, " ")
        '12 345.7'
    """
    return f"{value:,.{decimals}f}".replace(",", GAP).replace("-", "−")


def number(value: float | None) -> str:
    """Return a number of unknown size in at least three digits, an en dash for None.

    Example:
        >>> [number(v).replace(GAP, " ") for v in (10000, 0.01234, 3.14159, None, 1e-7)]
        ['10 000', '0.01234', '3.142', '–', '1e-07']
    """
    if value is None or not math.isfinite(value):
        return "–" if value is None else str(value)
    if value == round(value) and abs(value) < 1e15:
        return grouped(value)
    return grouped(value) if abs(value) >= 1000 else f"{value:.4g}".replace("-", "−", 1 if value < 0 else 0)


def metric(name: str, value: float, error: float | None = None) -> str:
    """Return a metric without its unit: percent where it is a share, with as many digits as its error has meaning.

    Example:
        >>> metric("accuracy", 0.71234, 0.0032).replace(GAP, " ")
        '71.2 ± 0.3'
    """
    if name not in PERCENT:
        return f"{value:.4f}" if name == "auc" else f"{value:.4g}"
    if not error:
        return f"{100 * value:.1f}"
    decimals = min(max(-math.floor(math.log10(100 * error)), 0), 4)
    return f"{100 * value:.{decimals}f}{GAP}±{GAP}{100 * error:.{decimals}f}"


def with_unit(name: str, text: str) -> str:
    """Return a number's text with the unit of its metric or cost."""
    return f"{text}{GAP}{unit(name)}" if unit(name) else text


def of_trial(name: str, value: float, std: float | None = None) -> str:
    """Return a metric or cost of a trial with its unit, and its standard deviation over folds."""
    if name in OBJECTIVES and OBJECTIVES[name].kind == "metric":
        return with_unit(name, metric(name, value, std))
    return with_unit(name, number(value) + (f"{GAP}±{GAP}{number(float(f'{std:.2g}'))}" if std else ""))


def provenance(name: str, quantity: Mapping[str, Any]) -> str:
    """Say everything there is to know about a quantity in one line: value, unit, interval, stage, source, reason."""
    parts = [f"{label(name)} {number(quantity['value'])} {quantity['unit']}"]
    if quantity.get("low") is not None and quantity.get("high") is not None:
        parts[0] += f" ({number(round(quantity['low']))} to {number(round(quantity['high']))})"
    parts += [f"stage: {quantity['stage']}", f"source: {quantity['source']}"]
    return "; ".join([*parts, *([quantity["reason"]] if quantity.get("reason") else [])])


def duration(seconds: float) -> str:
    """Return a time span.

    Example:
        >>> [duration(s).replace(GAP, " ") for s in (0.25, 12.3, 250, 7300)]
        ['0.2 s', '12 s', '4 min 10 s', '2 h 1 min']
    """
    if seconds < 60:
        return f"{seconds:.1f}{GAP}s" if seconds < 10 else f"{seconds:.0f}{GAP}s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}{GAP}min {whole % 60}{GAP}s"
    return f"{whole // 3600}{GAP}h {whole % 3600 // 60}{GAP}min"


def plural(count: int, noun: str) -> str:
    """Return `1 design`, `2 designs`."""
    return f"{grouped(count)} {noun}{'' if count == 1 else 's'}"

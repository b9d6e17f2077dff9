"""How figures look: weft's own style, or on request that of mplhep and of its experiments; and what all figures share.

Ink and series colours are fixed values here; `weft.report.svg` turns them into the colours of the page, light or dark.
So a style of mplhep gives its fonts, ticks, frame and places of labels, and the sizes and colours stay.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from weft.errors import ConfigError, ToolNotFoundError
from weft.report.points import LOG_ABOVE
from weft.report.text import PERCENT, axis, grouped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, LINE, SURFACE = "#1a1d21", "#5a626c", "#d4d8dd", "#ffffff"
SERIES = ("#0069b4", "#c4500c", "#00856a", "#a5468c", "#8a6d00", "#4d5b9e", "#7b3f00", "#4b5157")
"""Colours of series: told apart with deficient colour vision too, and by their dashes."""

HEAT = "#599dce"
"""The colour of a full cell of a confusion matrix; ink reads well on it."""

DASHES = ("-", (0, (5, 1.6)), (0, (1.4, 1.4)), (0, (6, 1.5, 1.4, 1.5)))

STYLE: dict[str, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": MUTED,
    "axes.facecolor": SURFACE,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.labelsize": 9,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 9,
    "figure.facecolor": SURFACE,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "lines.linewidth": 1.5,
    "savefig.facecolor": SURFACE,
    "svg.fonttype": "none",
    "svg.hashsalt": "weft",
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": MUTED,
    "xtick.labelcolor": INK,
    "xtick.labelsize": 8,
    "ytick.color": MUTED,
    "ytick.labelcolor": INK,
    "ytick.labelsize": 8,
}

STYLES = {
    "mplhep": "ROOT",
    "ROOT": "ROOT",
    "ATLAS": "ATLAS",
    "CMS": "CMS",
    "LHCb": "LHCb2",
    "ALICE": "ALICE",
    "DUNE": "DUNE",
}
"""Styles of mplhep by the names that they have here; `mplhep` is its default one."""

_TICKS = ("direction", "minor.visible", "top", "bottom", "left", "right")
_TICK_LENGTHS = {"major.size": 5.0, "minor.size": 2.5}


def style_of(name: str | None) -> dict[Any, Any]:
    """Return matplotlib's settings for a style; None is weft's own.

    Raises:
        ConfigError: there is no style of this name.
        ToolNotFoundError: it is one of mplhep, which is not installed.
    """
    if name is None or name == "weft":
        return STYLE
    known = {one.lower(): one for one in STYLES}
    if name.lower() not in known:
        raise ConfigError(f"there is no plot style '{name}'; there are weft, {', '.join(STYLES)}")
    try:
        import mplhep
    except ImportError as error:
        raise ToolNotFoundError(
            f"the plot style '{name}' is one of mplhep, which is not installed: pip install 'weft[hep]', or leave "
            "--style out"
        ) from error
    given: dict[str, Any] = getattr(mplhep.style, STYLES[known[name.lower()]])
    font = given[f"font.{given['font.family']}"][0]
    taken: dict[str, Any] = {"font.family": [font, *STYLE["font.sans-serif"]]}  # the second for what the first lacks
    taken["svg.fonttype"] = "path"  # few machines have the font, and another one does not fit where this was measured
    for side in ("xtick", "ytick"):
        taken |= {f"{side}.{key}": given[f"{side}.{key}"] for key in _TICKS if f"{side}.{key}" in given}
        taken |= {f"{side}.{key}": size for key, size in _TICK_LENGTHS.items()}
    labels = {f"{side}axis.labellocation": given.get(f"{side}axis.labellocation", "center") for side in "xy"}
    frame = {"axes.grid": False, "axes.spines.right": True, "axes.spines.top": True, "axes.edgecolor": INK}
    return {**STYLE, **taken, **labels, **frame, "xtick.color": INK, "ytick.color": INK}


def blank(width: float, height: float) -> Figure:
    """Return an empty figure of a size in inches."""
    from matplotlib.figure import Figure

    return Figure((width, height), layout="constrained")


def canvas(width: float, height: float) -> tuple[Figure, list[Axes]]:
    """Return a figure with one panel."""
    figure = blank(width, height)
    return figure, [figure.add_subplot()]


def as_shown(name: str, value: Any) -> float:
    """Return a value as the page shows it: shares in percent."""
    return 100.0 * value if name in PERCENT else float(value)


def scales(
    ax: Axes, x: str, y: str | None, points: Sequence[tuple[float, float]], log_above: float = LOG_ABOVE
) -> None:
    """Label both axes, and make those logarithmic that span much."""
    for which, name, values in (("x", x, [p[0] for p in points]), ("y", y, [p[1] for p in points])):
        if name is None:
            continue
        side = ax.xaxis if which == "x" else ax.yaxis
        side.set_label_text(axis(name))
        if values and min(values) > 0 and max(values) / min(values) > log_above:
            log_axis(ax, which, values)
        elif name not in PERCENT and values and max(values) >= 1000:
            side.set_major_formatter(formatter(lambda value, _: grouped(value)))


def log_axis(ax: Axes, which: str, values: Sequence[float]) -> None:
    """Make an axis logarithmic with plain labels: 1, 2, 5 steps over few decades, powers of ten over many."""
    from matplotlib.ticker import LogLocator, NullFormatter

    ax.set(**{f"{which}scale": "log"})
    side = ax.xaxis if which == "x" else ax.yaxis
    decades = math.log10(max(values) / min(values))
    text = _plain if min(values) >= 0.01 else _power
    side.set_major_locator(LogLocator(subs=(1.0,) if decades > 1.7 else (1.0, 2.0, 5.0), numticks=9))
    side.set_major_formatter(formatter(lambda value, _: text(value)))
    side.set_minor_formatter(NullFormatter())


def _plain(value: float) -> str:
    """Return a tick: digits up to a million, powers of ten beyond."""
    if value < 2e6:
        return grouped(value) if value >= 1 else f"{value:g}"
    return _power(value)


def _power(value: float) -> str:
    """Return a tick as a power of ten, `10⁻³` or `2·10⁻³`."""
    exponent = math.floor(math.log10(value) + 1e-9)
    power = "10" + str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    front = round(value / 10.0**exponent)
    if exponent == 0:
        return str(front)
    return power if front == 1 else f"{front}·{power}"


def formatter(function: Callable[[float, int], str]) -> Any:
    """Return a formatter of ticks by a function."""
    from matplotlib.ticker import FuncFormatter

    return FuncFormatter(function)


def few_whole() -> Any:
    """Return a locator of few whole numbers."""
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(nbins=3, integer=True)


def legend_beside(ax: Axes) -> None:
    """Put the legend on the right of a panel."""
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))


def render(figure: Figure) -> tuple[bytes, bytes]:
    """Return a figure as PNG and as SVG, without anything that changes from time to time."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    png, svg = io.BytesIO(), io.BytesIO()
    FigureCanvasAgg(figure).print_figure(png, format="png", dpi=150, metadata={"Software": None})
    figure.set_layout_engine("none")  # everything is in its place
    nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
    FigureCanvasSVG(figure).print_figure(svg, format="svg", metadata=nothing)
    return png.getvalue(), svg.getvalue()

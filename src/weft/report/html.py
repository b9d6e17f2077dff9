"""Write the report: one HTML file that needs nothing else, not even a network, and the figures beside it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weft import atomic

if TYPE_CHECKING:
    from jinja2 import Template
    from markupsafe import Markup

    from weft.report.read import Content, DesignContent
    from weft.run import Run

Figures = dict[str, tuple[bytes, bytes]]
"""PNG and SVG by name."""

FIGURES = "figures"
"""Directory of a run that holds its figures."""

_TEMPLATES = files("weft.report") / "templates"


def write_report(run: Run, style: str | None = None) -> Path:
    """Write `report.html` and `figures/*` into a run directory and return the path of the report.

    Whatever the run holds by now is shown; parts whose stage has not run say so. The same run gives the same bytes.

    Args:
        run: The run.
        style: How figures look: one of `weft.report.style.STYLES`; None is weft's own style.

    Raises:
        ConfigError: there is no such style.
        ToolNotFoundError: the style needs mplhep, which is not installed.
    """
    from weft.report.figures import store
    from weft.run.directory import REPORT

    html, figures = report_of(run, style)
    store(figures, run.path / FIGURES)
    path = run.path / REPORT
    atomic.write_text(path, html)
    return path


def report_of(run: Run, style: str | None = None) -> tuple[str, Figures]:
    """Return the report as HTML, and its figures by name as PNG and SVG; nothing is written."""
    from weft.report.figures import draw_all
    from weft.report.read import read_content

    content = read_content(run)
    figures = draw_all(content, style)
    return render(content, {name: svg.decode() for name, (_, svg) in figures.items()}), figures


def render(content: Content, figures: Mapping[str, str]) -> str:
    """Return the report as HTML; `figures` holds the SVG text of each figure by name."""
    from weft.report import hardware, points, verdict

    return page("report.html.j2").render(
        content=content,
        verdict=verdict.verdict(content),
        search_plot=points.search_plot(content),
        design_plot=points.design_plot(content),
        replay=points.replay(content),
        fronts=[name for name in figures if name.startswith("front_")],
        foreign=any(hardware.OTHER_CHIP in s.name for _, steps in hardware.trails(content, "lut") for s in steps),
        trails=_trails(content),
        confusions={design.id: _confusion(content, design) for design in content.designs},
        balance=_balance(content),
        said=None if content.said is None else _markdown(content.said),
        figure=FigureInliner(figures),
    )


def page(name: str, script: str | None = None) -> Template:
    """Return a template with everything that pages share: style, program, and the hash that lets it run.

    Args:
        name: Of the template.
        script: Its program; None is that of the report.
    """
    from jinja2 import Environment, FunctionLoader, StrictUndefined
    from markupsafe import Markup

    from weft.report import tables, text

    environment = Environment(
        autoescape=True,
        loader=FunctionLoader(lambda name: (_TEMPLATES / name).read_text("utf-8")),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    if script is None:
        script = "\n".join((_TEMPLATES / part).read_text("utf-8") for part in ("report.js", "replay.js"))
    environment.globals |= {
        "script": Markup(script),
        "script_hash": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        "style": Markup((_TEMPLATES / "report.css").read_text("utf-8")),
        "tables": tables,
        "text": text,
    }
    return environment.get_template(name)


def _markdown(text: str) -> Markup:
    """Return notes as HTML: markup in them stays text, and images stay links, since a report loads nothing."""
    from markdown_it import MarkdownIt
    from markupsafe import Markup

    reader = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")
    return Markup(reader.render(text).replace("<h1>", "<h3>").replace("</h1>", "</h3>")
                  .replace("<h2>", "<h3>").replace("</h2>", "</h3>"))  # fmt: skip


class FigureInliner:
    """Puts figures into the page; each call gives its figure ids of its own."""

    def __init__(self, figures: Mapping[str, str]) -> None:
        self._figures, self._count = figures, 0

    def __contains__(self, name: str) -> bool:
        return name in self._figures

    def __call__(self, name: str, description: str) -> Any:
        from markupsafe import Markup

        from weft.report.svg import inline

        self._count += 1
        return Markup(inline(self._figures[name], f"f{self._count}", description))


def _trails(content: Content) -> dict[int | str, list[DesignContent]]:
    """Return the designs that have a trail, by what they share it with."""
    found: dict[int | str, list[DesignContent]] = {}
    for design in content.designs:
        if design.trail:
            found.setdefault(design.family, []).append(design)
    return found


def _confusion(content: Content, design: DesignContent) -> dict[str, Any] | None:
    from weft.report.figures import class_names, confusion_counts, shares

    if design.predictions is None or content.task == "regression":
        return None
    names = class_names(content)
    counts = confusion_counts(design.predictions, len(names))
    return {"names": names, "counts": counts.tolist(), "shares": shares(counts).tolist()}


def _balance(content: Content) -> list[tuple[str, int, float]] | None:
    """Return the classes of the test rows: name, number, share. They are known once a design was measured on them."""
    import numpy as np

    from weft.report.figures import class_names

    known = [design.predictions for design in content.designs if design.predictions is not None]
    if not known or content.task == "regression":
        return None
    names = class_names(content)
    counts = np.bincount(known[0].y.ravel(), minlength=len(names))
    return [(name, int(n), float(n / counts.sum())) for name, n in zip(names, counts, strict=True)]

"""A matplotlib SVG made part of the page: in the page's colours and fonts, and without names that clash."""

from __future__ import annotations

import re
from collections.abc import Iterator
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from weft.report.style import INK, LINE, MUTED, SERIES, SURFACE

_COLOURS = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    LINE: "var(--line)",
    SURFACE: "var(--surface)",
    **{color: f"var(--series-{i})" for i, color in enumerate(SERIES)},
}
_COLOUR = re.compile("|".join(_COLOURS))


def inline(text: str, prefix: str, description: str) -> str:
    """Return the `<svg>` element of an SVG file for use within HTML.

    Args:
        text: What matplotlib wrote.
        prefix: Goes before every id, unique in the page.
        description: What the figure shows, for those who do not see it.
    """
    root = ElementTree.fromstring(text)
    referred = set(re.findall(r'(?:href="|url\()#([^")]+)', text))
    for parent in list(root.iter()):
        for child in list(parent):
            if _local(child.tag) in ("metadata", "style"):
                parent.remove(child)
    for element in root.iter():
        element.tag = _local(element.tag)
        element.attrib = dict(_attributes(element, prefix, referred))
        if element.tag != "text":
            element.text = None
        element.tail = None
    _, _, width, height = root.attrib["viewBox"].split()
    root.attrib = {
        "viewBox": f"0 0 {width} {height}",
        "style": f"--width: {float(width):.0f}",
        "role": "img",
        "aria-label": description,
    }
    return ElementTree.tostring(root, encoding="unicode")


def _attributes(element: Element, prefix: str, referred: set[str]) -> Iterator[tuple[str, str]]:
    for key, value in element.attrib.items():
        name = _local(key)
        if name == "id":
            if value in referred:
                yield name, f"{prefix}-{value}"
        elif name == "href":
            yield name, value.replace("#", f"#{prefix}-", 1)
        elif name == "style":
            value = _COLOUR.sub(lambda match: _COLOURS[match[0]], value)
            value = re.sub(r"font: ([0-9.]+px) [^;]*", r"font-size: \1", value)
            yield name, re.sub(r"font-family: [^;]*;? ?", "", value)
        else:
            value = re.sub(r"[0-9]+\.[0-9]{3,}", lambda match: f"{float(match[0]):.2f}", value)
            yield name, value.replace("url(#", f"url(#{prefix}-")


def _local(name: str) -> str:
    return name.rpartition("}")[2]

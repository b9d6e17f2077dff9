"""Families of parts, which synthesis tools have flows for."""

from __future__ import annotations

import re

from weft.errors import UnsupportedError

_FAMILIES = (
    ("xcup", r"xc(vu|ku)\d+p|xczu|xck\d|xcu\d", "xcvu*p, xcku*p, xczu*, xck26, xcu* (UltraScale+)"),
    ("xcu", r"xc(vu|ku)\d+", "xcvu*, xcku* (UltraScale)"),
    ("xc7", r"xc7", "xc7* (7 series)"),
)


def family_of(part: str) -> str:
    """Return the family of a part in the words of Yosys, such as `xcup`; package and speed grade do not matter.

    Raises:
        UnsupportedError: The part is of no family that can be synthesised for.
    """
    for family, pattern, _ in _FAMILIES:
        if re.match(pattern, part.lower()):
            return family
    known = "; ".join(words for _, _, words in _FAMILIES)
    raise UnsupportedError(f"Yosys has no flow for part '{part}'; there are flows for {known}")

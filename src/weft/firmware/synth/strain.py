"""What a design takes beyond its part, or beyond one super logic region of it, said where it is counted."""

from __future__ import annotations

from collections.abc import Mapping

from weft.config import Part
from weft.types import Quantity


def strained(quantities: Mapping[str, Quantity], device: Part) -> dict[str, Quantity]:
    """Return quantities in which the reason of each that strains a device begins with that; see `Part.strain`."""
    said = device.strain({name: one.value for name, one in quantities.items()})
    return {
        name: one.model_copy(update={"reason": "; ".join(filter(None, (said[name], one.reason)))})
        if name in said
        else one
        for name, one in quantities.items()
    }

"""Vivado's reports as quantities: `report_utilization` and `report_timing_summary`, of 2019.2 and later.

A field that a report lacks is a quantity without a value whose reason says so. Text that is no report of Vivado, or of
a design at another stage than asked for, is an error.
"""

from __future__ import annotations

import re

from weft.errors import ToolError
from weft.types import Quantity, Stage

_ROWS: dict[str, tuple[tuple[str, float], ...]] = {
    "lut": (("CLB LUTs", 1), ("Slice LUTs", 1)),
    "ff": (("CLB Registers", 1), ("Slice Registers", 1)),
    "dsp": (("DSPs", 1), ("DSP Slices", 1)),
    "carry": (("CARRY8", 1), ("CARRY4", 1)),
    "bram_18k": (("Block RAM Tile", 2),),
    "uram": (("URAM", 1),),
}
"""Names of a resource's row in the reports of all families, and what one of it counts for."""

_STATES: dict[str, Stage] = {"Synthesized": "synthesis", "Routed": "post_route"}
_WIRES = {"synthesis": "of estimated wires: before placement", "post_route": "of routed wires"}


def utilization(text: str, stage: Stage) -> dict[str, Quantity]:
    """Read what `report_utilization` writes.

    Args:
        text: The report.
        stage: `synthesis` or `post_route`.

    Returns:
        lut (with those used as memory), ff, dsp, carry, bram_18k and uram.

    Raises:
        ToolError: The text is no such report, or of a design at another stage.
    """
    source, used = _source(text, stage, "utilisation"), _used(text)
    found: dict[str, Quantity] = {}
    for name, rows in _ROWS.items():
        said = next(((used[row], each) for row, each in rows if row in used), None)
        value, note = None, f"the report has no row {' or '.join(repr(row) for row, _ in rows)}"
        if said is not None and re.fullmatch(r"\d+(\.\d+)?", said[0]):
            value, note = float(said[0]) * said[1], "a tile of 36 kbit counts as two" if name == "bram_18k" else None
        elif said is not None:
            note = f"the report says '{said[0]}'"
        found[name] = Quantity(value=value, unit="count", stage=stage, source=source, reason=note)
    return found


def timing(text: str, stage: Stage) -> dict[str, Quantity]:
    """Read what `report_timing_summary` writes.

    Args:
        text: The report.
        stage: `synthesis` or `post_route`.

    Returns:
        slack_ns (worst negative slack) and fmax_mhz, 1 / (period - slack).

    Raises:
        ToolError: The text is no such report, or of a design at another stage.
    """
    source, slack, period = _source(text, stage, "timing"), _slack(text), _period(text)
    fastest, why = None, "the report holds no path between registers" if slack is None else "the report has no clock"
    if slack is not None and period is not None and period > slack:
        fastest, why = 1000 / (period - slack), f"1 / ({period:g} ns - WNS of {slack:g} ns), {_WIRES[stage]}"
    note = "worst negative slack" if slack is not None else why
    return {
        "slack_ns": Quantity(value=slack, unit="ns", stage=stage, source=source, reason=note),
        "fmax_mhz": Quantity(value=fastest, unit="MHz", stage=stage, source=source, reason=why),
    }


def _source(text: str, stage: Stage, what: str) -> str:
    """Return the tool and its version."""
    version = re.search(r"\| Tool Version\s*:\s*Vivado v\.?(\d{4}\.\S+)", text)
    if version is None:
        raise ToolError(
            f"cannot read the {what} report (its head names no version of Vivado); run the tool again, and see its log"
        )
    state = re.search(r"\| Design State\s*: (.+)", text)
    if state and not any(word in state.group(1) for word, its in _STATES.items() if its == stage):
        raise ToolError(
            f"cannot read the {what} report (the design is '{state.group(1).strip()}', and {stage} was asked for); "
            "run the tool again, and see its log"
        )
    return f"Vivado {version.group(1)}"


def _used(text: str) -> dict[str, str]:
    """Return the column `Used` of all tables of sites, by the row's name without its footnote."""
    found: dict[str, str] = {}
    column = None
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if not cells:
            column = None if not line.startswith("+") else column
        elif cells[0] in ("Site Type", "Ref Name") or "Used" in cells:
            column = cells.index("Used") if cells[0] == "Site Type" and "Used" in cells else None
        elif column is not None and len(cells) > column:
            found.setdefault(cells[0].rstrip("*").strip(), cells[column])
    return found


def _slack(text: str) -> float | None:
    """Return the worst negative slack of the design, in ns."""
    found = re.search(r"^\s*WNS\(ns\).*\n[\s-]+\n\s*(-?\d+\.\d+|NA)\b", text, re.MULTILINE)
    return None if found is None or found.group(1) == "NA" else float(found.group(1))


def _period(text: str) -> float | None:
    """Return the period of the clock, in ns; of several clocks the shortest."""
    table = re.search(r"^Clock\s+Waveform\(ns\)\s+Period\(ns\).*\n[\s-]+\n((?:\S.*\n|\s+\S.*\n)*)", text, re.MULTILINE)
    periods = re.findall(r"\{[^}]*\}\s+(\d+\.\d+)", table.group(1)) if table else []
    return min(map(float, periods), default=None)

"""Reports of Vitis HLS and Vivado HLS as quantities: C synthesis and co-simulation.

A field that a report lacks, or that the tool left open, is a quantity without a value whose reason says so. Text that
is no such report, or ends in the middle, is an error: it never looks like a result.

hls4ml has a reader of its own (`hls4ml.report`), which is not used: it gives text without units, counts block RAM tiles
of 36 kbit as `BRAM_18K`, so half of what the same name means in C synthesis, reads routed numbers of its accelerator
projects only, and prints what is missing instead of returning it.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterable, Mapping

from weft.errors import ToolError
from weft.types import Quantity, Stage

_COUNTS = ("lut", "ff", "dsp", "bram_18k", "uram")
_CELLS = {"LUT": "lut", "FF": "ff", "DSP": "dsp", "DSP48E": "dsp", "BRAM_18K": "bram_18k", "URAM": "uram"}


def csynth_xml(text: str, tool: str) -> dict[str, Quantity]:
    """Read `<top>_csynth.xml`.

    Args:
        text: The report.
        tool: `Vitis HLS` or `Vivado HLS`; its version is in the report.

    Returns:
        lut, ff, dsp, bram_18k, uram, latency_cycles (worst case), ii_cycles (longest), fmax_mhz (of the estimated
        clock) and latency_ns (at the clock asked for), of stage `hls_report`.

    Raises:
        ToolError: The text is no such report, or only the beginning of one.
    """
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise _unreadable("C synthesis", str(error)) from error
    if root.find("./AreaEstimates/Resources") is None and root.find("./PerformanceEstimates") is None:
        raise _unreadable("C synthesis", f"its root <{root.tag}> holds neither performance nor area estimates")

    def field(path: str) -> str | None:
        found = root.find(path)
        return None if found is None else (found.text or "").strip()

    resources = root.find("./AreaEstimates/Resources")
    used = {_CELLS[cell.tag]: cell.text for cell in (resources if resources is not None else ()) if cell.tag in _CELLS}
    overall = "./PerformanceEstimates/SummaryOfOverallLatency"
    return _csynth(
        f"{tool} {field('./ReportVersion/Version') or 'of unknown version'}",
        used,
        latency=field(f"{overall}/Worst-caseLatency"),
        interval=field(f"{overall}/Interval-max"),
        target=field("./UserAssignments/TargetClockPeriod"),
        estimated=field("./PerformanceEstimates/SummaryOfTimingAnalysis/EstimatedClockPeriod"),
    )


def csynth_rpt(text: str) -> dict[str, Quantity]:
    """Read `<top>_csynth.rpt`, as Vivado HLS (since 2018) and Vitis HLS write it; for the quantities see `csynth_xml`.

    Raises:
        ToolError: The text is no such report, or only the beginning of one.
    """
    title = re.search(r"== (Vitis HLS|Vivado HLS) Report for", text)
    totals = _row(text, r"Total")
    if title is None or totals is None:
        what = "title" if title is None else "row of totals"
        raise _unreadable("C synthesis", f"it has no {what}")
    version = re.search(r"\* Version:\s+(\S+)", text)
    names = next((row for row in _rows(text) if "BRAM_18K" in row), [])
    used = {_CELLS[name]: value for name, value in zip(names, totals, strict=False) if name in _CELLS}
    clock = _row(text, r"ap_clk") or []
    after = _rows(text.partition("+ Latency")[2])
    cycles = next((row for row in after if len(row) in (5, 7) and re.fullmatch(r"\d+|\?|undef", row[0])), [])
    # latency least and most, perhaps both in time as well, interval least and most, kind of pipeline
    return _csynth(
        f"{title.group(1)} {version.group(1) if version else 'of unknown version'}",
        used,
        latency=cycles[1] if cycles else None,
        interval=cycles[-2] if cycles else None,
        target=_without_unit(clock[1]) if len(clock) > 2 else None,
        estimated=_without_unit(clock[2]) if len(clock) > 2 else None,
    )


def _csynth(
    source: str,
    used: Mapping[str, str | None],
    *,
    latency: str | None,
    interval: str | None,
    target: str | None,
    estimated: str | None,
) -> dict[str, Quantity]:
    quantity = _maker("hls_report", f"{source}, C synthesis")
    found = {name: quantity(used.get(name), "count") for name in _COUNTS}
    found["latency_cycles"] = quantity(latency, "cycles", note="worst case")
    found["ii_cycles"] = quantity(interval, "cycles", note="longest interval")
    found["fmax_mhz"] = quantity(estimated, "MHz", lambda ns: 1000 / ns, "of the clock period that the tool estimates")
    asked = _number(target)
    if asked is None:
        found["latency_ns"] = quantity(None, "ns", note="the report names no target clock")
    else:
        found["latency_ns"] = quantity(latency, "ns", lambda c: c * asked, f"at the {asked:g} ns clock asked for")
    return found


def cosim_rpt(text: str, tool: str) -> dict[str, Quantity]:
    """Read `<top>_cosim.rpt`: what the simulation of the generated RTL took.

    Args:
        text: The report.
        tool: The tool and its version, which this report does not name.

    Returns:
        latency_cycles and ii_cycles (the longest of each), of stage `hls_report`; without value where the simulation
        failed, with its status as the reason.

    Raises:
        ToolError: The text is no such report, or no RTL was simulated.
    """
    rows = [row for row in _rows(text) if row and row[0] in ("Verilog", "VHDL") and len(row) >= 8 and row[1] != "NA"]
    if not rows:
        raise _unreadable("co-simulation", "it has no row of a simulated language")
    language, status, *cycles = rows[0]
    quantity = _maker("hls_report", f"{tool}, C/RTL co-simulation of {language}")
    if status.lower() != "pass":
        return {
            name: quantity(None, "cycles", note=f"the co-simulation ended with status {status}")
            for name in ("latency_cycles", "ii_cycles")
        }
    return {
        "latency_cycles": quantity(cycles[2], "cycles", note="longest"),
        "ii_cycles": quantity(cycles[5], "cycles", note="longest"),
    }


def _maker(stage: Stage, source: str) -> Callable[..., Quantity]:
    def quantity(
        text: str | None, unit: str, change: Callable[[float], float] = lambda x: x, note: str | None = None
    ) -> Quantity:
        value = _number(text)
        if text is None:
            note = note if note and ("report" in note or "status" in note) else "the report does not say"
        elif value is None:
            note = f"the report says '{text.strip()}'"
        return Quantity(
            value=None if value is None else change(value), unit=unit, stage=stage, source=source, reason=note
        )

    return quantity


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text is not None else None
    except ValueError:
        return None


def _without_unit(text: str) -> str:
    return text.removesuffix("ns").strip()


def _rows(text: str) -> list[list[str]]:
    """Return the cells of every line between bars."""
    return [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in text.splitlines() if "|" in line]


def _row(text: str, first: str) -> list[str] | None:
    """Return the cells of the first row of a table that begins with something, or None."""
    rows: Iterable[list[str]] = _rows(text)
    return next((row for row in rows if len(row) > 1 and re.fullmatch(first, row[0])), None)


def _unreadable(what: str, why: str) -> ToolError:
    return ToolError(f"cannot read the {what} report ({why}); run the tool again, and see its log")

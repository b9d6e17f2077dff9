"""Synthesis by Yosys, from the `pyosys` wheel: a script, a run in a process of its own, and the cells it ends with.

There are flows for AMD's UltraScale+, UltraScale and 7 series, and for Lattice's ECP5 and iCE40.

The counts are of mapped cells before placement. Against Vivado's post-route report, on the one pipelined design for
which both are recorded, look-up tables were 2 % more and flip-flops 22 % more, since Vivado moves registers.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from weft import atomic
from weft.adder_graph import TOP
from weft.config import find_part
from weft.errors import ToolError, ToolNotFoundError
from weft.firmware._process import run_logged
from weft.firmware.rtl import Project
from weft.firmware.synth.strain import strained
from weft.firmware.vhdl import verilog_of
from weft.types import Quantity

SCRIPT, LOG, REPORT, NETLIST = "yosys.ys", "yosys.log", "yosys.json", "netlist.json"

_RUN = "import sys; from pyosys import libyosys as y; y.run_pass('script ' + sys.argv[1], y.Design())"

# What one cell of a kind takes, by resource. Cells of an empty kind take nothing of their own.
_CELLS: tuple[tuple[str, dict[str, float]], ...] = (
    (r"LUT[1-6]|LUT6_2|SRL16E|SRLC16E|SRLC32E|SB_LUT4", {"lut": 1}),
    (r"CCU2C", {"lut": 2, "carry": 1}),
    (r"FD[RSCP]E(_1)?|LD[CP]E|TRELLIS_FF|SB_DFF\w*", {"ff": 1}),
    (r"CARRY4|CARRY8|SB_CARRY", {"carry": 1}),
    (r"DSP48E1|DSP48E2|MULT18X18D|SB_MAC16", {"dsp": 1}),
    (r"RAMB18E1|RAMB18E2|DP16KD|SB_RAM40_4K", {"bram_18k": 1}),
    (r"RAMB36E1|RAMB36E2", {"bram_18k": 2}),
    (r"MUXF[789]|PFUMX|L6MUX21", {"muxf": 1}),
    (r"INV|BUFG|GND|VCC|\$scopeinfo", {}),
)
_AMD_NOTES = {
    "carry": "CARRY4 cells; a CARRY8 of UltraScale+ does the work of two",
    "muxf": "multiplexers between look-up tables of one slice",
}
_NOTES = {
    "ecp5": {"lut": "of four inputs; a CCU2C of two carries takes two of them", "carry": "CCU2C cells"},
    "ice40": {"lut": "of four inputs", "bram_18k": "blocks of 4 kbit"},
}

_FLOWS = {
    "ecp5": f"synth_ecp5 -noiopad -top {TOP} -json {NETLIST}",
    "ice40": f"synth_ice40 -top {TOP}",
}
_AMD_FLOW = f"synth_xilinx -family {{family}} -flatten -noiopad -noclkbuf -top {TOP}"

# The longest chain of cells between two registers: `ltp -noff` does not know the flip-flops of a vendor's library.
_DEPTH = "select -set logic w:* t:* %u t:FD* %d t:LD?E %d t:TRELLIS_FF %d t:SB_DFF* %d\nltp @logic"


def find() -> str:
    """Return the version of Yosys, such as `0.70`.

    Raises:
        ToolNotFoundError: The `pyosys` package is missing.
    """
    try:
        return version("pyosys")
    except PackageNotFoundError as error:
        raise ToolNotFoundError(
            "synthesis needs the Python package 'pyosys', which is missing; pip install pyosys, "
            "or set firmware.synth: none"
        ) from error


def emit(project: Project, family: str, place: Path, timeout_s: float = 600.0) -> str:
    """Return the Yosys script that synthesises a project for a family, run in `place`, and prints its cells as JSON.

    VHDL is turned into Verilog in `place`.
    """
    files = (Path(os.path.relpath(path, place.resolve())) for path in verilog_of(project, place, timeout_s))
    sources = " ".join(f'"{path.as_posix()}"' for path in files)
    return "\n".join(
        (
            f"read_verilog -defer {sources}",
            f"hierarchy -check -top {TOP}",
            _FLOWS.get(family, _AMD_FLOW.format(family=family)),
            _DEPTH,
            f"tee -q -o {REPORT}.new stat -json",
            "",
        )
    )


def run(project: Project, family: str, place: Path, timeout_s: float) -> dict[str, Quantity]:
    """Synthesise a project; script, log, report and netlist lie in `place`.

    Raises:
        ToolError: Yosys failed, was killed, or took longer than `timeout_s` seconds.
    """
    start = time.monotonic()
    atomic.write_text(place / SCRIPT, emit(project, family, place, timeout_s))
    report, log = place / f"{REPORT}.new", place / LOG
    with tempfile.TemporaryDirectory(prefix="weft-yosys-") as scratch:
        run_logged(
            [sys.executable, "-P", "-c", _RUN, SCRIPT],
            task=f"synthesise {project.directory} with Yosys {find()}",
            log=log,
            timeout_s=max(timeout_s - (time.monotonic() - start), 0.1),
            cwd=place,
            env={"TMPDIR": scratch},
        )
    text = report.read_text() if report.exists() else ""
    report.unlink(missing_ok=True)
    quantities = {**parse(text, family), "logic_depth": depth_of(log.read_text(errors="replace"))}
    atomic.write_text(place / REPORT, text)
    if not project.clocked:
        note = "combinational: Yosys counted 57 % more than Vivado on the one such design for which both are recorded"
        more = "; ".join(filter(None, (note, quantities["lut"].reason)))
        quantities["lut"] = quantities["lut"].model_copy(update={"reason": more})
    return quantities


def parse(text: str, family: str = "xcup") -> dict[str, Quantity]:
    """Read the JSON that Yosys' `stat` prints into lut, ff, dsp, carry, bram_18k and muxf.

    Args:
        text: The JSON.
        family: The family that was synthesised for.

    Raises:
        ToolError: The text is no such report, or it holds cells that are of no known kind.
    """
    try:
        report = json.loads(text)
        cells: Mapping[str, int] = report["design"]["num_cells_by_type"]
        tool = re.match(r"Yosys (\S+)", report["creator"])
    except (ValueError, KeyError, TypeError) as error:
        raise ToolError(f"cannot read the cell counts of Yosys ({error!r}); see {LOG}") from error
    source = f"yosys {tool.group(1)}" if tool else "yosys"
    totals: dict[str, float] = dict.fromkeys(("lut", "ff", "dsp", "carry", "bram_18k", "muxf"), 0.0)
    unknown: list[str] = []
    for cell, count in cells.items():
        kinds = [takes for pattern, takes in _CELLS if re.fullmatch(pattern, cell)]
        if not kinds:
            unknown.append(f"{count} {cell}")
        for resource, each in (kinds[0] if kinds else {}).items():
            totals[resource] += each * count
    if unknown:
        raise ToolError(f"Yosys left cells that weft cannot count: {', '.join(unknown)}; see {LOG}")
    shift = sum(count for cell, count in cells.items() if cell.startswith("SRL"))
    amd = {**_AMD_NOTES, "lut": f"{shift:g} of them shift registers; {cells.get('INV', 0):g} inverters are not counted"}
    notes = _NOTES.get(family, amd)
    return {
        name: Quantity(value=total, unit="count", stage="synthesis", source=source, reason=notes.get(name))
        for name, total in totals.items()
    }


def depth_of(log: str) -> Quantity:
    """Read from a log how many cells lie between two registers at most."""
    found = re.findall(r"Longest topological path in \S+ \(length=(\d+)\)", log)
    return Quantity(
        value=float(found[-1]) if found else None,
        unit="cells",
        stage="synthesis",
        source=f"yosys {find()}",
        reason="longest chain of mapped cells between two registers" if found else f"the log names no path; see {LOG}",
    )


def synthesise(directory: Path | str, part: str, timeout_s: float = 1200.0) -> dict[str, Quantity]:
    """Synthesise a Verilog project for a part; the report stays in the project as `yosys.json`.

    Args:
        directory: Where `weft.firmware.rtl.emit` wrote the project.
        part: Part name, such as `xcvu13p-flga2577-2-e`.
        timeout_s: Wall-clock limit in seconds.

    Returns:
        lut, ff, dsp, carry, bram_18k, muxf and logic_depth, of stage `synthesis`.

    Raises:
        ToolNotFoundError: Yosys is missing.
        ToolError: It failed or took too long.
        ConfigError: The part is unknown.
        RunError: The directory holds no project.
    """
    find()
    device = find_part(part)
    project = Project.open(directory)
    return strained(run(project, device.family, project.directory, timeout_s), device)

"""Synthesis by Yosys, from the `pyosys` wheel: a script, a run in a process of its own, and the cells it ends with.

The counts are of mapped cells before placement. Against Vivado's post-route report, on the one pipelined design for
which both are recorded, look-up tables were 2 % more and flip-flops 22 % more, since Vivado moves registers.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from weft import atomic
from weft.adder_graph import TOP
from weft.errors import ToolError, ToolNotFoundError
from weft.firmware._process import run_logged
from weft.firmware.rtl import Project
from weft.firmware.synth._base import family_of
from weft.types import Quantity

SCRIPT, LOG, REPORT = "yosys.ys", "yosys.log", "yosys.json"

_RUN = "import sys; from pyosys import libyosys as y; y.run_pass('script ' + sys.argv[1], y.Design())"

# What one cell of a kind takes, by resource. Cells of an empty kind take nothing of their own.
_CELLS: tuple[tuple[str, dict[str, float]], ...] = (
    (r"LUT[1-6]|LUT6_2|SRL16E|SRLC16E|SRLC32E", {"lut": 1}),
    (r"FD[RSCP]E(_1)?|LD[CP]E", {"ff": 1}),
    (r"CARRY4|CARRY8", {"carry": 1}),
    (r"DSP48E1|DSP48E2", {"dsp": 1}),
    (r"RAMB18E1|RAMB18E2", {"bram_18k": 1}),
    (r"RAMB36E1|RAMB36E2", {"bram_18k": 2}),
    (r"MUXF[789]", {"muxf": 1}),
    (r"INV|BUFG|GND|VCC|\$scopeinfo", {}),
)
_NOTES = {
    "carry": "CARRY4 cells; a CARRY8 of UltraScale+ does the work of two",
    "muxf": "multiplexers between look-up tables of one slice",
}


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


def emit(project: Project, family: str) -> str:
    """Return the Yosys script that synthesises a project for a family and prints its cells as JSON."""
    sources = " ".join(f'"{path.as_posix()}"' for path in project.sources)
    return "\n".join(
        (
            f"read_verilog -defer {sources}",
            f"hierarchy -check -top {TOP}",
            f"synth_xilinx -family {family} -flatten -noiopad -noclkbuf -top {TOP}",
            f"tee -q -o {REPORT}.new stat -json",
            "",
        )
    )


def run(project: Project, *, timeout_s: float) -> str:
    """Run the script of a project; return what `stat` printed. The log is `yosys.log`.

    Raises:
        ToolError: Yosys failed, was killed, or took longer than `timeout_s` seconds.
    """
    report = project.directory / f"{REPORT}.new"
    with tempfile.TemporaryDirectory(prefix="weft-yosys-") as scratch:
        run_logged(
            [sys.executable, "-P", "-c", _RUN, SCRIPT],
            task=f"synthesise {project.directory} with Yosys {find()}",
            log=project.directory / LOG,
            timeout_s=timeout_s,
            cwd=project.directory,
            env={"TMPDIR": scratch},
        )
    text = report.read_text()
    report.unlink()
    return text


def parse(text: str) -> dict[str, Quantity]:
    """Read the JSON that Yosys' `stat` prints into lut, ff, dsp, carry, bram_18k and muxf.

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
    totals = dict.fromkeys(("lut", "ff", "dsp", "carry", "bram_18k", "muxf"), 0.0)
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
    notes = {**_NOTES, "lut": f"{shift:g} of them shift registers; {cells.get('INV', 0):g} inverters are not counted"}
    return {
        name: Quantity(value=total, unit="count", stage="synthesis", source=source, reason=notes.get(name))
        for name, total in totals.items()
    }


def synthesise(directory: Path | str, part: str, timeout_s: float = 1200.0) -> dict[str, Quantity]:
    """Synthesise a Verilog project for a part; the report stays in the project as `yosys.json`.

    Args:
        directory: Where `weft.firmware.rtl.emit` wrote the project.
        part: Part name, such as `xcvu13p-flga2577-2-e`.
        timeout_s: Wall-clock limit in seconds.

    Returns:
        lut, ff, dsp, carry, bram_18k and muxf, of stage `synthesis`.

    Raises:
        ToolNotFoundError: Yosys is missing.
        ToolError: It failed or took too long.
        UnsupportedError: The part is of no family that Yosys has a flow for.
        RunError: The directory holds no project.
    """
    find()
    family = family_of(part)
    project = Project.open(directory)
    atomic.write_text(project.directory / SCRIPT, emit(project, family))
    text = run(project, timeout_s=timeout_s)
    quantities = parse(text)
    atomic.write_text(project.directory / REPORT, text)
    return quantities

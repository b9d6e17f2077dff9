"""Synthesis and routing by Vivado, out of context, where it is on PATH: a batch script, a run, and its reports.

Nothing is read from Vivado's exit code alone: what is reported are the numbers of `report_utilization` and
`report_timing_summary`, of 2019.2 and later; one that is missing is null and says so. The frequency is
1 / (period - WNS), and the latency that many cycles: the convention of the published results of these compilers.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from pathlib import Path

from weft import atomic
from weft.adder_graph import TOP
from weft.config import find_part
from weft.errors import ToolError, ToolNotFoundError, UnsupportedError
from weft.firmware import vivado_reports
from weft.firmware._process import naming_what_does_not_fit, run_logged
from weft.firmware.rtl import Project
from weft.firmware.synth.strain import strained
from weft.types import Quantity, Stage

SCRIPT, LOG, UTILIZATION, TIMING = "vivado.tcl", "vivado.log", "utilization.rpt", "timing.rpt"
OLDEST = (2019, 2)

SMALLER = "compress it further, or choose a larger part"

_FAMILIES = ("xcup", "xcu", "xc7")
TOO_LARGE = r"ERROR: \[(?:Place 30-(?:640|380|487)|DRC UTLZ-\d+|Place 30-99)\][^\n]*"


def find() -> str:
    """Return the version of Vivado, such as `2023.2`.

    Raises:
        ToolNotFoundError: It is not on PATH, does not answer, or is too old.
    """
    if shutil.which("vivado") is None:
        raise ToolNotFoundError(
            "Vivado is not on PATH; source settings64.sh of an installation, or set firmware.synth: yosys and "
            "firmware.route: none"
        )
    try:
        answer = subprocess.run(["vivado", "-version"], capture_output=True, text=True, timeout=120).stdout
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ToolNotFoundError(
            f"'vivado -version' does not answer ({error}); see whether it starts by hand"
        ) from error
    found = re.search(r"v(\d{4})\.(\d+)", answer)
    if found is None:
        raise ToolNotFoundError(f"'vivado -version' names no version: {answer[:100]!r}; source settings64.sh again")
    year, minor = int(found.group(1)), int(found.group(2))
    if (year, minor) < OLDEST:
        raise ToolNotFoundError(
            f"Vivado {year}.{minor} is too old: its reports are read from {OLDEST[0]}.{OLDEST[1]} on; "
            "source settings64.sh of a newer one"
        )
    return f"{year}.{minor}"


def emit(project: Project, part: str, clock_period_ns: float, *, routed: bool) -> str:
    """Return the Tcl that synthesises a project in its directory's `vivado/`, and places and routes it if asked to."""
    read = {"verilog": "read_verilog", "vhdl": "read_vhdl -vhdl2008"}[project.language]
    lines = [f"{read} {{../{path.as_posix()}}}" for path in project.sources]
    if project.clocked:
        # a script of its own: as a file of constraints it must be there before synthesis
        lines += [
            "set out [open clock.xdc w]",
            f'puts $out "create_clock -name clk -period {clock_period_ns:g} \\[get_ports clk\\]"',
            "close $out",
            "read_xdc -mode out_of_context clock.xdc",
        ]
    lines.append(f"synth_design -top {TOP} -part {part} -mode out_of_context")
    if routed:
        lines += ["opt_design", "place_design", "phys_opt_design", "route_design"]
    lines += [f"report_utilization -file {UTILIZATION}", f"report_timing_summary -file {TIMING}", ""]
    return "\n".join(lines)


def synthesise(
    directory: Path | str, part: str, timeout_s: float = 1200.0, *, memory_gib: float | None = None
) -> dict[str, Quantity]:
    """Synthesise a project for a part; script, log and reports stay in the project, under `vivado/`.

    Args:
        directory: Where `weft.firmware.rtl.emit` wrote the project.
        part: An AMD part with package and speed grade, such as `xcvu13p-flga2577-2-e`.
        timeout_s: Wall-clock limit in seconds.
        memory_gib: Memory that Vivado may take, in GiB.

    Returns:
        lut, ff, dsp, carry, bram_18k, uram, slack_ns and fmax_mhz (before placement: of estimated wires), of stage
        `synthesis`.

    Raises:
        ToolNotFoundError: Vivado is missing or too old.
        UnsupportedError: The part is not AMD's.
        ToolError: It failed, took too long or too much memory, or the design does not fit.
        RunError: The directory holds no project.
    """
    project = Project.open(directory)
    return _run(project, part, project.clock_period_ns, timeout_s, memory_gib, "synthesis")


def route(
    directory: Path | str,
    part: str,
    clock_period_ns: float,
    timeout_s: float = 3600.0,
    *,
    memory_gib: float | None = None,
) -> dict[str, Quantity]:
    """Synthesise, place and route a project; as `synthesise`, with latency_ns, and of stage `post_route`."""
    return _run(Project.open(directory), part, clock_period_ns, timeout_s, memory_gib, "post_route")


def _run(
    project: Project, part: str, clock_period_ns: float, timeout_s: float, memory_gib: float | None, stage: Stage
) -> dict[str, Quantity]:
    device = find_part(part)
    if device.family not in _FAMILIES:
        raise UnsupportedError(f"Vivado knows no '{part}'; name a part of AMD, or synthesise with yosys")
    start, tool = time.monotonic(), f"Vivado {find()}"
    place = project.directory / "vivado"
    place.mkdir(exist_ok=True)
    for name in (UTILIZATION, TIMING):
        (place / name).unlink(missing_ok=True)  # a report that is there is of this run
    atomic.write_text(place / SCRIPT, emit(project, part, clock_period_ns, routed=stage == "post_route"))
    doing = "place and route" if stage == "post_route" else "synthesise"
    with naming_what_does_not_fit(TOO_LARGE, part, "Vivado", place / LOG, SMALLER):
        run_logged(
            ["vivado", "-mode", "batch", "-nojournal", "-nolog", "-notrace", "-source", SCRIPT],
            task=f"{doing} {project.directory} with {tool}",
            log=place / LOG,
            timeout_s=max(timeout_s - (time.monotonic() - start), 0.1),
            cwd=place,
            memory_gib=memory_gib,
        )
    for name in (UTILIZATION, TIMING):
        if not (place / name).exists():
            raise ToolError(f"{tool} ended without {name}; see {place / LOG}")
    utilization, timing = ((place / name).read_text(errors="replace") for name in (UTILIZATION, TIMING))
    return strained(parse(utilization, timing, stage, project.pipeline.latency_cycles), device)


def parse(utilization: str, timing: str, stage: Stage, latency_cycles: int) -> dict[str, Quantity]:
    """Read Vivado's reports; for the quantities see `synthesise`. What a report does not hold is null, with the reason.

    Args:
        utilization: The text of `report_utilization`.
        timing: The text of `report_timing_summary`.
        stage: `synthesis` or `post_route`.
        latency_cycles: Cycles of the pipeline.

    Raises:
        ToolError: A text is no such report, or of another stage.
    """
    found = {**vivado_reports.utilization(utilization, stage), **vivado_reports.timing(timing, stage)}
    if stage == "post_route":
        fastest = found["fmax_mhz"]
        ns = None if fastest.value is None else latency_cycles * 1000 / fastest.value
        why = fastest.reason if ns is None else f"{latency_cycles} cycles at that frequency"
        found["latency_ns"] = fastest.model_copy(update={"value": ns, "unit": "ns", "reason": why})
    return found

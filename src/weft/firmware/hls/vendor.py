"""Build an HLS project with the vendor's tools: C synthesis by Vitis or Vivado HLS, then routing by Vivado.

What the tools say goes to `vendor.log` and `vivado.log` in the project while they run. What an earlier build left is
removed first, and quantities are returned only by a build that came to its end: a tool that is killed, hangs or ends
without its report is an error.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from weft import atomic
from weft.config import find_part
from weft.errors import ConfigError, ToolError, ToolNotFoundError, UnsupportedError, VerificationError
from weft.firmware._process import naming_what_does_not_fit, run_logged
from weft.firmware.hls import reports
from weft.firmware.hls.cosim import check_outputs, write_bench
from weft.firmware.hls.project import TOP, HlsProject
from weft.firmware.synth import vivado
from weft.firmware.synth.strain import strained
from weft.firmware.vivado_reports import timing, utilization
from weft.types import Quantity

HLS_LOG, VIVADO_LOG, SCRIPT = "vendor.log", "vivado.log", "weft_route.tcl"
SYNTHESISED, ROUTED, TIMING = "weft_synth.rpt", "weft_route.rpt", "weft_timing.rpt"

_TCL = """\
# Synthesis and routing out of context: no pin limits the design.
foreach file [glob {top}_prj/solution1/syn/verilog/*] {{
    if {{[file extension $file] in {{.v .sv}}}} {{ read_verilog $file }}
    if {{[file extension $file] eq ".tcl"}} {{ source $file }}
}}
synth_design -top {top} -part {part} -mode out_of_context
create_clock -period {period} -name ap_clk [get_ports ap_clk]
report_utilization -file {synthesised}
opt_design
place_design
phys_opt_design
route_design
report_utilization -file {routed}
report_timing_summary -file {timing}
exit
"""
OLDEST = (2018, 1)
"""The oldest HLS tool whose reports are read."""

_STEPS = ("reset", "csim", "synth", "cosim", "validation", "export", "vsynth", "fifo_opt")


def find(backend: str) -> tuple[str, tuple[str, ...]]:
    """Return the HLS tool of a backend that is on PATH: what it is called in reports, and the command.

    Raises:
        UnsupportedError: weft does not run the tools of this backend.
        ToolNotFoundError: No tool of it is on PATH.
    """
    known: Mapping[str, tuple[str, tuple[tuple[str, ...], ...]]] = {
        "vitis": ("Vitis HLS", (("vitis-run", "--mode", "hls", "--tcl", "build_prj.tcl"),
                                ("vitis_hls", "-f", "build_prj.tcl"))),
        "vivado": ("Vivado HLS", (("vivado_hls", "-f", "build_prj.tcl"),)),
    }  # fmt: skip
    if backend not in known:
        raise UnsupportedError(
            f"weft runs the tools of vitis and vivado, and not those of {backend}; use them yourself"
        )
    name, commands = known[backend]
    for command in commands:
        if shutil.which(command[0]):
            return name, command
    programs = " or ".join(command[0] for command in commands)
    raise ToolNotFoundError(
        f"building an HLS project for {backend} needs {name}, and there is no {programs} on PATH; source settings64.sh "
        "of its installation, or set firmware.hls.build: none"
    )


def build(
    project: HlsProject,
    *,
    timeout_s: float = 7200.0,
    memory_gb: float = 32.0,
    cosim: tuple[np.ndarray, np.ndarray] | None = None,
) -> dict[str, dict[str, Quantity]]:
    """Synthesise a project, and place and route what comes out if Vivado is on PATH.

    Args:
        project: The project; the tools run in its directory.
        timeout_s: Wall-clock limit of all tools together, in seconds.
        memory_gb: Address space that each process of the tools may take, in GB.
        cosim: Inputs (n, ...) and the outputs (n, n_out) that the generated RTL is to have for them in a simulation;
            None to leave that out.

    Returns:
        Quantities by stage: `hls_report` always; `cosim` if asked for; `synthesis` and `post_route` without values, and
        with that reason, where Vivado is not on PATH.

    Raises:
        UnsupportedError: weft does not run the tools of this backend.
        ToolNotFoundError: The HLS tool is not on PATH, or it or Vivado is too old.
        ToolError: A tool failed, was killed, took too long or too much memory, or left no report, or half of one;
            or the design does not fit.
        VerificationError: The co-simulation failed, or RTL and C++ differ.
    """
    name, command = find(project.backend)
    if shutil.which("vivado") is not None:
        vivado.find()
    start, place = time.monotonic(), project.directory
    solution = place / f"{TOP}_prj" / "solution1"
    shutil.rmtree(place / f"{TOP}_prj", ignore_errors=True)
    for left in (SYNTHESISED, ROUTED, TIMING, HLS_LOG, VIVADO_LOG):
        (place / left).unlink(missing_ok=True)
    chosen = {step: step == "synth" or (step == "cosim" and cosim is not None) for step in _STEPS}
    if cosim is not None:
        write_bench(project, *cosim)
    if project.backend == "vivado":
        command = (*command, " ".join(f"{step}={int(on)}" for step, on in chosen.items()))
    lines = [f"    {step} {int(on)}" for step, on in chosen.items()]
    atomic.write_text(place / "build_opt.tcl", "\n".join(["array set opt {", *lines, "}", ""]))
    _run(command, f"synthesise {place} with {name}", place / HLS_LOG, timeout_s, memory_gb)
    found = {"hls_report": reports.csynth_xml(_read(solution / "syn" / "report" / f"{TOP}_csynth.xml", HLS_LOG), name)}
    source = found["hls_report"]["lut"].source.partition(",")[0]
    _check_age(source)
    if cosim is not None:
        found["cosim"] = reports.cosim_rpt(_read(solution / "sim" / "report" / f"{TOP}_cosim.rpt", HLS_LOG), source)
        latency = found["cosim"]["latency_cycles"]
        if latency.value is None and "status" in (latency.reason or ""):
            raise VerificationError(f"{place}: {latency.reason}; see {HLS_LOG}")
        check_outputs(project, cosim[1])
    found |= _vivado(project, timeout_s - (time.monotonic() - start), memory_gb)
    try:
        device = find_part(project.part)
    except ConfigError:  # a name of the HLS compiler's, with capacities that weft does not know
        return found
    return {stage: strained(quantities, device) for stage, quantities in found.items()}


def _vivado(project: HlsProject, timeout_s: float, memory_gb: float) -> dict[str, dict[str, Quantity]]:
    """Synthesise and route out of context what HLS made."""
    if shutil.which("vivado") is None:
        return {stage: dict(_without_vivado(stage)) for stage in ("synthesis", "post_route")}
    place = project.directory
    script = _TCL.format(top=TOP, part=project.part, period=project.clock_period_ns, synthesised=SYNTHESISED,
                         routed=ROUTED, timing=TIMING)  # fmt: skip
    atomic.write_text(place / SCRIPT, script)
    command = ("vivado", "-mode", "batch", "-nojournal", "-nolog", "-source", SCRIPT)
    with naming_what_does_not_fit(vivado.TOO_LARGE, project.part, "Vivado", place / VIVADO_LOG, vivado.SMALLER):
        _run(command, f"route {place} with Vivado", place / VIVADO_LOG, max(timeout_s, 1.0), memory_gb)
    texts = {name: _read(place / name, VIVADO_LOG) for name in (SYNTHESISED, ROUTED, TIMING)}
    return {
        "synthesis": utilization(texts[SYNTHESISED], "synthesis"),
        "post_route": {**utilization(texts[ROUTED], "post_route"), **timing(texts[TIMING], "post_route")},
    }


def _check_age(tool: str) -> None:
    """Refuse reports of a tool, such as `Vitis HLS 2023.2`, that is older than those that were read."""
    found = re.search(r"(\d{4})\.(\d+)", tool)
    if found is not None and (int(found.group(1)), int(found.group(2))) < OLDEST:
        raise ToolNotFoundError(
            f"{tool} is too old: its reports are read from {OLDEST[0]}.{OLDEST[1]} on; source settings64.sh of a newer "
            "one"
        )


def _without_vivado(stage: str) -> Mapping[str, Quantity]:
    units = dict.fromkeys(("lut", "ff", "dsp", "carry", "bram_18k", "uram"), "count")
    units |= {"slack_ns": "ns", "fmax_mhz": "MHz"} if stage == "post_route" else {}
    reason = "vivado is not on PATH"
    return {
        name: Quantity.model_validate({"value": None, "unit": unit, "stage": stage, "source": "none", "reason": reason})
        for name, unit in units.items()
    }


def _run(command: tuple[str, ...], task: str, log: Path, timeout_s: float, memory_gb: float) -> None:
    """Run a tool in its log's directory."""
    gib = memory_gb * 1e9 / 2**30
    run_logged(command, task=task, log=log, timeout_s=timeout_s, cwd=log.parent, memory_gib=gib)


def _read(path: Path, log: str) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError as error:
        raise ToolError(
            f"the tool ended without an error and left no report {path.name} ({error.strerror}); see {log}"
        ) from error

"""What is on which bit of a module's ports, as data and as a page to read."""

from __future__ import annotations

from typing import Any

import numpy as np

from weft.adder_graph import TOP
from weft.firmware.rtl import Project


def types(project: Project) -> dict[str, Any]:
    """Return ports, formats, bits, latency and interval of a module."""
    return {
        "top": TOP,
        "language": project.language,
        "part": project.part,
        "clock": "clk" if project.clocked else None,
        "clock_period_ns": project.clock_period_ns,
        "latency_cycles": project.pipeline.latency_cycles,
        "ii_cycles": project.pipeline.ii,
        "inputs": {"port": "model_inp", **_port(project.input_kif)},
        "outputs": {"port": "model_out", **_port(project.output_kif)},
    }


def hls_type(k: int, i: int, f: int) -> str:
    """Return a format as HLS tools spell it; of no bits, the number 0."""
    return f"ap_{'' if k else 'u'}fixed<{k + i + f},{k + i}>" if k + i + f > 0 else "0"


def _port(kif: np.ndarray) -> dict[str, Any]:
    start, values = 0, []
    for j, (k, i, f) in enumerate(kif.T.tolist()):
        width = k + i + f
        bits = [start + width - 1, start] if width else None
        values.append({"index": j, "bits": bits, "k": k, "i": i, "f": f, "type": hls_type(k, i, f)})
        start += width
    return {"width_bits": start, "values": values}


def readme(project: Project, target: str, n_vectors: int) -> str:
    """Return the page that says how the module is driven."""
    found = types(project)
    cycles = project.pipeline.latency_cycles
    timing = (
        f"A value that is on `model_inp` before a rising edge of `clk` is on `model_out` after {cycles + 1} edges "
        f"({cycles} from the input register to the output register); a new input is taken in every cycle."
        if project.clocked
        else "The module is combinational: it has no clock, and its outputs follow its inputs."
    )
    lines = [
        "# Firmware of a network",
        "",
        f"Module `{TOP}` in {found['language']}, for `{project.part}` at {project.clock_period_ns:g} ns. {timing}",
        "",
        "- `ip/`: the sources; `ip/src/static/` are library modules under LGPL-3.0-or-later, see `LICENSE`.",
        f"- `golden/`: {n_vectors} inputs and their outputs, one port in hexadecimal a line.",
        "- `testbench/tb.v`: checks the module against them; run it in `golden/`, or beside copies of these files. "
        "It ends with PASS, or stops with an error.",
        "- `types.json`: what is below, for programs.",
        "- `MANIFEST.sha256`: `sha256sum -c MANIFEST.sha256` tells whether everything is as it was written.",
    ]
    if target in _PLACES:
        lines.append(f"- `{_PLACES[target]}`: what {target} needs; the first lines of its files say how it is used.")
    if project.language == "vhdl":
        lines += ["", "The testbench is Verilog: for VHDL use a simulator of both languages, or `ghdl synth`."]
    for side in ("inputs", "outputs"):
        port = found[side]
        lines += ["", f"## `{port['port']}`, {port['width_bits']} bits", "", "| value | bits | type |", "|---|---|---|"]
        for value in port["values"]:
            bits = "none" if value["bits"] is None else "{}:{}".format(*value["bits"])
            lines.append(f"| {value['index']} | {bits} | `{value['type']}` |")
    return "\n".join([*lines, ""])


_PLACES = {"cmssw-emulator": "emulator/", "pynq": "pynq/", "cocotb": "cocotb/"}

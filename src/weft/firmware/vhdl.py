"""VHDL through ghdl: it reads a project's sources and writes the module as Verilog, for simulation and synthesis.

So what is checked of a VHDL design is what ghdl understood it to be. ghdl is a program of its own, with no wheel.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path

from weft.adder_graph import TOP
from weft.errors import ToolNotFoundError
from weft.firmware._process import run_logged, version_text
from weft.firmware.rtl import Project

LOG = "ghdl.log"
_OLDEST = 2


def find() -> str:
    """Return the version of ghdl, such as `2.0.0`.

    Raises:
        ToolNotFoundError: ghdl is not on PATH, does not answer, or is too old.
    """
    if shutil.which("ghdl") is None:
        raise ToolNotFoundError(
            "VHDL is simulated and synthesised through ghdl, which is not on PATH; install it ('apt install ghdl' on "
            "Debian), or set firmware.rtl.language: verilog"
        )
    cure = "install ghdl anew ('apt install ghdl' on Debian)"
    answer = version_text("ghdl", "--version", cure=cure)
    found = re.search(r"GHDL (\d+)\.(\d+\S*)", answer)
    if found is None:
        raise ToolNotFoundError(f"'ghdl --version' names no version: {answer[:100]!r}; {cure}")
    if int(found.group(1)) < _OLDEST:
        raise ToolNotFoundError(
            f"ghdl {found.group(1)}.{found.group(2)} is too old: it writes Verilog from {_OLDEST}.0 on; {cure}"
        )
    return f"{found.group(1)}.{found.group(2)}"


def verilog_of(project: Project, place: Path, timeout_s: float = 600.0) -> tuple[Path, ...]:
    """Return the Verilog files of a project; for VHDL it is one that ghdl writes to `place`.

    Raises:
        ToolNotFoundError: The project is VHDL, and ghdl is missing.
        ToolError: ghdl failed or took longer than `timeout_s` seconds.
    """
    sources = tuple((project.directory / path).resolve() for path in project.sources)
    if project.language == "verilog":
        return sources
    task = f"read the VHDL of {project.directory} with ghdl {find()}"
    made = (place / f"{TOP}.v").resolve()
    with tempfile.TemporaryDirectory(prefix="weft-ghdl-") as scratch:
        options = ["--std=08", f"--workdir={scratch}"]
        log = project.directory / LOG
        run_logged(["ghdl", "-a", *options, *map(str, sources)], task=task, log=log, timeout_s=timeout_s, cwd=place)
        written = Path(scratch) / made.name
        with written.open("wb") as stdout:
            command = ["ghdl", "synth", *options, "--out=verilog", TOP]
            run_logged(command, task=task, log=log, timeout_s=timeout_s, cwd=place, stdout=stdout)
        shutil.move(written, made)
    return (made,)

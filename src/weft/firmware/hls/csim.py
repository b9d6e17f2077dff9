"""C simulation of an HLS project: its C++ compiled by g++ into a program, on the fixed-point types beside it.

Values go in and come out as float64, which holds all of them exactly. A level of verification: it has a `name`, and
`run(x)` gives the outputs. The program stays in the project under a digest of what it was compiled of, so that a
project that has not changed is compiled once.
"""

from __future__ import annotations

import hashlib
import platform
import shutil
import subprocess
import tempfile
import weakref
from pathlib import Path
from typing import Any

import numpy as np

from weft.errors import ShapeError, ToolError, ToolNotFoundError, UnsupportedError
from weft.firmware._process import run_logged
from weft.firmware.hls.project import DESCRIPTION, TOP, HlsProject
from weft.firmware.verify import Pair, compared

LOG = "csim.log"

# hls4ml's bridge has a function that takes and gives float64. One file for all of it parses the headers once.
_HARNESS = """\
#include "{top}_bridge.cpp"
#include "firmware/{top}.cpp"
#include <cstdio>

int main() {{
    unsigned short size_in = {n_in}, size_out = {n_out};
    static double in[{n_in}], out[{n_out}];
    while (std::fread(in, sizeof(double), {n_in}, stdin) == {n_in}) {{
        {top}_double(in, out{sizes});
        if (std::fwrite(out, sizeof(double), {n_out}, stdout) != {n_out}) return 1;
    }}
    return 0;
}}
"""
_SIZES = {"quartus": ", size_in, size_out"}
"""Further arguments of the bridge's function."""

_AP = ("-std=c++17", "-I.", "-Ifirmware/ap_types")
_AC = ("-std=c++11", "-I.", "-Ifirmware/ac_types", "-Ifirmware/ap_types")
_CATAPULT = ("-std=c++11", "-I.", "-Ifirmware/ac_types/include", "-Ifirmware/ac_math/include",
             "-Ifirmware/ac_simutils/include", "-Ifirmware/nnet_utils")  # fmt: skip
_FLAGS = {"vitis": _AP, "vivado": _AP, "quartus": _AC, "catapult": _CATAPULT}

_NOT_BUNDLED = {
    "oneapi": "its projects need SYCL and the fixed-point types that come with Intel's compiler icpx",
    "libero": "its projects need the fixed-point types that come with Microchip's SmartHLS",
}


def obstacle(backend: str) -> str | None:
    """Return why projects of a backend cannot be simulated with g++ alone, or None."""
    return _NOT_BUNDLED.get(backend)


class HlsSimulation:
    """A project, compiled into a program that simulates it."""

    name = "hls_csim"

    def __init__(self, project: HlsProject, *, timeout_s: float = 1800.0) -> None:
        """Compile the project, unless that was done already; the compiler's output goes to `csim.log` beside it.

        Raises:
            UnsupportedError: g++ alone cannot compile projects of this backend.
            ToolNotFoundError: g++ is missing.
            ToolError: It failed or took longer than `timeout_s` seconds.
        """
        reason = obstacle(project.backend)
        if reason is not None:
            raise UnsupportedError(
                f"cannot simulate {project.directory}: g++ alone does not compile for {project.backend}, since {reason}"
            )
        compiler = shutil.which("g++")
        if compiler is None:
            raise ToolNotFoundError(
                "C simulation needs g++, which is not on PATH; install it ('apt install g++' on Debian)"
            )
        self.project = project
        self._timeout_s = timeout_s
        self._directory = Path(tempfile.mkdtemp(prefix="weft-csim-"))
        weakref.finalize(self, shutil.rmtree, self._directory, ignore_errors=True)
        self._program = _compiled(project, compiler, timeout_s)

    def run(self, x: np.ndarray) -> np.ndarray:
        """Compute outputs.

        Args:
            x: Inputs, (n, ...), finite; values of one input in C order.

        Returns:
            Outputs (n, n_out), float64, exact.

        Raises:
            ShapeError: An input has another number of values than the project's.
            ToolError: The program crashed, took too long, or put out too little.
        """
        rows = np.ascontiguousarray(np.asarray(x, dtype=np.float64).reshape(len(x), -1))
        if rows.shape[1] != self.project.n_in:
            raise ShapeError(
                f"the HLS project {self.project.directory} takes {self.project.n_in} values an input; "
                f"got {rows.shape[1]}, from an array of shape {np.shape(x)}"
            )
        given, taken = self._directory / "input.bin", self._directory / "output.bin"
        given.write_bytes(rows.tobytes())
        with given.open("rb") as stdin, taken.open("wb") as stdout:
            run_logged(
                [str(self._program)],
                task=f"simulate {self.project.directory}",
                log=self._directory / "simulate.log",
                timeout_s=self._timeout_s,
                cwd=self.project.directory,
                stdin=stdin,
                stdout=stdout,
            )
        values = np.fromfile(taken, dtype=np.float64)
        if values.size != len(rows) * self.project.n_out:
            raise ToolError(
                f"the C simulation of {self.project.directory} put out {values.size} values instead of "
                f"{len(rows) * self.project.n_out}; run 'weft hls' again"
            )
        return values.reshape(len(rows), self.project.n_out)


def _compiled(project: HlsProject, compiler: str, timeout_s: float) -> Path:
    """Return the program of a project; it is compiled where there is none of the files as they are."""
    sizes = _SIZES.get(project.backend, "")
    harness = _HARNESS.format(top=TOP, n_in=project.n_in, n_out=project.n_out, sizes=sizes)
    command = [compiler, "-O1", "-w", *_FLAGS[project.backend], '-DWEIGHTS_DIR="firmware/weights"']
    there = project.directory.resolve()
    program = there / f"csim-{_digest(there, harness, *command)}"
    if program.exists():
        return program
    with tempfile.TemporaryDirectory(prefix=".csim.", dir=there) as scratch:
        source, made = Path(scratch) / "harness.cc", Path(scratch) / "simulate"
        source.write_text(harness)
        run_logged(
            [*command, str(source), "-o", str(made)],
            task=f"compile the C++ of {project.directory}",
            log=there / LOG,
            timeout_s=timeout_s,
            cwd=there,
        )
        for old in there.glob("csim-*"):
            old.unlink(missing_ok=True)
        made.replace(program)
    return program


def _digest(directory: Path, harness: str, compiler: str, *flags: str) -> str:
    """Return a digest of what a program is made of: compiler, flags, harness, and the files of the project."""
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=True).stdout
    found = hashlib.sha256("\0".join((platform.machine(), version, *flags, harness)).encode())
    files = [*directory.glob("*.cpp"), *(directory / "firmware").rglob("*")]
    for path in sorted(path for path in files if path.is_file()):
        content = path.read_bytes()
        found.update(f"\0{path.relative_to(directory)}\0{len(content)}\0".encode() + content)
    return found.hexdigest()[:16]


def level_of(directory: Path) -> tuple[HlsSimulation | None, dict[str, str]]:
    """Return the simulation of the project in a directory as a level of verification, or None and why there is none.

    Raises:
        RunError: The project is damaged.
        ToolError: g++ failed.
    """
    if not (directory / DESCRIPTION).exists():
        return None, {HlsSimulation.name: f"there is no HLS project in {directory}"}
    try:
        return HlsSimulation(HlsProject.open(directory)), {}
    except (UnsupportedError, ToolNotFoundError) as error:
        return None, {HlsSimulation.name: str(error)}


def simulate(project: HlsProject, x: np.ndarray, expected: np.ndarray) -> dict[str, Any]:
    """Compile and simulate a project, and say how it compares with the adder graph, as `hls.json` holds it.

    Args:
        project: The project.
        x: Inputs, (n, ...).
        expected: Outputs of the adder graph for them, (n, n_out) float64.

    Returns:
        `status` (exact, mismatch, or not simulated where g++ alone does not compile for the backend), `sentence` in
        words, and `verification`: a `weft.firmware.verify.Pair` as JSON with the number of `inputs`, or None.
    """
    reason = obstacle(project.backend)
    if reason is not None:
        sentence = f"written for {project.backend}, and not simulated, since {reason}"
        return {"status": "not simulated", "sentence": sentence, "verification": None}
    pair = compare(HlsSimulation(project), x, expected)
    sentence = f"adder_graph = hls_csim on {len(x)} inputs, bit for bit ({project.compiler}, {project.backend})"
    if pair.mismatches:
        sentence = (
            f"adder_graph and hls_csim ({project.compiler}, {project.backend}) differ in {pair.mismatches} of "
            f"{pair.values} outputs, by at most {pair.max_difference:g}"
        )
    return {
        "status": "mismatch" if pair.mismatches else "exact",
        "sentence": sentence,
        "verification": {"inputs": len(x), **pair.model_dump(mode="json")},
    }


def compare(simulation: HlsSimulation, x: np.ndarray, expected: np.ndarray) -> Pair:
    """Compare what the C simulation puts out with what the adder graph does, number by number.

    Args:
        simulation: The compiled project.
        x: Inputs, (n, ...).
        expected: Outputs of the adder graph for them, (n, n_out) float64.
    """
    return compared(("adder_graph", "hls_csim"), expected, simulation.run(x))

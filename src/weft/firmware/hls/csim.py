"""C simulation of an HLS project: its C++ compiled by g++ into a program, on the fixed-point types beside it.

Values go in and come out as float64, which holds all of them exactly. A level of verification: it has a `name`, and
`run(x)` gives the outputs. The program stays in the project under a digest of what it was compiled of, so that a
project that has not changed is compiled once.
"""

from __future__ import annotations

import hashlib
import platform
import re
import shutil
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from weft.adder_graph import AdderGraph
from weft.errors import ShapeError, ToolError, ToolNotFoundError, UnsupportedError
from weft.firmware._process import run_logged, version_text
from weft.firmware.hls.project import DESCRIPTION, TOP, HlsProject, Tap
from weft.firmware.verify import Pair, compared_level

LOG = "csim.log"

# hls4ml's bridge has a function that takes and gives float64. One file for all of it parses the headers once.
_HARNESS = """\
#include "{top}_bridge.cpp"
#include "{source}"
#include <cstdio>

int main() {{
    unsigned short size_in = {n_in}, size_out = {n_out};
    static double in[{n_in}], out[{n_values}];
    nnet::trace_outputs = new std::map<std::string, void *>{{{seen}}};
    nnet::trace_enabled = !nnet::trace_outputs->empty();
    while (std::fread(in, sizeof(double), {n_in}, stdin) == {n_in}) {{
        {top}_double(in, out{sizes});
        if (std::fwrite(out, sizeof(double), {n_values}, stdout) != {n_values}) return 1;
    }}
    return 0;
}}
"""
_SIZES = {"quartus": ", size_in, size_out"}
"""Further arguments of the bridge's function."""

_FORMAT = re.compile(r"(u?)fixed<(\d+),(-?\d+),(TRN|RND|RND_CONV),(WRAP|SAT|SAT_SYM),0>")

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
        self._compiler, self._timeout_s = compiler, timeout_s
        self._directory = Path(tempfile.mkdtemp(prefix="weft-csim-"))
        weakref.finalize(self, shutil.rmtree, self._directory, ignore_errors=True)
        self._program = self._compiled()

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
        return self._run(self._program, x, self.project.n_out)

    def first_difference(self, x: np.ndarray, layers: Mapping[str, np.ndarray]) -> tuple[str, str] | None:
        """Seek the first layer whose values are not what they should be, in a program that shows them.

        Args:
            x: Inputs, (n, ...).
            layers: What each layer should put out before the next one quantises it, (n, size) float64, by name.

        Returns:
            The layer and the type of its values, such as `fixed<10,7,TRN,WRAP,0>`; None where no layer that can be
            compared differs.

        Raises:
            ToolError: The program could not be made, or failed.
        """
        known = [
            tap
            for tap in self.project.taps
            if tap.layer in layers and layers[tap.layer].shape[1] == tap.size and _FORMAT.fullmatch(tap.format)
        ]
        code = (self.project.directory / "firmware" / f"{TOP}.cpp").read_text()
        code, inside = _tapped(code, [tap for tap in known if tap.variable])
        (self._directory / "tapped.cpp").write_text(code)
        program = self._directory / "traced"
        self._compile(self._harness("tapped.cpp", inside), self._directory, program)
        ends = np.cumsum([self.project.n_out, *(tap.size for tap in inside)])
        outputs, *values, _ = np.split(self._run(program, x, int(ends[-1])), ends, axis=1)
        seen = dict(zip(inside, values, strict=True)) | {tap: outputs for tap in known if not tap.variable}
        for tap in known:
            if tap in seen and not np.array_equal(seen[tap], _cast(layers[tap.layer], tap.format)):
                return tap.layer, tap.format
        return None

    def _run(self, program: Path, x: np.ndarray, n_values: int) -> np.ndarray:
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
                [str(program)],
                task=f"simulate {self.project.directory}",
                log=self._directory / "simulate.log",
                timeout_s=self._timeout_s,
                cwd=self.project.directory,
                stdin=stdin,
                stdout=stdout,
            )
        values = np.fromfile(taken, dtype=np.float64)
        if values.size != len(rows) * n_values:
            raise ToolError(
                f"the C simulation of {self.project.directory} put out {values.size} values instead of "
                f"{len(rows) * n_values}; run 'weft hls' again"
            )
        return values.reshape(len(rows), n_values)

    def _compiled(self) -> Path:
        """Return the program of the project; it is compiled where there is none of the files as they are."""
        there = self.project.directory.resolve()
        harness = self._harness(f"firmware/{TOP}.cpp")
        program = there / f"csim-{_digest(there, harness, *self._command)}"
        if program.exists():
            return program
        with tempfile.TemporaryDirectory(prefix=".csim.", dir=there) as scratch:
            made = Path(scratch) / "simulate"
            self._compile(harness, Path(scratch), made)
            for old in there.glob("csim-*"):
                old.unlink(missing_ok=True)
            made.replace(program)
        return program

    @property
    def _command(self) -> list[str]:
        flags = _FLAGS[self.project.backend]
        return [self._compiler, "-O1", "-w", *flags, "-Ifirmware", '-DWEIGHTS_DIR="firmware/weights"']

    def _harness(self, source: str, taps: Sequence[Tap] = ()) -> str:
        """Return the code around a source: it puts out the outputs, and behind them what taps see."""
        project = self.project
        starts = np.cumsum([project.n_out, *(tap.size for tap in taps)])
        seen = ", ".join(f'{{"{tap.variable}", out + {start}}}' for tap, start in zip(taps, starts, strict=False))
        return _HARNESS.format(top=TOP, source=source, n_in=project.n_in, n_out=project.n_out, n_values=starts[-1],
                               seen=seen, sizes=_SIZES.get(project.backend, ""))  # fmt: skip

    def _compile(self, harness: str, scratch: Path, program: Path) -> None:
        (scratch / "harness.cc").write_text(harness)
        run_logged(
            [*self._command, str(scratch / "harness.cc"), "-o", str(program)],
            task=f"compile the C++ of {self.project.directory}",
            log=self.project.directory / LOG,
            timeout_s=self._timeout_s,
            cwd=self.project.directory,
        )


def _tapped(code: str, taps: Sequence[Tap]) -> tuple[str, list[Tap]]:
    """Let the project's own helper save each variable behind the call that writes it; return the taps that were set."""
    found: list[Tap] = []
    for tap in taps:
        save = f'nnet::save_layer_output<{tap.cpp_type}>({tap.variable}, "{tap.variable}", {tap.size});'
        code, n = re.subn(
            rf"^ *nnet::.*\b{tap.variable}\b.*$", rf"\g<0>\n    {save}", code, count=1, flags=re.MULTILINE
        )
        found += [tap] * n
    return code, found


def _cast(values: np.ndarray, name: str) -> np.ndarray:
    """Return values as a type of HLS holds them."""
    matched = _FORMAT.fullmatch(name)
    assert matched is not None
    unsigned, width, integer, rounding, overflow = matched.groups()
    step, span = 2.0 ** (int(integer) - int(width)), 2.0 ** int(width)
    low = 0.0 if unsigned else -span / 2
    codes = values / step
    codes = np.rint(codes) if rounding == "RND_CONV" else np.floor(codes + (0.5 if rounding == "RND" else 0.0))
    if overflow == "WRAP":
        return ((codes - low) % span + low) * step
    high = low + span - 1
    return np.clip(codes, max(low, -high) if overflow == "SAT_SYM" else low, high) * step


def _digest(directory: Path, harness: str, compiler: str, *flags: str) -> str:
    """Return a digest of what a program is made of: compiler, flags, harness, and the files of the project."""
    version = version_text(compiler, "--version", cure="install g++ anew ('apt install g++' on Debian)")
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


def simulate(project: HlsProject, graph: AdderGraph, x: np.ndarray) -> dict[str, Any]:
    """Compile and simulate a project, and say how it compares with the adder graph, as `hls.json` holds it.

    Args:
        project: The project.
        graph: The adder graph of the same design.
        x: Inputs, (n, ...).

    Returns:
        `status` (exact, mismatch, or not simulated where g++ alone does not compile for the backend), `sentence` in
        words, and `verification`: a `weft.firmware.verify.Pair` as JSON with the number of `inputs`, or None.
    """
    reason = obstacle(project.backend)
    if reason is not None:
        sentence = f"written for {project.backend}, and not simulated, since {reason}"
        return {"status": "not simulated", "sentence": sentence, "verification": None}
    pair = compare(HlsSimulation(project), graph, x)
    sentence = f"adder_graph = hls_csim on {len(x)} inputs, bit for bit ({project.compiler}, {project.backend})"
    if pair.mismatches:
        sentence = (
            f"adder_graph and hls_csim ({project.compiler}, {project.backend}) differ in {pair.mismatches} of "
            f"{pair.values} outputs, by at most {pair.max_difference:g}"
        )
        if pair.first_diverging_layer:
            sentence += f", from layer '{pair.first_diverging_layer}' ({pair.layer_format}) on"
    return {
        "status": "mismatch" if pair.mismatches else "exact",
        "sentence": sentence,
        "verification": {"inputs": len(x), **pair.model_dump(mode="json")},
    }


def compare(simulation: HlsSimulation, graph: AdderGraph, x: np.ndarray) -> Pair:
    """Compare what the C simulation puts out with what the adder graph does, number by number.

    Args:
        simulation: The compiled project.
        graph: The adder graph of the same design.
        x: Inputs, (n, ...).
    """
    return compared_level(simulation, graph, x, graph.predict(x))

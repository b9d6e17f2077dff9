"""Firmware: Verilog and VHDL from adder graphs, simulated, verified bit for bit, and synthesised."""

from __future__ import annotations

from weft.firmware.rtl import Project, emit
from weft.firmware.verify import (
    Level,
    Verification,
    all_inputs,
    extreme_inputs,
    random_inputs,
    simulator_of,
    verify,
)
from weft.firmware.verilator import Simulator

__all__ = [
    "Level",
    "Project",
    "Simulator",
    "Verification",
    "all_inputs",
    "emit",
    "extreme_inputs",
    "random_inputs",
    "simulator_of",
    "verify",
]

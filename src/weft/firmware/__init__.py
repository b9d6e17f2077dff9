"""Firmware: Verilog from adder graphs, simulated, verified bit for bit, and synthesised."""

from __future__ import annotations

from weft.firmware.rtl import Project, emit
from weft.firmware.verify import Verification, extreme_inputs, verify
from weft.firmware.verilator import Simulator

__all__ = ["Project", "Simulator", "Verification", "emit", "extreme_inputs", "verify"]

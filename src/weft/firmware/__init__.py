"""Firmware: Verilog from adder graphs, simulated, verified bit for bit, and synthesised."""

from __future__ import annotations

from weft.firmware.rtl import Project, emit
from weft.firmware.verify import Verification, all_inputs, extreme_inputs, random_inputs, verify
from weft.firmware.verilator import Simulator

__all__ = ["Project", "Simulator", "Verification", "all_inputs", "emit", "extreme_inputs", "random_inputs", "verify"]

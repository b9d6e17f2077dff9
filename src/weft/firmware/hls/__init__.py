"""HLS projects by hls4ml: written from finalised models, simulated in C++, and built where a vendor's tool is."""

from __future__ import annotations

from weft.firmware.hls.csim import HlsSimulation, compare, level_of, obstacle, simulate
from weft.firmware.hls.project import HlsProject, emit, find
from weft.firmware.hls.refusals import objection
from weft.firmware.hls.vendor import build

__all__ = [
    "HlsProject",
    "HlsSimulation",
    "build",
    "compare",
    "emit",
    "find",
    "level_of",
    "objection",
    "obstacle",
    "simulate",
]

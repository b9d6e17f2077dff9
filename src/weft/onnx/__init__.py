"""ONNX: finalised models as QONNX and QDQ files that are checked against them, and QONNX files as finalised models."""

from __future__ import annotations

from weft.onnx.export import FORMATS, OVERFLOWS, Exported, export
from weft.onnx.load import from_qonnx

__all__ = ["FORMATS", "OVERFLOWS", "Exported", "export", "from_qonnx"]

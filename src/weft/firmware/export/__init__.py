"""Export: a design as a bundle that stands alone, plain or for a framework that takes it in."""

from __future__ import annotations

from weft.firmware.export.bundle import TARGETS, export, targets

__all__ = ["TARGETS", "export", "targets"]

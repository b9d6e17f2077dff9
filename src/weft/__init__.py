"""weft: networks woven into FPGA fabric, from data and a budget to verified firmware."""

from __future__ import annotations

from weft._backend import set_backend

__version__ = "0.1.0"

__all__ = ["__version__"]

set_backend()

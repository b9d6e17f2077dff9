"""weft: networks woven into FPGA fabric, from data and a budget to verified firmware."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from weft._backend import register, set_backend

if TYPE_CHECKING:
    from weft import layers
    from weft.compression.api import compress, distil, fit, optimizer
    from weft.compression.callback import StagesCallback
    from weft.compression.finalize import finalize
    from weft.compression.stages import Stages
    from weft.quantize.check import check

__version__ = "0.1.0"

__all__ = [
    "Stages",
    "StagesCallback",
    "__version__",
    "check",
    "compress",
    "distil",
    "finalize",
    "fit",
    "layers",
    "optimizer",
]

_HOMES = {
    "Stages": "weft.compression.stages",
    "StagesCallback": "weft.compression.callback",
    "check": "weft.quantize.check",
    "compress": "weft.compression.api",
    "distil": "weft.compression.api",
    "finalize": "weft.compression.finalize",
    "fit": "weft.compression.api",
    "optimizer": "weft.compression.api",
}

set_backend()
register()


def __getattr__(name: str) -> Any:  # at first use: `import weft` loads no framework
    if name == "layers":
        return importlib.import_module("weft.layers")
    if name not in _HOMES:
        raise AttributeError(f"module 'weft' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

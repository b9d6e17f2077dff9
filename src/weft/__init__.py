"""weft: networks woven into FPGA fabric, from data and a budget to verified firmware.

The names here compress a Keras model that you have; each says in its own docstring what it takes and returns. All else
has its home: `weft.config` (experiment files), `weft.data`, `weft.draft` (drafts of experiments), `weft.cost`,
`weft.firmware`, `weft.run` (run directories), `weft.testing` (for authors of plug-ins). `docs/stability.md` says what
stays.
"""

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
    from weft.onnx.load import from_qonnx
    from weft.pytorch.convert import from_torch
    from weft.pytorch.freeze import to_torch
    from weft.quantize.check import check, insert_quantizers
    from weft.torch_loop.module import TorchModule, penalty

__version__ = "0.1.0"

__all__ = [
    "Stages",
    "StagesCallback",
    "TorchModule",
    "__version__",
    "check",
    "compress",
    "distil",
    "finalize",
    "fit",
    "from_qonnx",
    "from_torch",
    "insert_quantizers",
    "layers",
    "optimizer",
    "penalty",
    "to_torch",
]

_HOMES = {
    "Stages": "weft.compression.stages",
    "StagesCallback": "weft.compression.callback",
    "TorchModule": "weft.torch_loop.module",
    "check": "weft.quantize.check",
    "compress": "weft.compression.api",
    "distil": "weft.compression.api",
    "finalize": "weft.compression.finalize",
    "fit": "weft.compression.api",
    "from_qonnx": "weft.onnx.load",
    "from_torch": "weft.pytorch.convert",
    "insert_quantizers": "weft.quantize.check",
    "optimizer": "weft.compression.api",
    "penalty": "weft.torch_loop.module",
    "to_torch": "weft.pytorch.freeze",
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

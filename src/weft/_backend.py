"""What has to happen around the import of Keras: the choice of its backend and threads before, weft's model after.

The backend is JAX, unless the user chose another. Keras knows by name only classes that are registered with it; that of
finalised models is, as soon as weft and Keras both are there, so that a file of one becomes one.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

from weft._cache import cache_directory

_REGISTERED = "weft.compression.finalized"

XLA_FLAG = "--xla_cpu_experimental_ynn_fusion_type="
"""Sums are XLA's own loops and not YNNPACK's, jaxlib 0.10's default, which is slower in networks of our size: a step of
the HGQ network 16-64-32-32-5 at batch 1024 takes 1.26 ms instead of 1.45 ms. The order of summands differs, so this is
set for the whole process: weft's engine and Keras' `fit` stay equal to the last bit."""

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "PJRT_NPROC")
_ONE_THREAD_FLAG = "--xla_cpu_multi_thread_eigen=false"


def set_backend() -> None:
    """Set `KERAS_BACKEND` to JAX if it is unset; JAX keeps its programs on disk and quiet about devices it lacks.

    What Keras runs without our engine (building a network, tracing its ranges, reading a file) are hundreds of small
    programs that every process would compile again: a report took 26 s of processor time, and takes 17 s with them.
    """
    if os.environ.setdefault("KERAS_BACKEND", "jax") == "jax" and _knows_ynn():
        flags = os.environ.get("XLA_FLAGS", "")
        if XLA_FLAG not in flags:
            os.environ["XLA_FLAGS"] = f"{flags} {XLA_FLAG}".strip()
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache_directory() / "jax"))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def one_thread() -> dict[str, str]:
    """Return what the environment of a process that keeps to one core has anew; the user's own XLA flags stay.

    XLA reads no flag behind a word without dashes, such as the often seen `intra_op_parallelism_threads=1`.
    """
    flags = f"{_ONE_THREAD_FLAG} {os.environ.get('XLA_FLAGS', '')}".strip()
    return {**dict.fromkeys(_THREADS, "1"), "XLA_FLAGS": flags}


def _knows_ynn() -> bool:
    """Say whether jaxlib is one that knows the flag: XLA ends the process over a flag that it does not know."""
    spec = importlib.util.find_spec("jaxlib")  # finds it without loading it
    return spec is not None and any(Path(str(spec.origin)).parents[1].glob("jaxlib-0.10.*"))


def register() -> None:
    """Register finalised models with Keras: now if it was imported, and otherwise as soon as it is."""
    if "keras" in sys.modules:
        importlib.import_module(_REGISTERED)
    else:
        sys.meta_path.insert(0, _AfterKeras())


class _AfterKeras:
    """Finds Keras as others would, and registers when it was executed."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != "keras":
            return None
        sys.meta_path.remove(self)  # type: ignore[arg-type] # it is a finder by what it does
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_register(module: ModuleType) -> None:
                execute(module)
                importlib.import_module(_REGISTERED)

            spec.loader.exec_module = execute_and_register  # type: ignore[method-assign]
        return spec

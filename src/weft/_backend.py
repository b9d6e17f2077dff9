"""Choose the Keras backend before Keras is imported: JAX, unless the user chose another; and how XLA compiles."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

XLA_FLAG = "--xla_cpu_experimental_ynn_fusion_type="
"""Sums are XLA's own loops and not YNNPACK's, jaxlib 0.10's default, which is slower in networks of our size: a step of
the HGQ network 16-64-32-32-5 at batch 1024 takes 1.26 ms instead of 1.45 ms. The order of summands differs, so this is
set for the whole process: weft's engine and Keras' `fit` stay equal to the last bit."""


def set_backend() -> None:
    """Set `KERAS_BACKEND` to JAX if it is unset, and keep JAX on the CPU quiet about accelerators it lacks."""
    if os.environ.setdefault("KERAS_BACKEND", "jax") == "jax" and _knows_ynn():
        flags = os.environ.get("XLA_FLAGS", "")
        if XLA_FLAG not in flags:
            os.environ["XLA_FLAGS"] = f"{flags} {XLA_FLAG}".strip()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def _knows_ynn() -> bool:
    """Say whether jaxlib is one that knows the flag: XLA ends the process over a flag that it does not know."""
    spec = find_spec("jaxlib")  # finds it without loading it
    return spec is not None and any(Path(str(spec.origin)).parents[1].glob("jaxlib-0.10.*"))

"""Choose the Keras backend before Keras is imported: JAX, unless the user chose another."""

from __future__ import annotations

import os


def set_backend() -> None:
    """Set `KERAS_BACKEND` to JAX if it is unset, and keep JAX on the CPU quiet about accelerators it lacks."""
    os.environ.setdefault("KERAS_BACKEND", "jax")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

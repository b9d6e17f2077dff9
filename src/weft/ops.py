"""`keras.ops`, imported at first use: a method's configuration loads without a framework."""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    import keras

    return getattr(keras.ops, name)

"""`keras.ops`, imported at first use: a method's configuration loads without a framework."""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    from weft._backend import set_backend

    set_backend()
    import keras

    return getattr(keras.ops, name)

"""Give an object another attribute for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def replaced(thing: Any, name: str, value: Any) -> Iterator[None]:
    """Set an attribute past the setters of Keras and torch, which would take it for a part of the layer."""
    missing = object()
    before = thing.__dict__.get(name, missing)
    object.__setattr__(thing, name, value)
    try:
        yield
    finally:
        if before is missing:
            object.__delattr__(thing, name)
        else:
            object.__setattr__(thing, name, before)

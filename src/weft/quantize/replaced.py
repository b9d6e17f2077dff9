"""Give an object another attribute for a while, such as another function to a layer or to each step of a loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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


def with_step(loop: Any, step: Callable[..., Any]) -> list[tuple[Any, str, Any]]:
    """Return what to replace so that a recurrent layer calls `step` in place of its cell, (thing, name, value) each.

    The layer is unrolled, since what is seen may not leave a loop of JAX.
    """
    own = [(loop, name, value) for name, value in (("unroll", True), ("use_cudnn", False)) if hasattr(loop, name)]
    return [*own, (loop.cell, "call", step)]

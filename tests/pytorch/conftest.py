"""Each module of the zoo is converted once for all tests, and finalised once for those that need it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pytest

import weft
from tests.pytorch.zoo import ZOO, Case


@dataclass
class Converted:
    """A module of the zoo, and its Keras model."""

    case: Case
    module: Any
    model: Any


@dataclass
class Final:
    """A finalised model, and the rows that it was calibrated with, an array or a list of them."""

    case: Case
    model: Any
    x: Any


def arrays(rows: tuple[Any, ...]) -> Any:
    """Return rows as Keras takes them."""
    found = [one.numpy().astype(np.float32) for one in rows]
    return found[0] if len(found) == 1 else found


@pytest.fixture(scope="session")
def converted() -> Callable[[str], Converted]:
    @cache
    def make(name: str) -> Converted:
        module = ZOO[name].module()
        return Converted(ZOO[name], module, weft.from_torch(module, ZOO[name].rows(4)))

    return make


@pytest.fixture(scope="session")
def final(converted: Callable[[str], Converted]) -> Callable[[str], Final]:
    @cache
    def make(name: str) -> Final:
        case = ZOO[name]
        x = arrays(case.rows(64, 5))
        model = weft.compress(converted(name).model, "ptq", x)
        return Final(case, weft.finalize(model, x), x)

    return make

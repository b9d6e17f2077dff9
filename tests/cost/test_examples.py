"""The examples in docstrings are true."""

from __future__ import annotations

import doctest
from types import ModuleType

import pytest

import weft.adder_graph
import weft.cost.bops
import weft.cost.ebops
import weft.cost.products


@pytest.mark.parametrize("module", [weft.adder_graph, weft.cost.bops, weft.cost.ebops, weft.cost.products])
def test_examples_in_docstrings_hold(module: ModuleType):
    result = doctest.testmod(module)
    assert result.attempted > 0 and result.failed == 0

"""Models and designs that several tests share because they take seconds to build."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.firmware.models import PART, Design, mlp, randomised, samples
from weft.adder_graph import AdderGraph
from weft.firmware import Simulator, emit


@pytest.fixture(scope="session")
def model() -> Any:
    """Two hidden layers of 6 inputs and 3 outputs. Tests that change it put it back."""
    return randomised(mlp(6, (8, 5, 3)))


@pytest.fixture(scope="session")
def graph(model: Any) -> AdderGraph:
    return AdderGraph.from_model(model)


@pytest.fixture(scope="session")
def small(model: Any, graph: AdderGraph, tmp_path_factory: pytest.TempPathFactory) -> Design:
    """The model above, pipelined for 2 ns and simulated."""
    project = emit(graph, tmp_path_factory.mktemp("designs") / "small", PART, 2.0)
    return Design(model, graph, project, Simulator(project), samples(512, 6))


@pytest.fixture(scope="session")
def pruned_model() -> Any:
    """A model of one hidden layer, to be pruned in several ways."""
    return mlp(4, (3, 2))


@pytest.fixture
def pruned(pruned_model: Any, tmp_path: Path) -> Any:
    """Return a function that prunes: to nothing but biases, to one dead output, or to one dead input."""

    def prune(what: str) -> Any:
        randomised(pruned_model)
        first, last = pruned_model.layers[1:]
        kernels = [np.array(layer._kernel.value) for layer in (first, last)]
        if what == "everything":
            kernels = [np.zeros_like(kernel) for kernel in kernels]
        if what == "one output":
            kernels[1][:, 0] = 0
        if what == "one input":
            kernels[0][1] = 0
        for layer, kernel in zip((first, last), kernels, strict=True):
            layer._kernel.assign(kernel)
        return pruned_model

    return prune

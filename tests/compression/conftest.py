"""A small problem and its recipes."""

from __future__ import annotations

import numpy as np
import pytest

from tests.conftest import blobs
from weft.blocks import MlpGenes
from weft.compression.training import Material
from weft.data import Dataset, Provenance, Split
from weft.space.architecture import Architecture, FloatNumbers
from weft.space.model import Weights, build, export_weights

FLOAT = Architecture(input_shape=(6,), n_outputs=3, blocks=(MlpGenes(units=(8,)),), numbers=FloatNumbers())


@pytest.fixture(scope="session")
def material() -> Material:
    raw = {
        name: Split(*blobs(n, seed=i))
        for i, (name, n) in enumerate([("train", 512), ("validation", 200), ("test", 200)])
    }
    source = Provenance("blobs", "Gaussian classes", "0" * 64)
    dataset = Dataset.build(raw, name="blobs", task="classification", provenance=source, class_names=("a", "b", "c"))
    return Material.of(dataset)


@pytest.fixture(scope="session")
def weights() -> Weights:
    return export_weights(build(FLOAT, 1))


@pytest.fixture(scope="session")
def rows(material) -> np.ndarray:
    return np.concatenate([split.x for split in material.splits])

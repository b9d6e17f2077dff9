"""What all tests share: a compilation cache of their own, and a small learnable problem."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

import weft  # noqa: F401 - chooses the backend before a test imports Keras

settings.register_profile("weft", deadline=None, derandomize=True)
settings.load_profile("weft")

# A shell that starts a job in the background makes it ignore Ctrl-C, and so would every process that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def common(tmp_path_factory) -> Path:
    """A directory that all processes of one run of the tests share; who makes something in it takes a lock."""
    base = tmp_path_factory.getbasetemp()
    place = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "common"
    place.mkdir(exist_ok=True)
    return place


@pytest.fixture(scope="session", autouse=True)
def _cache(common):
    """Keep what tests download or compile out of the user's cache; `WEFT_TEST_CACHE` keeps it between runs."""
    os.environ["WEFT_CACHE"] = os.environ.get("WEFT_TEST_CACHE") or str(common / "cache")


def blobs(n: int, n_in: int = 6, n_classes: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return overlapping Gaussian classes: x (n, n_in) float32, y (n,) int32; the means are the same for every seed."""
    means = np.random.default_rng(99).normal(0.0, 1.2, (n_classes, n_in))
    rng = np.random.default_rng(seed)
    y = rng.integers(0, n_classes, n).astype(np.int32)
    return (means[y] + rng.normal(0.0, 1.0, (n, n_in))).astype(np.float32), y

"""What all tests share: a compilation cache of their own, and a small learnable problem."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

import weft  # noqa: F401 - chooses the backend before a test imports Keras
from weft.train.engine import use_compilation_cache

settings.register_profile("weft", deadline=None, derandomize=True)
settings.load_profile("weft")

# A shell that starts a job in the background makes it ignore Ctrl-C, and so would every process that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory):
    """Keep what tests download or compile out of the user's cache; all processes of one run of the tests share it.

    `WEFT_TEST_CACHE` keeps it between runs.
    """
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    os.environ["WEFT_CACHE"] = os.environ.get("WEFT_TEST_CACHE") or str(shared / "cache")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = os.environ["WEFT_CACHE"] + "/jax"
    if os.environ["KERAS_BACKEND"] == "jax":
        use_compilation_cache()


@pytest.fixture(autouse=True)
def _process_as_found():
    """Commands change weft's level in this process, and Dask who hears Ctrl-C; the next test finds them as before."""
    logger = logging.getLogger("weft")
    level, handler = logger.level, signal.getsignal(signal.SIGINT)
    yield
    logger.setLevel(level)
    signal.signal(signal.SIGINT, handler)


@contextmanager
def small_file_system(place: Path, kilobytes: int) -> Iterator[Path]:
    """Mount a file system of a size at a new directory; the test is skipped where that is not allowed."""
    place.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={kilobytes}k", "none", str(place)]
    done = subprocess.run(["mount", *options], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"cannot mount a small file system: {done.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def fill(place: Path, free: int = 0) -> None:
    """Fill a small file system but for some bytes, by a file `filler`."""
    with open(place / "filler", "wb") as handle:
        handle.write(b"\0" * (os.statvfs(place).f_bavail * 4096 - free))


def blobs(n: int, n_in: int = 6, n_classes: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return overlapping Gaussian classes: x (n, n_in) float32, y (n,) int32; the means are the same for every seed."""
    means = np.random.default_rng(99).normal(0.0, 1.2, (n_classes, n_in))
    rng = np.random.default_rng(seed)
    y = rng.integers(0, n_classes, n).astype(np.int32)
    return (means[y] + rng.normal(0.0, 1.0, (n, n_in))).astype(np.float32), y

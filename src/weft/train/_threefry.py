"""Random bits for dropout in one kernel: JAX's generator on the CPU, with its loop over rounds written out.

On the CPU JAX runs the rounds of Threefry-2x32 as a loop of small kernels, which costs half of a training step with
dropout. Written out, XLA fuses them with what uses the bits. Integers have no rounding, so the bits are the same.

J. K. Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC'11, DOI 10.1145/2063384.2063405.
"""

from __future__ import annotations

import functools

import numpy as np

from weft.types import Tensor

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = np.uint32(0x1BD11BDA)


def threefry2x32(key0: Tensor, key1: Tensor, x0: Tensor, x1: Tensor) -> tuple[Tensor, Tensor]:
    """Return the 20 rounds of Threefry-2x32 of a counter (x0, x1) under a key; all uint32, broadcast together."""
    keys = (key0, key1, key0 ^ key1 ^ _PARITY)
    x0, x1 = x0 + key0, x1 + key1
    for i in range(5):
        for distance in _ROTATIONS[i % 2]:
            x0 = x0 + x1
            x1 = x0 ^ (x1 << np.uint32(distance) | x1 >> np.uint32(32 - distance))
        x0, x1 = x0 + keys[(i + 1) % 3], x1 + keys[(i + 2) % 3] + np.uint32(i + 1)
    return x0, x1


@functools.cache
def fuse_random_bits() -> None:
    """Let what JAX compiles for the CPU from now on draw its random bits by `threefry2x32`."""
    from jax.extend.random import threefry2x32_p
    from jax.interpreters import mlir

    mlir.register_lowering(threefry2x32_p, mlir.lower_fun(threefry2x32, multiple_results=True), platform="cpu")

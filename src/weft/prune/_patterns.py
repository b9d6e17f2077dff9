"""Pattern pruning: each kernel of a convolution keeps its weights at the window positions of one of a few patterns.

Source: Wang et al., "PACA: A Pattern Pruning Algorithm and Channel-Fused High PE Utilization Accelerator for CNNs",
IEEE TCAD 2022. The pattern of a kernel is where its largest weights are; the most frequent ones are dominant, and a
kernel belongs to the one that keeps most of its energy.
"""

from __future__ import annotations

from weft import ops
from weft.prune._groups import keep_largest
from weft.types import Tensor

MOST_POSITIONS = 30
"""Window positions that fit into the bits of an integer."""


def windows(w: Tensor, positions: int) -> Tensor:
    """Return a matrix (n_out, positions * n_in) as one row for each output and input, (n_out * n_in, positions)."""
    by_position = ops.reshape(w, (w.shape[0], positions, -1))
    return ops.reshape(ops.transpose(by_position, (0, 2, 1)), (-1, positions))


def matrix(rows: Tensor, shape: tuple[int, int]) -> Tensor:
    """Return windows as the matrix of this shape, (n_out, n); the inverse of `windows`."""
    by_input = ops.reshape(rows, (shape[0], -1, rows.shape[1]))
    return ops.reshape(ops.transpose(by_input, (0, 2, 1)), shape)


def dominant(rows: Tensor, kept: int, count: int) -> Tensor:
    """Return the `count` most frequent patterns of `kept` positions, 0 or 1, (count, positions).

    Of equally frequent patterns the one with the lower code comes first, position i counting 2^i. Where there are fewer
    than `count` different patterns, some come twice.
    """
    masks = keep_largest(ops.abs(rows), kept)
    bits = ops.cast(2 ** ops.arange(masks.shape[1], dtype="int32"), "int32")
    codes = ops.sum(ops.cast(masks, "int32") * bits, axis=1)
    order = ops.argsort(codes)
    codes = ops.take(codes, order)
    votes = ops.searchsorted(codes, codes, side="right") - ops.searchsorted(codes, codes, side="left")
    new = ops.concatenate([ops.ones_like(codes[:1]), ops.cast(codes[1:] != codes[:-1], codes.dtype)])
    best = ops.argsort(-ops.cast(votes, "int32") * ops.cast(new, "int32"))[:count]
    return ops.take(masks, ops.take(order, best), axis=0)


def nearest(rows: Tensor, patterns: Tensor) -> Tensor:
    """Return for each window the pattern that keeps most of its energy, (windows, positions)."""
    return ops.take(patterns, ops.argmax(ops.matmul(rows**2, ops.transpose(patterns)), axis=1), axis=0)

"""How much of a kernel is alive, as a number with a gradient: groups of weights that are not as good as 0.

A group is a weight, an output, the weights that a DSP multiplies in turn, or those that fill words of a BRAM. Counting
has no gradient. The count mean(1 - exp(-(w / epsilon)^2)) has one, but only up to about 3 epsilon: with an epsilon
small enough to drop such weights, the others never hear of the constraint. So the count here is exact, and its gradient
is that of mean(1 - exp(-|w| / scale)), where scale is the kernel's typical magnitude: it reaches all weights, presses
hardest on the smallest, and has an edge at 0 that holds what has arrived there.

The groups are those of hls4ml's resource strategy: Ramhorst et al., "FPGA Resource-aware Structured Pruning for
Real-Time Neural Networks", FPT 2023, arXiv:2308.05170.
"""

from __future__ import annotations

from weft import ops
from weft.types import Tensor

BRAM_WORD_BITS = 36
"""Width of the widest word of a BRAM."""

TINY = 1e-20
"""What stands for 0 under a root and below a fraction."""


def bram_group(reuse_factor: int, weight_bits: int) -> int:
    """Return how many consecutive weights fill one BRAM: `reuse_factor` words, each of as many weights as fit."""
    return reuse_factor * max(1, BRAM_WORD_BITS // weight_bits)


def magnitudes(w: Tensor, size: int) -> Tensor:
    """Return the root mean square of each `size` consecutive weights, the last ones filled up with 0, (groups,)."""
    flat = ops.reshape(w, (-1,))
    if size == 1:
        return flat * ops.stop_gradient(ops.sign(flat))  # |w|, whose gradient at 0 is 0 on every backend
    filled = ops.pad(flat, ((0, -flat.shape[0] % size),))
    return ops.sqrt(ops.maximum(ops.mean(ops.reshape(filled, (-1, size)) ** 2, axis=1), TINY))


def spread(groups: Tensor, size: int, shape: tuple[int, int]) -> Tensor:
    """Return one value per group as one per weight, (n_out, n)."""
    return ops.reshape(ops.repeat(groups, size)[: shape[0] * shape[1]], shape)


def typical(size: Tensor) -> Tensor:
    """Return the mean of magnitudes weighed by themselves, so that what is 0 does not count; a scalar > 0."""
    return ops.maximum(ops.sum(size**2) / ops.maximum(ops.sum(size), TINY), TINY)


def deviation(size: Tensor, weight: Tensor, goal: Tensor, scale: Tensor, epsilon: float) -> Tensor:
    """Return by how much more is alive than should be, relative to the sum of both, in [-1, 1]; a scalar.

    Args:
        size: Magnitude of each group.
        weight: What each group counts, of the same shape.
        goal: What should be alive, in the units of `weight`.
        scale: The typical magnitude; the gradient of groups is that of mean(1 - exp(-size / scale)).
        epsilon: Groups up to this part of `scale` count as 0.
    """
    alive = ops.sum(weight * ops.cast(size > epsilon * scale, size.dtype))
    exact = (alive - goal) / ops.maximum(alive + goal, TINY)
    smooth = -ops.sum(weight * ops.exp(-size / scale)) / ops.maximum(ops.sum(weight), TINY)
    return smooth + ops.stop_gradient(exact - smooth)

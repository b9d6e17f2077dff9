"""Iterative magnitude pruning: each round removes the smallest of the weights still alive.

Sources: Frankle & Carbin, "The Lottery Ticket Hypothesis", ICLR 2019, arXiv:1803.03635; rewinding to the weights of an
early epoch: Frankle et al., "Stabilizing the Lottery Ticket Hypothesis", arXiv:1903.01611 and arXiv:1912.05671.
"""

from __future__ import annotations

import numpy as np


def magnitude_mask(weight: np.ndarray, alive: np.ndarray, fraction: float) -> np.ndarray:
    """Return the mask after one more round of one kernel.

    Args:
        weight: The trained kernel, any shape.
        alive: The mask so far, same shape, non-zero where a weight is still there.
        fraction: Share of the weights still alive that is *removed*, in (0, 1).

    Returns:
        Mask of the same shape and type as `alive`: `round(fraction * n_alive)` smallest magnitudes are gone; of equal
        ones the later goes first. A weight that was gone stays gone.
    """
    kept = alive.ravel() != 0
    n_removed = round(fraction * int(kept.sum()))
    size = np.where(kept, np.abs(weight.ravel()), np.inf)
    later_first = np.lexsort((-np.arange(size.size), size))
    mask = alive.copy().ravel()
    mask[later_first[:n_removed]] = 0
    return mask.reshape(alive.shape)

"""The budget of a global sparsity: which share of each layer's weights lies below one threshold for all.

Source: Cho et al., "PDP: Parameter-free Differentiable Pruning is All You Need", NeurIPS 2023, arXiv:2305.11203. Only
layers that are pruned take part. Deviations: equal weights at the threshold are shared out among the layers in
proportion, so that the budget is exact for weights on a grid, too; and each layer keeps its largest weight, since a
layer without weights makes the whole network a constant.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from weft.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np


def shares(kernels: Mapping[str, np.ndarray], sparsity: float) -> dict[str, float]:
    """Return the share of each kernel's weights that has to go so that `sparsity` is the share of all of them.

    Args:
        kernels: The kernels of the pruned layers by name, of any shape.
        sparsity: Share of all weights that is removed, in [0, 1).

    Returns:
        Shares in [0, 1). The removed weights add up to `sparsity` of all, rounded to a whole number, or to all but one
        of each layer if that is less.

    Raises:
        ConfigError: `sparsity` is not in [0, 1).
    """
    import numpy as np

    if not 0 <= sparsity < 1:
        raise ConfigError(f"the budget of a global sparsity needs 0 <= sparsity < 1; got {sparsity}")
    smaller = {name: np.sort(np.abs(kernel), axis=None)[:-1] for name, kernel in kernels.items()}
    every = np.sort(np.concatenate([np.empty(0), *smaller.values()]))
    sizes = {name: kernel.size for name, kernel in kernels.items()}
    goal = min(round(sparsity * sum(sizes.values())), every.size)
    if goal == 0:
        return dict.fromkeys(kernels, 0.0)
    threshold = every[goal - 1]
    below = np.array([np.sum(size < threshold) for size in smaller.values()])
    equal = np.array([np.sum(size == threshold) for size in smaller.values()])
    removed = below + _apportion(goal - int(below.sum()), equal)
    return {name: float(count / size) for (name, size), count in zip(sizes.items(), removed, strict=True)}


def check_reachable(sizes: Mapping[str, int], sparsity: float) -> None:
    """Refuse a sparsity of kernels with so many weights that would take the last weight of one.

    Raises:
        ConfigError: It would; the message says what is possible.
    """
    total = sum(sizes.values())
    if round(sparsity * total) > total - len(sizes):
        raise ConfigError(
            f"a sparsity of {sparsity} leaves {total - round(sparsity * total)} of {total} weights to {len(sizes)} "
            f"layers ({', '.join(sizes)}), and each keeps one; the most is {(total - len(sizes)) / total:.4g}"
        )


def _apportion(total: int, sizes: np.ndarray) -> np.ndarray:
    """Return whole parts of `total` in proportion to `sizes`, by largest remainders; of equal ones the earlier wins."""
    import numpy as np

    parts, remainders = np.divmod(total * sizes, sizes.sum())
    first = np.argsort(-remainders, kind="stable")[: total - int(parts.sum())]
    parts[first] += 1
    return parts

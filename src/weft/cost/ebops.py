"""EBOPs: for every product in the network, the width of its input times the width of its weight (or other factor).

Source: Sun et al., "Gradient-based Automatic Mixed Precision Quantization for Neural Networks On-Chip", 2024,
arXiv:2405.00645. The count here is of the weights as they are: from the highest to the lowest bit that is not zero, so
that a pruned weight costs nothing and a power of two costs one; and of what is alive: a product with a constant zero,
or one that no output depends on, costs nothing (`weft.cost.products`). HGQ2's own number, which training minimises,
takes the declared widths of the weights, dead or alive, and adds those of biases, sums and tables; `ebops_hgq` reads
it. Both leave signs out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike

from weft.cost._base import CostInput, Target, register, require
from weft.types import Estimate, Quantity


def dense_ebops(input_bits: ArrayLike, weight_bits: ArrayLike) -> float:
    """Count the effective bit operations (EBOPs) of one dense layer for one inference.

    Additions and biases are not counted. How EBOPs relate to LUTs depends on the backend.

    Args:
        input_bits: Width of each input without its sign, shape (n_in,), in bits, >= 0.
        weight_bits: Width of each weight without its sign, shape (n_out, n_in), in bits; 0 for a pruned weight.

    Returns:
        EBOPs, a count >= 0.

    Example:
        >>> dense_ebops([8, 4], [[3, 0], [2, 5]])
        60.0
    """
    return float(np.sum(np.asarray(weight_bits) * np.asarray(input_bits)[None, :]))


def ebops_hgq(model: Any) -> int:
    """Return the EBOPs that HGQ2 itself counts, with biases and by declared widths, over all layers that have bits.

    The count is of the ranges as they are now. The one that HGQ2 stores while it trains is stale after calibration.
    """
    total = 0
    for layer in model.layers:
        if getattr(layer, "enable_ebops", False):
            read = layer.input
            inputs = cast("list[Any]", read if isinstance(read, list) else [read])
            shapes = [(1, *one.shape[1:]) for one in inputs]
            total += int(layer._compute_ebops(*shapes) * layer.ebops_factor)
    return total


@register
class Ebops:
    """EBOPs of the weights as they are."""

    name = "ebops"
    provides = ("ebops",)

    def supports(self, design: CostInput) -> str | None:
        return design.objection

    def estimate(self, designs: Sequence[CostInput], target: Target) -> list[Estimate]:
        return [Estimate(quantities={"ebops": self._count(design)}) for design in designs]

    def _count(self, design: CostInput) -> Quantity:
        require(self, design)
        total = sum(product.ebops for product in design.products)
        source = "EBOPs of the weights' significant bits, arXiv:2405.00645"
        return Quantity(value=total, unit="bit operations", stage="predicted", source=source)

"""BOPs: bit operations of layers, multiplications and accumulations, by average widths and sparsity.

Source: Hawks et al., "Ps and Qs: Quantization-Aware Pruning for Efficient Low Latency Neural Network Inference", 2021,
arXiv:2102.11289, after Baskin et al., "UNIQ", 2018, arXiv:1804.10969. Papers also print `n_in * n_out * b_w * b_a` and
plain multiplications under this name; weft has this one definition. It is that of a dense layer; any other layer is
taken as products and accumulations of the same kind, `log2 n_in` of those that are added to one result: at each
position of a convolution, padding left out, and with a sparsity of 0 where two activations are multiplied. A weight
that takes part in nothing that an output depends on counts as zero, whether it is or not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from weft.cost._base import CostInput, Target, register, require
from weft.cost.products import Product
from weft.types import Estimate, Quantity


def dense_bops(n_in: int, n_out: int, weight_bits: float, input_bits: float, sparsity: float = 0.0) -> float:
    """Count the bit operations (BOPs) of one dense layer for one inference.

    Args:
        n_in: Number of inputs.
        n_out: Number of outputs.
        weight_bits: Width of the weights, in bits, signs included.
        input_bits: Width of the inputs, in bits, signs included.
        sparsity: Share of weights that are zero, in [0, 1].

    Example:
        >>> dense_bops(16, 64, 8, 8)
        86016.0
    """
    accumulation = weight_bits + input_bits + math.log2(n_in)
    return n_in * n_out * ((1 - sparsity) * weight_bits * input_bits + accumulation)


def effective_bops(bops_32: float, bits: float, sparsity: float) -> float:
    """Scale the BOPs of a dense 32-bit network by width squared and sparsity, as SNAC-Pack logs compressed networks.

    Source: arXiv:2605.16138. For comparison with its logs; weft's own number is `dense_bops`.

    Example:
        >>> effective_bops(1024.0, 8, 0.5)
        32.0
    """
    return bops_32 * (bits / 32) ** 2 * (1 - sparsity)


@register
class Bops:
    """BOPs from the average widths and the sparsity of each layer."""

    name = "bops"
    provides = ("bops",)

    def supports(self, design: CostInput) -> str | None:
        return design.objection

    def estimate(self, designs: Sequence[CostInput], target: Target) -> list[Estimate]:
        return [Estimate(quantities={"bops": self._count(design)}) for design in designs]

    def _count(self, design: CostInput) -> Quantity:
        require(self, design)
        total = sum(map(product_bops, design.products))
        return Quantity(value=total, unit="bit operations", stage="predicted", source="BOPs, arXiv:2102.11289")


def product_bops(product: Product) -> float:
    """Count the bit operations of all products of two arrays."""
    weighted = product.second.values is not None
    sparsity = 1.0 - np.count_nonzero(product.used) / product.used.size if weighted else 0.0
    widths = float(np.mean(product.second.width)), float(np.mean(product.first.width))
    return product.count * dense_bops(1, 1, *widths, sparsity) + product.count * math.log2(product.form.fan_in)

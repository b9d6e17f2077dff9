"""Energy of a network's arithmetic, from published energies of integer operations, scaled by the widths of its numbers.

Source: Horowitz, "Computing's energy problem (and what we can do about it)", ISSCC 2014: at 45 nm and 0.9 V an addition
takes 0.03 pJ (8 bits) or 0.1 pJ (32 bits), a multiplication 0.2 pJ or 3.1 pJ. An addition is taken as linear in its
width, a multiplication as linear in the product of both: from the values at 32 bits this gives 0.025 pJ and 0.19 pJ at
8 bits. Each live product is multiplied, by the bits that EBOPs count, and added to a sum as wide as both of its numbers
and the logarithm of the fan-in.

That is the arithmetic of an ASIC: no wires, no registers, no clock, nothing that leaks, and no FPGA. It compares
networks with each other, and is not what a board draws.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from weft.cost._base import CostInput, Target, register, require
from weft.cost.products import Product
from weft.types import Estimate, Quantity

MULTIPLY_PJ = 3.1 / 32**2
"""For each bit of one number times each bit of the other."""

ADD_PJ = 0.1 / 32
"""For each bit."""

_SOURCE = "integer energies at 45 nm of Horowitz, ISSCC 2014, scaled by widths"


@register
class Horowitz:
    """Nanojoules of the multiplications and additions of one inference."""

    name = "horowitz"
    provides = ("energy_nj",)

    def supports(self, design: CostInput) -> str | None:
        return design.objection

    def estimate(self, designs: Sequence[CostInput], target: Target) -> list[Estimate]:
        return [Estimate(quantities={"energy_nj": self._sum(design)}) for design in designs]

    def _sum(self, design: CostInput) -> Quantity:
        require(self, design)
        total = 1e-3 * sum(map(product_energy_pj, design.products))
        reason = "arithmetic alone, of an ASIC: compares networks, and is not what an FPGA draws"
        return Quantity(value=total, unit="nJ", stage="predicted", source=_SOURCE, reason=reason)


def product_energy_pj(product: Product) -> float:
    """Return the energy of all products of two arrays and of adding them up, in pJ."""
    first, second, form = product.first, product.second, product.form
    live = form.weigh((product.alive & (first.bits > 0)).astype(float), product.read)
    live = live * (product.second_alive & (second.least_bits > 0))
    bits = form.weigh(first.bits * product.alive, product.read) * (live > 0)
    added = float((bits + live * (second.least_bits + math.log2(form.fan_in))).sum())
    return MULTIPLY_PJ * product.ebops + ADD_PJ * added

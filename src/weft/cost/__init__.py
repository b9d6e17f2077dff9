"""Cost models: what a design will take in hardware, before it is synthesised."""

from __future__ import annotations

from weft.cost._base import CostInput, CostModel, Target, find, names, providing, register
from weft.cost.adder_graph import AdderGraphCost
from weft.cost.bops import Bops, dense_bops, effective_bops
from weft.cost.costs import FixedTarget, SideBySide, costs_of, side_by_side
from weft.cost.ebops import Ebops, dense_ebops, ebops_hgq
from weft.cost.fabric import Fabric
from weft.cost.fractions import Fractions
from weft.cost.function import FunctionCost
from weft.cost.hls4ml import Hls4mlRules, HlsTarget, csd_digits, legal_reuse_factors
from weft.cost.horowitz import Horowitz
from weft.cost.learned import LearnedCost
from weft.cost.parameters import Parameters
from weft.cost.products import significant_bits
from weft.cost.rule4ml import Rule4ml
from weft.cost.sampled import how_drawn, sampled_costs, sampled_model, sampled_side_by_side

__all__ = [
    "AdderGraphCost",
    "Bops",
    "CostInput",
    "CostModel",
    "Ebops",
    "Fabric",
    "FixedTarget",
    "Fractions",
    "FunctionCost",
    "Hls4mlRules",
    "HlsTarget",
    "Horowitz",
    "LearnedCost",
    "Parameters",
    "Rule4ml",
    "SideBySide",
    "Target",
    "costs_of",
    "csd_digits",
    "dense_bops",
    "dense_ebops",
    "ebops_hgq",
    "effective_bops",
    "find",
    "how_drawn",
    "legal_reuse_factors",
    "names",
    "providing",
    "register",
    "sampled_costs",
    "sampled_model",
    "sampled_side_by_side",
    "side_by_side",
    "significant_bits",
]

"""Batch normalisation as a layer of its own; `fusion` makes one layer of it and the one before.

What is quantised is the scale and the offset that hardware applies, γ/σ and β - μγ/σ, and not γ and β. HGQ2 0.2 takes
β = 1 where a layer has none; what it is given here makes up for that.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import hgq.layers as hgq
from hgq.constraints import Constant

from weft.quantize.counterparts._base import (
    Kit,
    Made,
    Rule,
    computes_in_float32,
    config_of,
    copy_weights,
    first_objection,
)
from weft.quantize.graph import Call

DENSE_EQUATION = "...a,ab->...b"
"""What a dense layer is as an einsum, which is how HGQ2 normalises it."""


def _batch_normalization(layer: Any, kit: Kit) -> Made:
    new = hgq.QBatchNormalization(
        **config_of(layer, "renorm", "renorm_clipping", "renorm_momentum", "center", "beta_constraint"),
        beta_constraint=layer.beta_constraint if layer.center else Constant(0.0),
        iq_conf=kit.input(),
        kq_conf=kit.weight(),
        bq_conf=kit.bias(),
        **kit.rest(),
    )
    return Made([new], partial(copy_weights, layer, new, {"gamma": "bn_gamma", "beta": "bn_beta"}))


def _objection(call: Call) -> str | None:
    if not call.operation.trainable:
        return "it is frozen, and HGQ2's goes on following the data; set trainable=True, or fold it into its neighbour"
    if getattr(call.operation, "renorm", False):
        return "it uses batch renormalisation; build it with renorm=False"
    return None


RULES = {
    "BatchNormalization": Rule(
        _batch_normalization,
        ("weight", "bias", "input", "output"),
        objection=first_objection(computes_in_float32, _objection),
    )
}

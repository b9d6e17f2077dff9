"""Multi-head attention.

HGQ2's has no bias of the keys: it adds the same to all scores of a query, and the softmax takes it away again.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import hgq.layers as hgq

from weft.quantize.attention import QMultiHeadAttention
from weft.quantize.counterparts._base import (
    KERNEL_PARTS,
    Axes,
    Kit,
    Made,
    Rule,
    computes_in_float32,
    config_of,
    copy_weights,
    first_objection,
)
from weft.quantize.graph import Call


def _attention(layer: Any, kit: Kit) -> Made:
    quantizers = {
        "qkvo_iq_conf": kit.input(),
        "qkvo_kq_conf": kit.weight((-2, -1)),
        "qkvo_bq_conf": kit.bias(),
        "qkvo_oq_conf": kit.inner(),
        "softmax_iq_conf": kit.inner(),
        "softmax_exp_iq_conf": kit.inner(signed=False),
        "softmax_exp_oq_conf": kit.table(signed=False),
        "softmax_inv_iq_conf": kit.inner(signed=False),
        "softmax_inv_oq_conf": kit.table(signed=False),
        "softmax_oq_conf": kit.inner(signed=False),
        **kit.rest(),
    }
    config = config_of(layer, "use_gate", "sliding_window")
    if kit.method is None:
        new = hgq.QMultiHeadAttention(**config, **quantizers)
    else:
        n_outputs = 1 if not isinstance(layer._output_shape, tuple | list) else len(layer._output_shape)
        output = kit.weight(tuple(range(-n_outputs, 0)))
        new = QMultiHeadAttention(**config, **quantizers, output_kq_conf=output)
    return Made([new], partial(copy_weights, layer, new, {"key/bias": ""}))


def _kernels(layer: Any) -> list[Axes]:
    shapes = [tuple(part._kernel.shape) for part in (layer._query_dense, layer._key_dense, layer._value_dense)]
    output = tuple(layer._output_dense._kernel.shape)
    return [*(Axes(shape, (-2, -1)) for shape in shapes), Axes(output, tuple(range(2, len(output))))]


def _objection(call: Call) -> str | None:
    config = call.operation.get_config()
    if config.get("use_gate"):
        return "it has a gate; build it with use_gate=False"
    if config.get("sliding_window"):
        return "it attends in a sliding window; give an attention_mask in its place"
    return None


RULES = {
    "MultiHeadAttention": Rule(
        _attention, (*KERNEL_PARTS, "table"), _kernels, first_objection(computes_in_float32, _objection)
    )
}

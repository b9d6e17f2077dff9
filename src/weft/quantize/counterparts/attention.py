"""Multi-head attention.

HGQ2's has no bias of the keys: it adds the same to all scores of a query, and the softmax takes it away again. A mask
puts 10^9 before the table of exp, and no range may follow that: the table reaches as far as its values are not 0.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import hgq.layers as hgq

from weft.config.numbers import FixedNumbers, FloatNumbers, QuantizerSettings
from weft.quantize import quantizers
from weft.quantize.activations import softmax_layer
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
        "softmax_oq_conf": kit.inner(signed=False),
        **_softmax(layer, kit),
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


def _softmax(layer: Any, kit: Kit) -> dict[str, Any]:
    settings = kit.settings.model_copy(update={"input": _range_of_exp(layer, kit)})
    softmax = softmax_layer(-1, kit.numbers, settings)
    if not isinstance(softmax, hgq.QSoftmax):
        nothing = {"exp_iq": kit.inner(), "exp_oq": kit.table(), "inv_iq": kit.inner(), "inv_oq": kit.table()}
        return {f"softmax_{place}_conf": found for place, found in nothing.items()}
    after = softmax_layer(-1, kit.numbers, kit.settings.model_copy(update={"input": quantizers.NONE}))
    return {
        "softmax_exp_iq_conf": softmax.exp_table.iq.config,
        "softmax_exp_oq_conf": softmax.exp_table.oq.config,
        "softmax_inv_iq_conf": after.inv_table.iq.config,
        "softmax_inv_oq_conf": after.inv_table.oq.config,
    }


def _range_of_exp(layer: Any, kit: Kit) -> QuantizerSettings:
    """Return the format of what exp(-x / sqrt(key_dim)) is looked up for: beyond its range the table would hold 0."""
    if isinstance(kit.numbers, FloatNumbers):
        return quantizers.NONE
    width = kit.numbers.total_bits if isinstance(kit.numbers, FixedNumbers) else kit.numbers.bits0
    furthest = math.log(2.0) * (kit.settings.table.bits or width) * math.sqrt(layer._key_dim)
    return QuantizerSettings(integer_bits=min(math.ceil(math.log2(furthest)), width), overflow_mode="SAT")


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

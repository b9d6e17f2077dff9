"""Layer normalisation in fixed point: sums, one table and two products.

With n values in a row, c = (n x - Σx) / 2^m is their distance from the mean times a = n / 2^m, without a division, and
u = Σc² / 2^m is a³σ². What is left is a function of one number, 1 / (a sqrt(u / a³ + ε)), a table for each row. It
multiplies c, and γ and β are a layer of weights behind it. HGQ2 has no such layer; its parts have counterparts, and
are seen as the layers and operations that they are. With float numbers the layer stays as it is.
"""

from __future__ import annotations

import math
from typing import Any

import hgq.layers as hgq
import keras
from hgq.quantizer import Quantizer
from keras import ops

from weft.config.numbers import FloatNumbers, QuantizerSettings
from weft.quantize.counterparts._base import Kit, Made, Rule, array, computes_in_float32, first_objection
from weft.quantize.counterparts.present import copied
from weft.quantize.graph import Call

_TO_RANGE = QuantizerSettings(integer_bits="auto", overflow_mode="SAT")


@keras.saving.register_keras_serializable(package="weft")
class InverseDeviation:
    """1 / (scale sqrt(u / scale³ + epsilon)), the function of the table.

    Args:
        scale: a.
        epsilon: That of the layer.
    """

    __name__ = "inverse_deviation"

    def __init__(self, scale: float, epsilon: float) -> None:
        self.scale, self.epsilon = scale, epsilon

    def __call__(self, u: Any) -> Any:
        return 1.0 / (self.scale * ops.sqrt(ops.maximum(u, 0.0) / self.scale**3 + self.epsilon))

    def get_config(self) -> dict[str, float]:
        """Return what it is made of."""
        return {"scale": self.scale, "epsilon": self.epsilon}

    @classmethod
    def from_config(cls, config: dict[str, float]) -> InverseDeviation:
        """Make the function of a configuration."""
        return cls(**config)


def _layer_normalization(layer: Any, kit: Kit) -> Made:
    shape = kit.reads[0].shape
    if isinstance(kit.numbers, FloatNumbers) or shape is None:
        return copied(layer)
    n = int(shape[-1] or 1)
    m = round(math.log2(n))
    rank = len(shape)
    inside = kit.before()
    read = Quantizer(kit.input(), name=kit.name(layer, "input"))
    square = hgq.QMultiply(iq_confs=[kit.inner(), kit.inner()], beta0=kit.beta, name=kit.name(layer, "square"))
    table = hgq.QUnaryFunctionLUT(
        InverseDeviation(n / 2.0**m, float(layer.epsilon)),
        iq_conf=_table_input(inside),
        oq_conf=kit.table(signed=False),
        beta0=kit.beta,
        name=kit.name(layer, "table"),
    )
    product = hgq.QMultiply(
        iq_confs=[kit.inner(), kit.inner(signed=False)], beta0=kit.beta, name=kit.name(layer, "product")
    )
    letters = "abcdefgh"[:rank]
    scale = hgq.QEinsumDense(
        f"{letters},{letters[-1]}->{letters}",
        tuple(shape[1:]),
        bias_axes=letters[-1] if layer.center else None,
        iq_conf=kit.inner(),
        kq_conf=kit.weight(),
        bq_conf=kit.bias(),
        name=layer.name,
        **kit.rest(),
    )

    def normalized(x: Any) -> Any:
        x = read(x)
        distance = (x * float(n) - ops.sum(x, axis=-1, keepdims=True)) * 2.0**-m
        spread = ops.sum(square([distance, distance]), axis=-1, keepdims=True) * 2.0**-m
        return product([distance, table(spread)])

    def copy() -> None:
        scale._kernel.assign(array(layer.gamma) if layer.scale else ops.ones(scale._kernel.shape))
        if layer.center:
            scale.bias.assign(array(layer.beta))

    return Made([normalized, scale], copy)


def _table_input(kit: Kit) -> Any:
    from weft.quantize import quantizers

    chosen = _TO_RANGE.model_copy(update=kit.settings.input.model_dump(exclude_none=True))
    return quantizers.activation(kit.numbers, chosen, signed=False)


def _objection(call: Call) -> str | None:
    layer, rank = call.operation, len(call.inputs[0].shape)
    axes = [layer.axis] if isinstance(layer.axis, int) else list(layer.axis)
    if [axis % rank for axis in axes] != [rank - 1]:
        return "it normalises several axes, or not the last; flatten these axes to one, and move it to the end"
    return None


RULES = {
    "LayerNormalization": Rule(
        _layer_normalization,
        ("input", "output", "weight", "bias", "table"),
        objection=first_objection(computes_in_float32, _objection),
    )
}

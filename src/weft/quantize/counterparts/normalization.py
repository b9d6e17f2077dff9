"""Batch normalisation: fused into the dense layer before it, or a layer of its own.

In both forms what is quantised is the scale and the offset that hardware applies, γ/σ and β - μγ/σ, and not γ and β.
HGQ2 0.2 adds Keras' global epsilon to the variance of a fused layer in place of the layer's own, and takes β = 1 where
a layer has none; what it is given here makes up for both.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import hgq.layers as hgq
import keras
from hgq.constraints import Constant

from weft.quantize.counterparts._base import (
    Kit,
    Made,
    Rule,
    array,
    computes_in_float32,
    config_of,
    copy_weights,
    first_objection,
    freeze_like,
)
from weft.quantize.counterparts.dense import einsum_outputs, output_shape
from weft.quantize.graph import Call
from weft.quantize.operations import function_of

DENSE_EQUATION = "...a,ab->...b"
"""What a dense layer is as an einsum."""

_OWN = (
    *("momentum", "epsilon", "center", "scale", "gamma_initializer", "moving_mean_initializer"),
    *("moving_variance_initializer", "gamma_regularizer", "gamma_constraint", "synchronized"),
)


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


def can_fuse(dense: Any, norm: Any) -> bool:
    """Whether a batch normalisation that alone reads a dense layer can become one layer with it."""
    if not isinstance(norm, keras.layers.BatchNormalization) or function_of(dense) != "linear":
        return False
    if dense.trainable != norm.trainable or _objection_to(norm) is not None:
        return False
    rank = len(dense.output.shape)
    if not isinstance(norm.axis, int) or norm.axis % rank != rank - 1:
        return False
    if isinstance(dense, keras.layers.Dense):
        return True
    kernel, output = dense.equation.split(",")[1].split("->")
    return output[-1] in kernel and dense.bias_axes in (None, output[-1])


def fused(dense: Any, norm: Any, kit: Kit) -> Made:
    """Make one layer of a dense layer and the batch normalisation that alone reads it."""
    is_dense = isinstance(dense, keras.layers.Dense)
    equation = DENSE_EQUATION if is_dense else dense.equation
    config = config_of(dense, "use_bias", "units", "equation", "output_shape", "activation", "bias_axes")
    norm_config = norm.get_config()
    config |= {name: norm_config[name] for name in _OWN}
    config |= {f"bias_{name}": norm_config[f"beta_{name}"] for name in ("initializer", "regularizer", "constraint")}
    new = hgq.QEinsumDenseBatchnorm(
        equation,
        dense.units if is_dense else output_shape(dense, kit),
        bias_axes=equation[-1],
        **config,
        iq_conf=kit.input(),
        kq_conf=kit.weight(einsum_outputs(equation)),
        bq_conf=kit.bias(),
        **kit.rest(),
    )

    def copy() -> None:
        new._kernel.assign(array(dense._kernel))
        if norm.scale:
            new.bn_gamma.assign(array(norm.gamma))
        if norm.center:
            new.bias.assign(array(norm.beta))
        shift = 0.0 if dense.bias is None else array(dense.bias)
        new.moving_mean.assign(array(norm.moving_mean) - shift)
        new.moving_variance.assign(array(norm.moving_variance) + norm.epsilon - keras.backend.epsilon())
        freeze_like(dense, new)

    return Made([new], copy)


def _objection(call: Call) -> str | None:
    if not call.operation.trainable:
        return "it is frozen, and HGQ2's goes on following the data; set trainable=True, or fold it into its neighbour"
    return _objection_to(call.operation)


def _objection_to(norm: Any) -> str | None:
    if getattr(norm, "renorm", False):
        return "it uses batch renormalisation; build it with renorm=False"
    return None


RULES = {
    "BatchNormalization": Rule(
        _batch_normalization,
        ("weight", "bias", "input", "output"),
        objection=first_objection(computes_in_float32, _objection),
    )
}

"""Dense layers: `Dense` and `EinsumDense`, with the batch normalisation behind them if there is one.

HGQ2 0.2 adds Keras' global epsilon to the variance in place of the layer's own; the variance makes up for it.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import hgq.layers as hgq
import keras

from weft.quantize.counterparts._base import (
    FUNCTION_PARTS,
    KERNEL_PARTS,
    Axes,
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
from weft.quantize.counterparts.functions import function_after, inline, objection_to_function
from weft.quantize.counterparts.fusion import copy_normalization, normalization_of
from weft.quantize.counterparts.normalization import DENSE_EQUATION


def _dense(layer: Any, kit: Kit) -> Made:
    return _made(hgq.QDense, layer, kit, (-1,), use_bias=layer.use_bias)


def _einsum(layer: Any, kit: Kit) -> Made:
    config = {"bias_axes": layer.bias_axes, "output_shape": output_shape(layer, kit)}
    return _made(hgq.QEinsumDense, layer, kit, einsum_outputs(layer.equation), **config)


def _made(kind: Any, layer: Any, kit: Kit, outputs: tuple[int, ...], **config: Any) -> Made:
    after = function_after(layer, kit)
    mine = kit.before() if after else kit
    new = kind(
        **config_of(layer, "activation", **config),
        activation=inline(layer, kit),
        iq_conf=kit.input(),
        kq_conf=kit.weight(outputs),
        bq_conf=kit.bias(),
        **mine.rest(),
    )
    return Made([new, *after], partial(copy_weights, layer, new))


def _with_normalization(layer: Any, norm: Any, kit: Kit) -> Made:
    is_dense = isinstance(layer, keras.layers.Dense)
    equation = DENSE_EQUATION if is_dense else layer.equation
    config = config_of(layer, "use_bias", "units", "equation", "output_shape", "activation", "bias_axes")
    new = hgq.QEinsumDenseBatchnorm(
        equation,
        layer.units if is_dense else output_shape(layer, kit),
        bias_axes=equation[-1],
        **(config | normalization_of(norm)),
        iq_conf=kit.input(),
        kq_conf=kit.weight(einsum_outputs(equation)),
        bq_conf=kit.bias(),
        **kit.rest(),
    )

    def copy() -> None:
        new._kernel.assign(array(layer._kernel))
        copy_normalization(norm, layer.bias, new, keras.backend.epsilon())
        freeze_like(layer, new)

    return Made([new], copy)


def output_shape(layer: Any, kit: Kit) -> Any:
    """Return the shape of what an einsum layer gives, with the sizes that it only knows once it is called."""
    given, shape = layer.partial_output_shape, kit.reads[0].shape
    if shape is None or None not in given:
        return given
    read, rest = layer.equation.split(",")
    sizes = dict(zip(reversed(read.removeprefix("...")), reversed(shape), strict=False))
    letters = rest.split("->")[1][-len(given) :]
    return tuple(sizes.get(letter) if size is None else size for letter, size in zip(letters, given, strict=True))


def einsum_outputs(equation: str) -> tuple[int, ...]:
    """Return the axes of an einsum layer's kernel that number outputs: those that appear in its output.

    Example:
        >>> einsum_outputs("abc,cde->abde")
        (1, 2)
    """
    kernel, output = equation.split(",")[1].split("->")
    return tuple(axis for axis, letter in enumerate(kernel) if letter in output)


_PARTS = KERNEL_PARTS + FUNCTION_PARTS
_OBJECTION = first_objection(computes_in_float32, objection_to_function)

RULES = {
    "Dense": Rule(_dense, _PARTS, lambda layer: [Axes(tuple(layer._kernel.shape))], _OBJECTION, _with_normalization),
    "EinsumDense": Rule(
        _einsum,
        _PARTS,
        lambda layer: [Axes(tuple(layer._kernel.shape), einsum_outputs(layer.equation))],
        _OBJECTION,
        _with_normalization,
    ),
}

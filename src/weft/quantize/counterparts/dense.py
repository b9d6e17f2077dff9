"""Dense layers: `Dense` and `EinsumDense`."""

from __future__ import annotations

from functools import partial
from typing import Any

import hgq.layers as hgq

from weft.quantize.counterparts._base import (
    FUNCTION_PARTS,
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
from weft.quantize.counterparts.functions import function_after, inline, objection_to_function


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
    "Dense": Rule(_dense, _PARTS, lambda layer: [Axes(tuple(layer._kernel.shape))], _OBJECTION),
    "EinsumDense": Rule(
        _einsum,
        _PARTS,
        lambda layer: [Axes(tuple(layer._kernel.shape), einsum_outputs(layer.equation))],
        _OBJECTION,
    ),
}

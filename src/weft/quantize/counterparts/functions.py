"""Nonlinear functions: as layers, as operations, and at the end of other layers."""

from __future__ import annotations

from typing import Any

import keras
from hgq.quantizer import Quantizer

from weft.config.numbers import FloatNumbers
from weft.errors import UnsupportedError
from weft.quantize.activations import activation_layer
from weft.quantize.counterparts._base import FUNCTION_PARTS, Kit, Made, Parts, Rule
from weft.quantize.graph import Call
from weft.quantize.operations import FUNCTIONS, function_of

PARTS: Parts = ("input", "output", *FUNCTION_PARTS)


def inline(layer: Any, kit: Kit) -> str | None:
    """Return the function that HGQ2's layer computes by itself: ReLU, and none where another layer has to follow."""
    return "relu" if function_of(layer) == "relu" and not kit.settings.multiplier else None


def function_after(layer: Any, kit: Kit) -> list[Any]:
    """Return the layers that compute the function a layer ends with; none where HGQ2's layer does it by itself."""
    if function_of(layer) == "linear" or inline(layer, kit):
        return []
    return _layers(layer.activation, kit.after(), kit.name(layer, "act"))


def _layers(function: Any, kit: Kit, name: str) -> list[Any]:
    first, signed = any(read.first for read in kit.reads), any(read.signed for read in kit.reads)
    made = activation_layer(function, kit.numbers, kit.settings, name, first=first, signed=signed)
    output = kit.output()
    layers = [keras.layers.Activation("linear", name=name) if made is None else made]
    return layers if output is None else [*layers, Quantizer(output, name=f"{name}_output")]


def _layer(layer: Any, kit: Kit) -> Made:
    return Made(_layers(layer, kit, layer.name))


def _operation(operation: Any, kit: Kit) -> Made:
    return Made(_layers(_written(operation), kit, operation.name))


def _written(operation: Any) -> Any:
    """Return a pure operation as a layer, or as a function of `keras.activations`."""
    match type(operation).__name__:
        case "ReLU":
            return keras.layers.ReLU(operation.max_value, operation.negative_slope, operation.threshold)
        case "LeakyRelu":
            return keras.layers.LeakyReLU(operation.negative_slope)
        case "Elu":
            return keras.layers.ELU(operation.alpha)
        case "Softmax":
            return keras.layers.Softmax(operation.axis)
        case name:
            return FUNCTIONS[name]


def objection_to_function(call: Call) -> str | None:
    """Object to layers that end with a function which has no fixed-point form."""
    layer = call.operation
    if function_of(layer) in ("linear", "relu"):
        return None
    function = layer.activation if hasattr(layer, "activation") else layer
    try:
        activation_layer(function, FloatNumbers(), name=layer.name)
    except UnsupportedError as error:
        return str(error)
    return None


def _objection(call: Call) -> str | None:
    name = type(call.operation).__name__
    if name == "Gelu" and call.operation.approximate:
        return "it approximates GELU by a tanh; use keras.activations.gelu(x), or ops.gelu(x, approximate=False)"
    if name == "Celu" and call.operation.alpha != 1:
        return f"it has alpha={call.operation.alpha:g}, and only alpha=1 has a table"
    return None


_AS_LAYERS = ("Activation", "ReLU", "LeakyReLU", "ELU", "Softmax")

RULES = {name: Rule(_layer, PARTS, objection=objection_to_function) for name in _AS_LAYERS}

OPERATIONS = {name: Rule(_operation, PARTS, objection=_objection) for name in FUNCTIONS if name != "LogSoftmax"}

"""The dense layers of a finalised model as plain arrays: kernels, biases, and the widths of weights and inputs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weft.cost._base import CostInput

Floats = NDArray[np.float64]

_DENSE = ("QDense", "QBatchNormDense")
_EINSUM_DENSE = "QEinsumDenseBatchnorm"
_DENSE_EQUATION = "...a,ab->...b"
_TABLES = ("QUnaryFunctionLUT", "QAffinedUnaryFunctionLUT")


@dataclass(frozen=True)
class DenseLayer:
    """One dense layer. A layer that is applied at several positions (of a sequence) has hardware for each of them.

    Attributes:
        name: The layer's name.
        kernel: Weights as hardware multiplies with them, (n_out, n_in).
        bias: Biases as hardware adds them, (n_out,); empty without bias.
        weight_bits: Declared width of each weight as HGQ2 counts it for EBOPs, signs left out, (n_out, n_in), in bits.
        input_bits: Width of each input as HGQ2 counts it for EBOPs, signs left out, (positions, n_in), in bits.
        weight_width: Declared width of each weight with its sign, (n_out, n_in), in bits.
        input_width: Width of each input with its sign, (positions, n_in), in bits.
    """

    name: str
    kernel: Floats
    bias: Floats
    weight_bits: Floats
    input_bits: Floats
    weight_width: Floats
    input_width: Floats


def objection(design: CostInput) -> str | None:
    """Return why the products of a design cannot be counted by its dense layers, or None."""
    if design.model is None:
        return "it needs the Keras model, and only an adder graph was given"
    for layer in design.model.layers:
        name = type(layer).__name__
        if layer.weights and not _is_dense(layer) and name not in _TABLES:
            known = ", ".join((*_DENSE, _EINSUM_DENSE))
            return f"layer '{layer.name}' is a {name}; products are counted in quantised dense layers only ({known})"
    return None


def dense_layers(design: CostInput) -> Iterator[DenseLayer]:
    """Yield the dense layers of a design's model, in order."""
    for layer in design.model.layers:
        if _is_dense(layer):
            yield _dense(layer)


def _is_dense(layer: Any) -> bool:
    name = type(layer).__name__
    return name in _DENSE or (name == _EINSUM_DENSE and layer.equation == _DENSE_EQUATION)


def _dense(layer: Any) -> DenseLayer:
    kernel = _array(layer.qkernel)
    bias = np.zeros(0) if layer.bias is None else _array(layer.qbias).ravel()
    shape = (1, *layer.input.shape[1:])
    weight_bits, weight_width = (bits.T for bits in _widths(layer.kq, kernel.shape))
    input_bits, input_width = (bits.reshape(math.prod(shape[:-1]), -1) for bits in _widths(layer.iq, shape))
    return DenseLayer(layer.name, kernel.T, bias, weight_bits, input_bits, weight_width, input_width)


def _widths(quantizer: Any, shape: tuple[int, ...]) -> tuple[Floats, Floats]:
    bits = np.maximum(_array(quantizer.bits_(shape)), 0)
    return bits, np.where(bits > 0, _array(quantizer.fbits_(shape)), 0)


def _array(tensor: Any) -> Floats:
    from weft import ops

    return np.asarray(ops.convert_to_numpy(tensor), dtype=np.float64)

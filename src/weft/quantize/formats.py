"""What the quantisers of a layer hold, as NumPy arrays and without a call of Keras: formats, widths, and weights.

HGQ2 computes all this with tensors, at some 50 µs an operation; estimating a design a thousand times needs none of
that. A quantiser that is not one of fixed point, or has another around it, is asked by HGQ2's own functions.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import hgq.layers as hgq
import numpy as np
from hgq.quantizer import Quantizer
from hgq.quantizer.internal import FixedPointQuantizerKBI, FixedPointQuantizerKIF
from numpy.typing import NDArray

from weft.quantize.counterparts._base import array
from weft.quantize.fixed import FixedPoint

Floats = NDArray[np.float64]

_known: ContextVar[dict[int, Format | None] | None] = ContextVar("known", default=None)

_PLAIN = (FixedPointQuantizerKBI, FixedPointQuantizerKIF, FixedPoint)
_AS_IT_IS = (hgq.QDense, hgq.QEinsumDense, hgq.QConv1D, hgq.QConv2D, hgq.QConv3D)
"""Layers whose kernel goes through its quantiser and through nothing else."""


class Format(NamedTuple):
    """KIF(k, i, f) of each group of values; whole numbers, in shapes that broadcast to the values'."""

    k: Floats
    i: Floats
    f: Floats


@contextmanager
def at_once() -> Iterator[None]:
    """Read each quantiser once while the context lasts; nothing may change it meanwhile."""
    token = _known.set({})
    try:
        yield
    finally:
        _known.reset(token)


def format_of(quantizer: Quantizer) -> Format | None:
    """Return the format of a fixed-point quantiser that has nothing around it, else None."""
    known = _known.get()
    if known is None:
        return _format(quantizer)
    if id(quantizer) not in known:
        known[id(quantizer)] = _format(quantizer)
    return known[id(quantizer)]


def _format(quantizer: Quantizer) -> Format | None:
    inside = quantizer.quantizer
    if type(inside) not in _PLAIN or quantizer.scaler is not None or quantizer.affine is not None:
        return None
    k, i = _numbers(inside._k), np.rint(_numbers(inside._i))
    fraction = inside.__dict__.get("_f")
    f = np.rint(_numbers(inside._b)) - i if fraction is None else np.rint(_numbers(fraction))
    return Format(k, i, f)


def widths(quantizer: Quantizer, shape: tuple[int, ...]) -> tuple[Floats, Floats]:
    """Return how wide the values of a quantiser are, without their signs as HGQ2 counts EBOPs, and with them.

    HGQ2 leaves the sign out but where values saturate; there it counts it.

    Args:
        quantizer: A built quantiser.
        shape: The shape of the values, with a batch axis of 1.
    """
    known = format_of(quantizer)
    if known is None:
        bits = np.maximum(array(quantizer.bits_(shape)).astype(np.float64), 0)
        return bits, np.where(bits > 0, array(quantizer.fbits_(shape)), 0).astype(np.float64)
    k, i, f = known
    b, mode = np.maximum(i + f, 0), quantizer.quantizer.overflow_mode
    bits = b + k if mode == "SAT" else b
    width = b + k * (b > 0) if mode == "WRAP" else b + k
    return np.broadcast_to(bits, shape), np.broadcast_to(np.where(bits > 0, width, 0), shape)


def passes(quantizer: Quantizer, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return which values a quantiser lets through: those with at least one bit; all where it has no fixed point."""
    known = format_of(quantizer)
    if known is None:
        inside = quantizer.quantizer
        if not hasattr(inside, "kif"):
            return np.ones(shape, bool)
        known = Format(*(array(inside.bw_mapper.bw_to_x(bits, shape)) for bits in inside.kif))
    return np.broadcast_to(sum(known) > 0, shape)


def kernel_of(layer: Any) -> Floats:
    """Return the kernel that a layer multiplies with. One that is on its quantiser's grid is that already."""
    return _weights(layer, "_kernel", "kq", "qkernel")


def bias_of(layer: Any) -> Floats | None:
    """Return the bias that a layer adds, or None."""
    return None if layer.bias is None else _weights(layer, "bias", "bq", "qbias")


def scale_of(layer: Any) -> Floats:
    """Return the scale that a batch normalisation of its own multiplies each channel with."""
    return array(layer.qscaler_and_qoffset[0]).astype(np.float64)


def cell_kernels(cell: Any) -> tuple[Floats, Floats]:
    """Return the kernels that a recurrent cell multiplies inputs and states with."""
    return array(cell.qkernel).astype(np.float64), array(cell.qrecurrent_kernel).astype(np.float64)


def is_on_grid(values: Floats, known: Format, *, symmetric: bool = False) -> bool:
    """Whether quantising values would change none of them, whichever way it rounds and overflows."""
    b = known.i + known.f
    end = np.exp2(b)
    codes = values * np.exp2(known.f)
    inside = (codes < end) & (codes >= symmetric - known.k * end) & (known.k + b > 0) & (codes == np.rint(codes))
    return bool((inside | (values == 0)).all())


def _weights(layer: Any, name: str, its: str, read: str) -> Floats:
    quantizer = getattr(layer, its)
    known = format_of(quantizer) if type(layer) in _AS_IT_IS else None
    if known is not None:
        values = _numbers(getattr(layer, name))
        if is_on_grid(values, known, symmetric=quantizer.quantizer.symmetric):
            return values
    return array(getattr(layer, read)).astype(np.float64)


def _numbers(variable: Any) -> Floats:
    return values_of(variable).astype(np.float64)


def values_of(variable: Any) -> np.ndarray:
    """Return what a variable holds, without Keras' scopes and casts; JAX's arrays are read where they are."""
    value = variable._value
    return value.detach().cpu().numpy() if hasattr(value, "detach") else np.asarray(value)

"""The fixed-point format of a tensor's values, read from a quantiser of HGQ2 and written to one.

A format KIF(k, i, f) has a sign if k = 1, i integer bits and f fractional bits; below one bit every value is 0. The
names of the modes are those of `ap_fixed`, as in `weft.quantize.fixed`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weft.errors import UnsupportedError

Floats = NDArray[np.float64]

_ROUND: Mapping[str, Callable[[Floats], Floats]] = {
    "TRN": np.floor,
    "TRN_ZERO": np.trunc,
    "RND": lambda x: np.floor(x + 0.5),
    "RND_MIN_INF": lambda x: np.ceil(x - 0.5),
    "RND_ZERO": lambda x: np.sign(x) * np.ceil(np.abs(x) - 0.5),
    "RND_INF": lambda x: np.sign(x) * np.floor(np.abs(x) + 0.5),
    "RND_CONV": np.round,
}
OVERFLOWS = ("SAT", "SAT_SYM", "WRAP")


@dataclass(frozen=True, eq=False)
class Number:
    """The formats of a tensor's values, and what becomes of others.

    Attributes:
        k, i, f: Whole numbers, shape (1, ...) with as many axes as the tensor; they broadcast to it.
        round_mode: TRN, TRN_ZERO, RND, RND_CONV, RND_ZERO, RND_MIN_INF or RND_INF.
        overflow_mode: SAT, SAT_SYM or WRAP.
    """

    k: Floats
    i: Floats
    f: Floats
    round_mode: str
    overflow_mode: str

    @property
    def width(self) -> Floats:
        """Bits of each value with its sign, >= 0."""
        return np.maximum(self.k + self.i + self.f, 0)

    @property
    def step(self) -> Floats:
        """The distance of neighbouring values; 1 where 0 is the only one."""
        return np.where(self.width > 0, np.exp2(-self.f), 1.0)

    @property
    def high(self) -> Floats:
        """The greatest value."""
        return np.where(self.width > 0, np.exp2(self.i) - np.exp2(-self.f), 0.0)

    @property
    def low(self) -> Floats:
        """The least value."""
        end = self.high if self.overflow_mode == "SAT_SYM" else np.exp2(self.i)
        return np.where(self.width > 0, -self.k * end, 0.0)

    @property
    def is_uniform(self) -> bool:
        """Whether all values have one format, of at least one bit."""
        same = all(part.min() == part.max() for part in (self.k, self.i, self.f))
        return same and float(self.width.min()) > 0

    def rounded(self, x: Floats) -> Floats:
        """Return values rounded to the grid, whatever their size."""
        return _ROUND[self.round_mode](x / self.step) * self.step

    def __str__(self) -> str:
        def span(part: Floats) -> str:
            low, high = int(part.min()), int(part.max())
            return f"{low}" if low == high else f"{low}..{high}"

        return f"KIF({', '.join(span(part) for part in (self.k, self.i, self.f))})"


def number_of(quantizer: Any, rank: int, place: str) -> Number:
    """Return the format of a quantiser.

    Args:
        quantizer: A built quantiser of HGQ2.
        rank: Axes of the values, with the batch axis.
        place: The layer's name, for messages.

    Raises:
        UnsupportedError: It is no fixed-point quantiser, it has a scale beside, or it overflows by WRAP_SM.
    """
    from weft.quantize.formats import format_of

    known = format_of(quantizer)
    if known is None:
        raise UnsupportedError(
            f"layer '{place}' has a quantiser '{quantizer.name}' that is not one of plain fixed point, which no ONNX "
            "quantiser represents; use HGQ2's types kbi or kif without scaler and affine"
        )
    modes = quantizer.quantizer.round_mode.removeprefix("S_"), quantizer.quantizer.overflow_mode
    if modes[0] not in _ROUND or modes[1] not in OVERFLOWS:
        raise UnsupportedError(
            f"layer '{place}' rounds by {modes[0]} and overflows by {modes[1]}, which no ONNX quantiser represents; "
            f"use one of {', '.join(_ROUND)}, and one of {', '.join(OVERFLOWS)}"
        )
    parts = (np.asarray(part, np.float64) for part in known)
    k, i, f = (part.reshape((1,) * (rank - part.ndim) + part.shape) for part in parts)
    return Number(k, np.maximum(i, -f), f, *modes)


def uniform(kif: tuple[float, float, float], rank: int) -> Number:
    """Return one format for all values of a tensor, which truncates and wraps around."""
    k, i, f = (np.full((1,) * rank, float(part)) for part in kif)
    return Number(k, i, f, "TRN", "WRAP")


def smallest(values: Floats) -> Number:
    """Return the narrowest format of each single value; 0 has no bits.

    Args:
        values: Dyadic numbers of at most 53 bits, any shape.
    """
    mantissa, exponent = np.frexp(np.asarray(values, np.float64))
    codes = np.ldexp(mantissa, 53).astype(np.int64)
    lowest = np.where(codes != 0, codes & -codes, 1)
    f = 53 - exponent - np.log2(lowest.astype(np.float64))
    negative = np.asarray(values) < 0
    i = np.where(negative & (mantissa == -0.5), exponent - 1, exponent)  # -2^i fits into i bits, 2^i does not
    zero = codes == 0
    k, i, f = (np.where(zero, 0, part).astype(np.float64) for part in (negative, i, f))
    return Number(k, i, f, "RND", "SAT")


def config_of(number: Number, place: str) -> Any:
    """Return the configuration of a quantiser of HGQ2 that `assign` then gives a format: held, never trained."""
    from hgq.quantizer import QuantizerConfig

    each = place in ("weight", "bias")
    alike = not each and all(part.size == 1 for part in (number.k, number.i, number.f))
    axes: dict[str, Any] = {"homogeneous_axis": None, "heterogeneous_axis": ()} if alike else {
        "homogeneous_axis": () if each else (0,), "heterogeneous_axis": None}  # fmt: skip
    modes: dict[str, Any] = {"round_mode": number.round_mode, "overflow_mode": number.overflow_mode}
    return QuantizerConfig("kif", place, k0=1, i0=1, f0=1, ir=None, fr=None, trainable=False, **axes, **modes)


def assign(quantizer: Any, number: Number) -> None:
    """Give a built quantiser that `config_of` made its format."""
    for name, part in (("_k", number.k), ("_i", number.i), ("_f", number.f)):
        variable = getattr(quantizer.quantizer, name)
        variable.assign(np.broadcast_to(part, variable.shape))

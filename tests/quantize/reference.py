"""Fixed point in exact arithmetic, written from METHODS section 1 and the definition of `ap_fixed`; for tests."""

from __future__ import annotations

import math
from fractions import Fraction

HALF = Fraction(1, 2)


def rounded(x: Fraction, mode: str) -> int:
    """Round to a whole number."""
    low = math.floor(x)
    rest = x - low
    if mode == "TRN" or rest == 0:
        return low
    if mode == "TRN_ZERO":
        return low if x > 0 else low + 1
    if rest != HALF:
        return low + (rest > HALF)
    up = {
        "RND": True,
        "RND_MIN_INF": False,
        "RND_INF": x > 0,
        "RND_ZERO": x < 0,
        "RND_CONV": low % 2 == 1,
    }
    return low + up[mode]


def overflowed(code: int, k: int, bits: int, mode: str) -> int:
    """Fit a code into `bits` bits without the sign, and k bits of sign."""
    high, width = 2**bits - 1, bits + k
    if mode in ("SAT", "SAT_SYM"):
        low = -k * (high if mode == "SAT_SYM" else 2**bits)
        return max(low, min(high, code))
    word = code % 2**width  # two's complement
    if mode == "WRAP_SM":
        deleted, top = (code >> width) & 1, (word >> (width - 1)) & 1 if k else 0
        if deleted != top:
            word ^= 2**width - 1
    return word - 2**width if k and word >> (width - 1) else word


def quantized(x: float, k: int, i: int, f: int, round_mode: str, overflow_mode: str) -> Fraction:
    """Return `x` in KIF(k, i, f)."""
    if k + i + f <= 0:
        return Fraction(0)
    scale = Fraction(2) ** f
    return overflowed(rounded(Fraction(x) * scale, round_mode), k, i + f, overflow_mode) / scale


def fewest_integer_bits(values: list[float], f: int | None, b: int | None, round_mode: str, symmetric: bool) -> int:
    """Return the least i for which no value overflows, by trying all; f is given, or b = i + f is."""
    for i in range(-60 if f is None else -f, 64):
        fraction = b - i if f is None else f
        codes = [rounded(Fraction(x) * Fraction(2) ** fraction, round_mode) for x in values]
        top = 2 ** (i + fraction)
        if max(codes) <= top - 1 and min(codes) >= -(top - symmetric):
            return i
    raise AssertionError("out of range")

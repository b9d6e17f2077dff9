"""What QONNX' quantisers are in fixed point: formats, and the operations around them that belong to them.

`Quant` alone rounds and saturates. Half a step that is added before it makes it round ties up; `Mod` before it makes it
wrap around; `Max` and `Min` behind it are the ranges of single values (`weft.onnx.qonnx` writes all of that).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from weft.errors import UnsupportedError
from weft.onnx.number import Floats, Number
from weft.onnx.values import Done

_MODES = {
    **{"ROUND": "RND_CONV", "HALF_EVEN": "RND_CONV", "FLOOR": "TRN", "DOWN": "TRN_ZERO"},
    **{"HALF_UP": "RND_INF", "HALF_DOWN": "RND_ZERO"},
}
_ROUNDS = {"Floor": {0.0: "TRN", 0.5: "RND"}, "Ceil": {-0.5: "RND_MIN_INF"}, "Round": {0.0: "RND_CONV"}}


def number_of(node: str, scale: Floats, zero: Floats, bits: Floats, attributes: dict[str, Any], rank: int) -> Number:
    """Return the format of a `Quant` node; rounding modes that only become one with what is before keep QONNX' name.

    Raises:
        UnsupportedError: It has none: a scale that is no power of two, a zero point, an odd width or range.
    """
    scale = scale.reshape((1,) * (rank - scale.ndim) + scale.shape)
    odd = scale[(scale <= 0) | (np.frexp(scale)[0] != 0.5)]
    if odd.size:
        raise UnsupportedError(
            f"node '{node}' (Quant) has the scale {odd.ravel()[0]:.9g}, which is no power of two, so its values are no "
            "fixed point; train with power-of-two scales (Brevitas: the quantisers ...FixedPoint, or "
            "restrict_scaling_type=POWER_OF_TWO)"
        )
    if np.any(zero):
        raise UnsupportedError(
            f"node '{node}' (Quant) has the zero point {zero.ravel()[np.argmax(zero != 0)]:g}; fixed point has none: "
            "use a symmetric quantiser"
        )
    if bits.size != 1 or bits.ravel()[0] < 1 or bits.ravel()[0] != np.rint(bits.ravel()[0]):
        raise UnsupportedError(
            f"node '{node}' (Quant) has the bit width {bits.tolist()}, and qonnx 1.0 executes one whole number >= 1; "
            "write a node for each width"
        )
    width, signed, narrow = int(bits.ravel()[0]), bool(attributes["signed"]), bool(attributes["narrow"])
    if signed and width == 1:
        raise UnsupportedError(
            f"node '{node}' (Quant) has one bit with a sign, which qonnx executes as -1 and 1, and no fixed-point "
            "activation has those two values; use 2 bits, or an unsigned one"
        )
    if narrow and not signed:
        raise UnsupportedError(
            f"node '{node}' (Quant) is unsigned with a narrow range, which leaves out the greatest value; use narrow=0"
        )
    mode = str(attributes.get("rounding_mode", "ROUND")).upper()
    if mode == "HALF_UP" and not signed:  # what is below 0 becomes 0 first
        return Number(*_parts(0, width, scale), "RND", "SAT")
    return Number(*_parts(int(signed), width, scale), _MODES.get(mode, mode), "SAT_SYM" if narrow else "SAT")


def _parts(k: int, width: int, scale: Floats) -> tuple[Floats, Floats, Floats]:
    f = -np.log2(scale)
    return np.full(scale.shape, float(k)), width - k - f, f


def joined(todo: Sequence[Done]) -> tuple[tuple[Done, ...], Number | None]:
    """Return what is to be done before a tensor's quantiser, and that quantiser; None if there is none at the end.

    Raises:
        UnsupportedError: It rounds in a way that fixed point does not have.
    """
    place = next((i for i in reversed(range(len(todo))) if todo[i].kind == "Quant"), None)
    if place is None:
        return tuple(todo), None
    before, quant, behind = list(todo[:place]), todo[place], list(todo[place + 1 :])
    number: Number = quant.what
    wrapping = _wrapping(before, number)
    if wrapping is not None:
        before, number = before[: -wrapping[0]], wrapping[1]
    elif number.round_mode in ("TRN", "CEIL") and before and before[-1].kind == "Add":
        half = {"TRN": 0.5, "CEIL": -0.5}[number.round_mode]
        if np.all(before[-1].what == half * number.step):
            before.pop()
            number = _with(number, "RND" if half > 0 else "RND_MIN_INF", number.overflow_mode)
    if number.round_mode in ("CEIL", "UP"):
        raise UnsupportedError(
            f"node '{quant.node}' (Quant) rounds by {number.round_mode}, which fixed point does not have; use ROUND, "
            "FLOOR, DOWN, HALF_UP or HALF_DOWN"
        )
    if [one.kind for one in behind] == ["Max", "Min"]:
        bounded = _within(number, behind[0].what, behind[1].what)
        number, behind = (number, behind) if bounded is None else (bounded, [])
    if behind:
        raise UnsupportedError(refused(behind[0]))
    return tuple(before), number


def refused(one: Done) -> str:
    """Return why an operation with a constant cannot be read."""
    return (
        f"node '{one.node}' ({one.kind}) computes with a constant, which weft reads as a bias behind MatMul or Conv, "
        "as part of a quantiser, or as one power of two to multiply with; fold it into the weights before it "
        "(Brevitas: merge_bn), or quantise it"
    )


def _with(number: Number, round_mode: str, overflow_mode: str) -> Number:
    return Number(number.k, number.i, number.f, round_mode, overflow_mode)


def _within(number: Number, low: Floats, high: Floats) -> Number | None:
    """Return the format of values with these ends on the grid of another; None if they are not those of one."""
    high, low = np.broadcast_arrays(high.astype(np.float64), low.astype(np.float64))
    f = np.broadcast_to(number.f, np.broadcast_shapes(number.f.shape, high.shape))
    some = (high > 0) | (low < 0)
    top = np.where(some, high + np.exp2(-f), 1.0)
    if (top <= 0).any() or (np.frexp(top)[0] != 0.5).any():
        return None
    i, k = np.log2(top), (low < 0).astype(np.float64)
    symmetric = bool((low[some & (low < 0)] == -high[some & (low < 0)]).all()) and bool((low < 0).any())
    found = Number(np.where(some, k, 0), np.where(some, i, 0), np.where(some, f, 0), number.round_mode,
                   "SAT_SYM" if symmetric else "SAT")  # fmt: skip
    return found if (found.low == low).all() and (found.high == high).all() else None


def _wrapping(before: Sequence[Done], number: Number) -> tuple[int, Number] | None:
    """Return how many operations make values wrap around, and the format that they wrap into."""
    kinds = [one.kind for one in before]
    if kinds[-5:] != ["Add", "Mod", "Add", "Mod", "Add"]:
        return None
    below, period, again, twice, above = (one.what for one in before[-5:])
    if not (np.all(period == again) and np.all(period == twice) and np.all(above == -below)):
        return None
    head = kinds[:-5]
    n = 4 if head[-4:-2] == ["Mul", "Add"] and head[-2] in _ROUNDS else 3
    if len(head) < n or head[-n] != "Mul" or head[-2] not in _ROUNDS or head[-1] != "Mul":
        return None
    steps = before[len(head) - n : len(head)]
    add = float(np.ravel(steps[1].what)[0]) if n == 4 else 0.0
    mode = _ROUNDS[steps[-2].kind].get(add)
    step = np.asarray(steps[-1].what, np.float64)
    if mode is None or not np.all(steps[0].what * step == 1):
        return None
    k = (below > 0).astype(np.float64)
    k, i, f = np.broadcast_arrays(k, np.log2(period.astype(np.float64)) - k, -np.log2(step))
    return n + 5, Number(k, i, f, mode, "WRAP")

"""From the numbers of a network to the quantisers of a layer: the one place that writes HGQ2's configurations.

A quantiser has a fixed or a learned width, and a binary point that is given, learned, or follows the data. Where HGQ2
has such a quantiser it is used as it is; the others are `weft.quantize.fixed`'s. Float numbers give quantisers that
change nothing, but where the settings ask for one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from weft.config.numbers import FixedNumbers, FloatNumbers, Granularity, HgqNumbers, QuantizerSettings
from weft.errors import ConfigError

NONE = QuantizerSettings()

_Numbers = FloatNumbers | FixedNumbers | HgqNumbers
_Axes = Mapping[Granularity, dict[str, Any]]
_ALIKE = {"homogeneous_axis": None, "heterogeneous_axis": ()}
_EACH = {"homogeneous_axis": (), "heterogeneous_axis": None}
_ACTIVATION_AXES: _Axes = {
    "tensor": _ALIKE,
    "channel": {"homogeneous_axis": None, "heterogeneous_axis": (-1,)},
    "weight": {"homogeneous_axis": (0,), "heterogeneous_axis": None},
}
_START = 2
"""Bits on either side of the binary point that HGQ2 starts learning from; of fewer, those behind it stay."""


def weight(numbers: _Numbers, settings: QuantizerSettings = NONE, output_axes: Sequence[int] = (-1,)) -> Any:
    """Return the configuration of a kernel's quantiser; `output_axes` are the axes of the kernel that number outputs.

    Raises:
        ConfigError: The settings do not fit the numbers.
    """
    outputs = {"homogeneous_axis": None, "heterogeneous_axis": tuple(output_axes)}
    axes: _Axes = {"tensor": _ALIKE, "channel": outputs, "weight": _EACH}
    return _quantizer(numbers, settings, "weight", axes, _granularity(numbers))


def bias(numbers: _Numbers, settings: QuantizerSettings = NONE) -> Any:
    """Return the configuration of a bias quantiser.

    Raises:
        ConfigError: The settings do not fit the numbers.
    """
    axes: _Axes = {"tensor": _ALIKE, "channel": _EACH, "weight": _EACH}
    return _quantizer(numbers, settings, "bias", axes, _granularity(numbers))


def activation(
    numbers: _Numbers, settings: QuantizerSettings = NONE, *, first: bool = False, signed: bool = True
) -> Any:
    """Return the configuration of the quantiser of a layer's input; `first` if it reads the network's input.

    A channel is an entry of the last axis. With learned widths the sign is the range's matter, and `signed` is not
    looked at.

    Raises:
        ConfigError: The settings do not fit the numbers.
    """
    granularity = numbers.granularity if isinstance(numbers, HgqNumbers) else "tensor"
    signed = signed or isinstance(numbers, HgqNumbers)
    return _quantizer(numbers, settings, "datalane", _ACTIVATION_AXES, granularity, signed, first)


def table(numbers: _Numbers, settings: QuantizerSettings = NONE, *, signed: bool = True) -> Any:
    """Return the configuration of the quantiser of a table's values.

    Raises:
        ConfigError: The settings do not fit the numbers.
    """
    return _quantizer(numbers, settings, "table", _ACTIVATION_AXES, "tensor", signed)


def beta(numbers: _Numbers) -> float:
    """Return the weight of the EBOPs in the loss at the start."""
    return numbers.beta if isinstance(numbers, HgqNumbers) else 0.0


def _granularity(numbers: _Numbers) -> Granularity:
    return "tensor" if isinstance(numbers, FloatNumbers) else numbers.granularity


def _quantizer(
    numbers: _Numbers,
    settings: QuantizerSettings,
    place: str,
    axes: _Axes,
    granularity: Granularity,
    signed: bool = True,
    first: bool = False,
) -> Any:
    if isinstance(numbers, FloatNumbers):
        if settings == NONE:
            from hgq.quantizer import QuantizerConfig

            return QuantizerConfig("dummy", place)
        numbers = HgqNumbers() if settings.learned else FixedNumbers()
    if first and settings.bits is None and not settings.learned and isinstance(numbers, HgqNumbers) and numbers.io_bits:
        numbers, granularity = FixedNumbers(total_bits=numbers.io_bits, io_bits=numbers.io_bits), "tensor"
    learned = isinstance(numbers, HgqNumbers) if settings.learned is None else settings.learned
    if learned and isinstance(numbers, FixedNumbers):
        raise ConfigError(
            f"the {place} quantiser was asked to learn its width (learned: true), but numbers of mode 'fixed' put no "
            "price on bits; use mode 'hgq', and learned: false for the quantisers whose width is fixed"
        )
    if isinstance(numbers, HgqNumbers) and not learned:
        numbers = FixedNumbers(total_bits=numbers.bits0 + 1, io_bits=numbers.bits0 + 1)
        granularity = "tensor"
    shared = axes[settings.granularity or granularity]
    signed = signed if settings.signed is None else settings.signed
    if settings.bits == 0:
        return _removed(place, shared)
    if isinstance(numbers, HgqNumbers):
        return _learned(numbers, settings, place, shared, signed)
    return _fixed(numbers, settings, place, shared, signed, first)


def _removed(place: str, shared: dict[str, Any]) -> Any:
    """A quantiser of width 0, whose values are all 0."""
    return _kif(place, 0, 0, 0, follows=False, round_mode="RND", overflow_mode="SAT", **shared)


def _fixed(
    numbers: FixedNumbers, settings: QuantizerSettings, place: str, shared: dict[str, Any], signed: bool, first: bool
) -> Any:
    """One width that stays: `ap_fixed<W, I>` that saturates, or a binary point that follows the largest magnitude."""
    from hgq.constraints import Constant

    bits = settings.bits or (numbers.io_bits if first else numbers.total_bits)
    integer = settings.integer_bits
    if integer is None:
        integer = "auto" if first else numbers.integer_bits
    follows = integer == "auto"
    modes = {
        "follows": follows,
        "round_mode": settings.round_mode or "RND",
        "overflow_mode": settings.overflow_mode or ("WRAP" if follows else "SAT"),
    }
    if not follows:
        _check(place, integer, bits)
        return _kif(place, int(signed), integer - signed, bits - integer, **modes, **shared)
    magnitude = bits - signed
    return _config(
        "kbi", place, k0=signed, b0=magnitude, i0=0, bc=Constant(magnitude), br=None,
        i_decay_speed=0.01 if place == "datalane" else float("inf"), **modes, **shared,
    )  # fmt: skip


def _kif(place: str, k: int, i: int, f: int, **rest: Any) -> Any:
    from hgq.constraints import Constant

    return _config("kif", place, k0=k, i0=i, f0=f, ic=Constant(i), fc=Constant(f), ir=None, fr=None, **rest)


def _learned(numbers: HgqNumbers, settings: QuantizerSettings, place: str, shared: dict[str, Any], signed: bool) -> Any:
    """HGQ2's learned widths; a given binary point is held, the others are learned or follow the data as in HGQ2."""
    from hgq.constraints import Constant
    from hgq.regularizers import MonoL1

    of_data = place in ("datalane", "bias")
    given = isinstance(settings.integer_bits, int)
    magnitude = numbers.bits0 if settings.bits is None else settings.bits - signed
    start = min(_START, magnitude - _START)
    integer = settings.integer_bits - signed if isinstance(settings.integer_bits, int) else start
    overflow = settings.overflow_mode or ("SAT" if given and of_data else "WRAP" if of_data else "SAT_SYM")
    modes = {
        "follows": not given and (of_data or overflow.startswith("WRAP")),
        "round_mode": settings.round_mode or "RND",
        "overflow_mode": overflow,
    }
    held = {"ic": Constant(integer), "ir": None} if given else {}
    price = MonoL1(numbers.gamma)
    if place == "datalane":
        fraction = max(magnitude - integer, 1) if settings.bits is None else magnitude - integer
        kwargs = {"k0": signed, "i0": integer, "f0": fraction, "ir": price, "fr": price}
        return _config("kif", place, **(kwargs | held), **modes, **shared)
    kwargs = {"k0": signed, "b0": magnitude, "i0": integer} | ({} if place == "table" else {"br": price})
    return _config("kbi", place, **(kwargs | held), **modes, **shared)


def _check(place: str, integer: int, bits: int) -> None:
    if integer > bits:
        raise ConfigError(
            f"the {place} quantiser cannot have integer_bits={integer} in {bits} bits, which count the sign too; "
            "lower integer_bits, raise bits, or use integer_bits: auto"
        )


def _config(kind: str, place: str, *, follows: bool, round_mode: str, overflow_mode: str, **kwargs: Any) -> Any:
    """Return HGQ2's configuration where HGQ2 has such a quantiser: its wrapping ones follow the data, no others do."""
    from hgq.constraints import Constant
    from hgq.quantizer import QuantizerConfig

    kwargs |= {"round_mode": round_mode, "overflow_mode": overflow_mode}
    odd = round_mode.startswith("S_") or overflow_mode == "WRAP_SM" or follows != (overflow_mode == "WRAP")
    if odd:
        from weft.quantize.fixed import FixedPointConfig

        return FixedPointConfig(kind, place, follows=follows, **kwargs)
    if any(isinstance(value, Constant) for value in kwargs.values()):
        from weft.quantize.held import HeldConfig

        return HeldConfig(kind, place, **kwargs)
    return QuantizerConfig(kind, place, **kwargs)

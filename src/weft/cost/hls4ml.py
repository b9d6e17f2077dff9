"""What hls4ml's strategies and reuse factors will take, by rules: before a vendor's tool runs, and before it fails.

Rules, by strategy:

- `latency`: every product that is not 0 is a circuit of its own. Products whose weight has more than two digits in
  canonical signed digit form are counted as DSPs, `reuse_factor` of them on each; the others as look-up tables, by
  EBOPs ~ LUT + 55 DSP (Sun et al., arXiv:2405.00645, HGQ with hls4ml, io_parallel, after routing).
- `resource`: `ceil(n_in n_out / reuse_factor)` multipliers, zeros included, each a DSP of 27 by 18 bits or several; the
  weights lie in block RAM where a multiplier is used more than once.
- `distributed_arithmetic`: no DSP; live EBOPs, which were 1/1.16 to 1/0.57 of the look-up tables of 117 synthetic
  networks (solver da4ml, synthesis by Yosys).

A layer of fan-in n takes one cycle for its products and then adds, one addition a nanosecond deep. Nothing here was
fitted to a vendor's report, and the intervals say so: they are factors around the rules, wide enough for the four
post-route designs of arXiv:2605.16138 that the rules were looked at with.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from weft.config.hls import HlsConfig
from weft.cost._base import CostInput, Target, register, require
from weft.cost.products import Product
from weft.errors import UnsupportedError
from weft.quantize.contraction import Einsum
from weft.types import Estimate, Quantity

UNROLLED = 4096
"""Most elements that HLS compilers unroll of one array; hls4ml's projects set it (`maximum_size`)."""

_SOURCE = "analytic rules for hls4ml 1.3"
_CSD_DIGITS = 2
_DSP_WIDTHS = (27, 18)
_LUT_PER_DSP = 55
_BRAM_WIDTH, _BRAM_DEPTH = 36, 512
_ADDITION_NS = 1.0
_FACTORS = {"lut": 2.0, "ff": 4.0, "latency_cycles": 2.5}
_DA_LUT = (0.57, 1.16)
_MANTISSA_BITS = 53


@dataclass(frozen=True)
class HlsTarget:
    """A target of this cost model: part and clock, and how hls4ml is to make products."""

    part: str
    clock_period_ns: float
    hls: HlsConfig = field(default_factory=HlsConfig)


def csd_digits(weights: ArrayLike) -> NDArray[np.int64]:
    """Count the digits that are not zero in the canonical signed digit form of each weight.

    Args:
        weights: Weights, any shape, finite.

    Returns:
        Counts of the same shape: a product takes one adder less.

    Example:
        >>> csd_digits([0.0, 0.5, 7.0, 11.0])
        array([0, 1, 2, 3])
    """
    mantissa, _ = np.frexp(np.abs(np.asarray(weights, dtype=np.float64)))
    integers = np.ldexp(mantissa, _MANTISSA_BITS).astype(np.int64)
    odd = np.where(integers == 0, 0, integers // np.maximum(integers & -integers, 1))
    return np.bitwise_count(odd ^ (3 * odd)).astype(np.int64)


def legal_reuse_factors(n_in: int, n_out: int) -> tuple[int, ...]:
    """Return the reuse factors that hls4ml's strategy `resource` has code for, of a layer of n_in by n_out products.

    They are the divisors of n_in·n_out that are below n_in and leave a multiple of n_out multipliers, or are multiples
    of n_in. Given another one, hls4ml takes the nearest of these.

    Example:
        >>> legal_reuse_factors(6, 4)
        (1, 2, 3, 6, 12, 24)
    """
    total = n_in * n_out
    small = {d for d in range(1, math.isqrt(total) + 1) if total % d == 0}
    legal = (d for d in sorted(small | {total // d for d in small}) if _is_legal(n_in, n_out, d))
    return tuple(legal)


def _is_legal(n_in: int, n_out: int, factor: int) -> bool:
    multipliers = -(-n_in * n_out // min(n_in, factor))
    return (multipliers % n_out == 0 or factor >= n_in) and (factor % n_in == 0 or factor < n_in)


def illegal_reuse(layer: str, n_in: int, n_out: int, hls: HlsConfig) -> str | None:
    """Return why a layer cannot have its reuse factor, or None."""
    factor, total = hls.reuse_of(layer), n_in * n_out
    if factor > total:
        return f"layer '{layer}' has {n_in}x{n_out} = {total} products, fewer than its reuse factor of {factor}"
    if hls.strategy != "resource":
        return None
    legal = legal_reuse_factors(n_in, n_out)
    if factor in legal:
        return None
    near = " and ".join(map(str, sorted(sorted(legal, key=lambda other: (abs(other - factor), other))[:2])))
    return (
        f"layer '{layer}' of {n_in} inputs and {n_out} outputs cannot have reuse factor {factor} under strategy "
        f"resource; the nearest that it can have are {near} (of {', '.join(map(str, legal))})"
    )


def too_large(layer: str, n_in: int, n_out: int, hls: HlsConfig) -> str | None:
    """Return why AMD's HLS compilers will stop at a layer, or None: they unroll at most 4096 elements of an array."""
    if hls.backend not in ("vitis", "vivado") or hls.strategy == "distributed_arithmetic":
        return None
    at_once = n_in * n_out
    if hls.strategy == "resource":
        at_once = -(-at_once // hls.reuse_of(layer))
    if at_once <= UNROLLED:
        return None
    remedy = "a smaller layer, strategy distributed_arithmetic, or strategy resource with a larger reuse factor"
    return f"layer '{layer}' unrolls {at_once} products, and the HLS compiler stops at {UNROLLED}; take {remedy}"


@register
class Hls4mlRules:
    """DSPs, look-up tables, registers, block RAM, latency and interval of hls4ml's dense layers."""

    name = "hls4ml"
    provides = ("lut", "ff", "dsp", "bram_18k", "latency_cycles", "latency_ns", "ii_cycles")

    def supports(self, design: CostInput) -> str | None:
        if design.objection is not None:
            return design.objection
        other = next((product.name for product in design.products if not _is_dense(product)), None)
        return None if other is None else f"the rules are for dense layers, and '{other}' is none"

    def estimate(self, designs: Sequence[CostInput], target: Target) -> list[Estimate]:
        """Estimate each design; the strategy is that of an `HlsTarget`, else latency for Vitis with reuse factor 1."""
        return [self._estimate(design, target, getattr(target, "hls", None) or HlsConfig()) for design in designs]

    def _estimate(self, design: CostInput, target: Target, hls: HlsConfig) -> Estimate:
        require(self, design)
        layers = [_Dense.of(product) for product in design.products]
        wrong = [
            reason
            for layer in layers
            for check in (illegal_reuse, too_large)
            if (reason := check(layer.name, layer.kernel.shape[1], layer.kernel.shape[0], hls)) is not None
        ]
        if wrong:
            raise UnsupportedError(f"cost model '{self.name}' cannot estimate this design: {'; '.join(wrong)}")
        each = [_layer(layer, hls, target.clock_period_ns) for layer in layers]
        how = f"strategy {hls.strategy}, io {hls.io}"
        return Estimate(quantities=_quantities(each, target.clock_period_ns, hls), notes=(how,))


def _is_dense(product: Product) -> bool:
    kernel = product.second.values
    return isinstance(product.form, Einsum) and kernel is not None and kernel.ndim == 2


@dataclass(frozen=True, eq=False)
class _Dense:
    """A dense layer: kernel and its bits (n_out, n_in), those of its inputs (positions, n_in)."""

    name: str
    kernel: NDArray[np.float64]
    weight_bits: NDArray[np.float64]
    weight_width: NDArray[np.float64]
    input_bits: NDArray[np.float64]
    input_width: NDArray[np.float64]

    @classmethod
    def of(cls, product: Product) -> _Dense:
        first, second = product.first, product.second
        assert second.values is not None
        n_in = second.values.shape[0]
        inputs = (bits.reshape(-1, n_in) for bits in (first.bits, first.width))
        kernel = np.where(product.used, second.values, 0.0)  # HLS compilers drop what nobody reads
        return cls(product.name, kernel.T, (second.least_bits * product.used).T, second.width.T, *inputs)


@dataclass(frozen=True)
class _Layer:
    lut: float
    lut_low: float
    lut_high: float
    ff: float
    dsp: int
    dsp_low: int
    bram_18k: int
    cycles: int
    interval: int


def _layer(layer: _Dense, hls: HlsConfig, clock_period_ns: float) -> _Layer:
    n_out, n_in = layer.kernel.shape
    positions, reuse = len(layer.input_bits), hls.reuse_of(layer.name)
    copies = positions if hls.io == "parallel" else 1
    live = layer.kernel != 0
    # EBOPs of each product, over the positions that have hardware of their own
    bits = layer.weight_bits * (layer.input_bits.sum(axis=0) if hls.io == "parallel" else layer.input_bits.max(axis=0))
    live &= bits > 0
    additions = math.ceil(math.log2(max(int(live.sum(axis=1).max(initial=0)) + 1, 1)))
    adding = math.ceil(additions / max(math.floor(clock_period_ns / _ADDITION_NS), 1))
    cycles = (1 + adding) if live.any() else 0
    ebops, bram = float(bits.sum()), 0
    if hls.strategy == "distributed_arithmetic":
        lut, dsp, dsp_low, span = ebops, 0, 0, _DA_LUT
    elif hls.strategy == "latency":
        in_dsp = live & (csd_digits(layer.kernel) > _CSD_DIGITS)
        wide = in_dsp & (np.minimum(layer.weight_width, layer.input_width.max(axis=0)[None, :]) > 9)
        dsp, dsp_low = (math.ceil(copies * int(which.sum()) / reuse) for which in (in_dsp, wide))
        lut, span = float(bits[~in_dsp].sum()) / reuse, (1 / _FACTORS["lut"], _FACTORS["lut"])
    else:
        multipliers = copies * -(-n_in * n_out // reuse) if live.any() else 0
        widths = sorted((float(layer.input_width.max(initial=0)), float(layer.weight_width.max(initial=0))))
        each = math.prod(math.ceil(width / size) for width, size in zip(widths, sorted(_DSP_WIDTHS), strict=True))
        dsp, dsp_low = multipliers * each, 0
        lut, span = _LUT_PER_DSP * 0.5 * multipliers, (0.0, 2 * _FACTORS["lut"])
        if reuse > 1 and live.any():
            word = -(-n_in * n_out // reuse) * widths[0]
            bram = math.ceil(word / _BRAM_WIDTH) * math.ceil(reuse / _BRAM_DEPTH)
        cycles += reuse - 1
    out_bits = float(layer.input_width.max(initial=0) + layer.weight_width.max(initial=0)) + additions
    high = max(lut * span[1], ebops * span[1])  # every product may land in look-up tables
    interval = reuse * (positions if hls.io == "stream" else 1)
    return _Layer(lut, lut * span[0], high, out_bits * n_out * copies * cycles, dsp, dsp_low, bram, cycles, interval)


def _quantities(layers: Sequence[_Layer], clock_period_ns: float, hls: HlsConfig) -> dict[str, Quantity]:
    def quantity(value: float, unit: str, low: float, high: float, reason: str) -> Quantity:
        return Quantity(
            value=value, unit=unit, stage="predicted", source=_SOURCE, low=low, high=high, reason=reason
        )  # fmt: skip

    low, high = sum(one.lut_low for one in layers), sum(one.lut_high for one in layers)
    lut, ff, bram = (float(sum(getattr(one, name) for one in layers)) for name in ("lut", "ff", "bram_18k"))
    dsp, dsp_low = (float(sum(getattr(one, name) for one in layers)) for name in ("dsp", "dsp_low"))
    cycles = float(sum(one.cycles for one in layers))
    interval = float(max((one.interval for one in layers), default=1))
    around = _FACTORS["latency_cycles"]
    shortest, longest = math.floor(cycles / around), math.ceil(cycles * around)
    slack = 0.0 if hls.strategy != "resource" and hls.io == "parallel" else 8.0
    untested = "not fitted to a vendor's report"
    return {
        "lut": quantity(lut, "count", low, high, untested),
        "ff": quantity(ff, "count", ff / _FACTORS["ff"], ff * _FACTORS["ff"], f"a register a stage; {untested}"),
        "dsp": quantity(dsp, "count", dsp_low, dsp, "narrow products may land in look-up tables"),
        "bram_18k": quantity(bram, "count", 0.0, bram, "small memories may land in look-up tables"),
        "latency_cycles": quantity(cycles, "cycles", shortest, longest, untested),
        "latency_ns": quantity(cycles * clock_period_ns, "ns", shortest * clock_period_ns, longest * clock_period_ns,
                               f"at the {clock_period_ns:g} ns clock asked for; {untested}"),
        "ii_cycles": quantity(interval, "cycles", interval, interval + slack, "the largest reuse factor, and overhead"),
    }  # fmt: skip

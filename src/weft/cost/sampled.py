"""Estimates where no weights exist yet: the network is built, and its kernels are drawn at given bits and sparsity.

Every cost model can be asked then, also one that needs actual weights. A kernel is normal, of the variance that keeps
that of its values (He et al., 2015, arXiv:1502.01852), rounded to the given bits, with zeros at random places; ranges
come from normal inputs. What trained kernels cost less, since they share more or have dead neurons, it does not see:
the numbers are of stage `predicted`, and say how they were drawn.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from weft.cost._base import CostInput, Target
from weft.cost.costs import SideBySide, costs_of, side_by_side
from weft.errors import ConfigError, WeftError
from weft.types import Quantity

if TYPE_CHECKING:
    import keras

    from weft.space.architecture import Architecture

_ROWS = 256
"""So many random inputs find the ranges."""

MOST_BITS = 24
"""The widest kernels that are sampled: float32 holds no more."""


def sampled_model(architecture: Architecture, bits: int, sparsity: float = 0.0, seed: int = 0) -> keras.Model:
    """Return a network of random weights, finalised as one that is trained.

    Args:
        architecture: The network; its numbers are replaced by fixed ones.
        bits: Width of weights and activations, in bits, from 1 to 24.
        sparsity: Share of weights that are zero, in [0, 1].
        seed: Where the draws start; the same seed gives the same network.

    Raises:
        ConfigError: bits or sparsity are no such numbers, or the blocks do not fit each other.
    """
    from weft.config.numbers import FixedNumbers
    from weft.quantize.calibrate import calibrate
    from weft.quantize.dead import remove_dead
    from weft.quantize.kernels import kernels
    from weft.quantize.plain import plain
    from weft.space.model import build

    if not 1 <= bits <= MOST_BITS or not 0.0 <= sparsity <= 1.0:
        raise ConfigError(
            f"kernels are sampled with 1 to {MOST_BITS} bits and a sparsity from 0 to 1; got {bits} bits and "
            f"{sparsity:g}"
        )
    rng = np.random.default_rng(seed)
    numbers = FixedNumbers(total_bits=bits, io_bits=max(bits, 2))
    try:
        model = build(architecture.whole().with_numbers(numbers))
    except (ValueError, TypeError) as error:
        if isinstance(error, WeftError):
            raise
        said = (str(error).splitlines() or [""])[0]
        raise ConfigError(
            f"the architecture '{architecture.describe()}' cannot be built: {said}; see that each block can read what "
            "the one before it gives"
        ) from error
    for kernel in kernels(model):
        shape: tuple[int, ...] = tuple(kernel.variable.shape)
        fan_in = max(1, int(np.prod(shape[:-1])))
        n_zeros = round(sparsity * int(np.prod(shape)))
        drawn = rng.normal(0.0, np.sqrt(2.0 / fan_in), shape).ravel()
        drawn[rng.permutation(drawn.size)[:n_zeros]] = 0.0
        kernel.variable.assign(drawn.reshape(shape).astype(np.float32))
    calibrate(model, rng.normal(0.0, 1.0, (_ROWS, *architecture.input_shape)).astype(np.float32))
    made = plain(model)
    made.trainable = False
    remove_dead(made)
    return made


def sampled_costs(
    architecture: Architecture,
    wanted: Iterable[str],
    part: str,
    clock_period_ns: float,
    *,
    bits: int,
    sparsity: float = 0.0,
    seed: int = 0,
    draws: int = 3,
) -> dict[str, Quantity]:
    """Estimate costs of a network that has no weights yet.

    Args:
        architecture: The network.
        wanted: Names of costs.
        part: The FPGA.
        clock_period_ns: The clock asked for, in ns.
        bits: Width of weights and activations, in bits.
        sparsity: Share of weights that are zero, in [0, 1].
        seed: Where the draws start.
        draws: How many networks are drawn; values are medians, and intervals hold those of all of them.

    Raises:
        ConfigError: No cost model gives one of the names, or bits, sparsity or draws are not possible.
    """
    names = tuple(wanted)
    models, how = _drawn(architecture, bits, sparsity, seed, draws)
    found = [costs_of(model, names, part, clock_period_ns) for model in models]
    return {name: _joined([one[name] for one in found], how) for name in found[0]}


def sampled_side_by_side(
    architecture: Architecture,
    models: Sequence[str],
    target: Target,
    *,
    bits: int,
    sparsity: float = 0.0,
    seed: int = 0,
    draws: int = 3,
) -> SideBySide:
    """Ask several cost models of a network that has no weights yet; one that refuses a draw refuses the network.

    The arguments are those of `sampled_costs`, and of `side_by_side`.
    """
    drawn, how = _drawn(architecture, bits, sparsity, seed, draws)
    found = [side_by_side(CostInput(model), models, target) for model in drawn]
    refused = {name: reason for one in found for name, reason in one.refused.items()}
    notes: dict[str, tuple[str, ...]] = {}
    for name, said in ((name, said) for one in found for name, said in one.notes.items()):
        notes[name] = tuple(dict.fromkeys((*notes.get(name, ()), *said)))
    quantities = {
        name: {by: _joined([one.quantities[name][by] for one in found], how) for by in by_model if by not in refused}
        for name, by_model in found[0].quantities.items()
    }
    return SideBySide(
        quantities={name: by_model for name, by_model in quantities.items() if by_model}, refused=refused, notes=notes
    )


def _drawn(
    architecture: Architecture, bits: int, sparsity: float, seed: int, draws: int
) -> tuple[list[keras.Model], str]:
    """Return networks of random weights, and how they were drawn."""
    if draws < 1:
        raise ConfigError(f"at least one network has to be drawn; got draws={draws}")
    seeds = np.random.SeedSequence(seed).generate_state(draws)
    models = [sampled_model(architecture, bits, sparsity, int(one)) for one in seeds]
    return models, how_drawn(bits, sparsity, seed, draws)


def how_drawn(bits: int, sparsity: float, seed: int = 0, draws: int = 3) -> str:
    """Return the words with which the source of a sampled quantity ends."""
    return f"on kernels sampled at {bits} bits with {sparsity:.0%} zeros ({draws} draws, seed {seed})"


def _joined(quantities: list[Quantity], how: str) -> Quantity:
    one = quantities[0]
    if any(q.value is None for q in quantities):
        return one
    ends = [end for q in quantities for end in (q.value, q.low, q.high) if end is not None]
    return Quantity(
        value=float(np.median([q.value for q in quantities])),  # type: ignore[arg-type]
        unit=one.unit,
        stage="predicted",
        source=f"{one.source}, {how}",
        low=min(ends),
        high=max(ends),
        reason=f"{one.reason}; {how}" if one.reason else how,
    )

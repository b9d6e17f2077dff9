"""Weight inheritance: a candidate starts from the weights of a design of the front, where the two have the same layers.

NSGA-II does not say whose child a candidate is, so its parent is the one that it is nearest to in its parameters, among
the designs that no complete trial of earlier generations dominates, by the raw numbers. That set only loses a design to
a better one, so its weights are there as long as they can be asked for. A network is no parent of its own: that would
only be longer training.

What an evaluation finds depends on the parent, too. Candidates are therefore duplicates only if genotype and parent are
equal, and an equal genotype with another parent is another design, with weights and a size of its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Protocol

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution


class Drawn(Protocol):
    """What an Optuna trial says of its parameters."""

    @property
    def params(self) -> dict[str, Any]: ...

    @property
    def distributions(self) -> dict[str, BaseDistribution]: ...


def nearest(child: Drawn, parents: Mapping[int, Drawn]) -> int | None:
    """Return the number of the parent that is nearest to a child, of equally near ones the earliest; None of none."""
    return min(sorted(parents), key=lambda number: distance(child, parents[number]), default=None)


def distance(one: Drawn, other: Drawn) -> float:
    """Return the sum over parameters of how far two trials lie apart, each in [0, 1]; 1 for one that only one has."""
    known = one.distributions.keys() & other.distributions.keys()
    alone = len(one.distributions.keys() ^ other.distributions.keys())
    return alone + sum(_apart(one.distributions[name], one.params[name], other.params[name]) for name in sorted(known))


def _apart(distribution: BaseDistribution, one: Any, other: Any) -> float:
    """Return the share of its range, in places where it is a list of numbers, by which two values of it differ."""
    if one == other:
        return 0.0
    if isinstance(distribution, CategoricalDistribution):
        choices = distribution.choices
        numbers = [one for one in choices if isinstance(one, int | float) and not isinstance(one, bool)]
        if len(numbers) < len(choices):
            return 1.0
        place = sorted(numbers).index
        return abs(place(one) - place(other)) / (len(choices) - 1)
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    low, high = distribution.low, distribution.high
    if distribution.log:
        one, other, low, high = map(math.log, (one, other, low, high))
    return abs(one - other) / (high - low)

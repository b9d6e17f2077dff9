"""Tie an estimate to what synthesis found for it: a line in the logarithms, and the range that most designs stay in.

The range is that of split conformal prediction (Lei et al., "Distribution-Free Predictive Inference for Regression",
2018, arXiv:1604.04173): as wide as the errors of the designs of most like size were, with the correction for how many
there are. It is true for designs that are like those that were measured, and says nothing of others.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from weft.errors import DataError

NEIGHBOURS = 50
"""How many designs of most like size the range is taken from."""

FEWEST_FOR_A_SLOPE = 10
"""With fewer pairs the measured values are taken to be proportional to the estimates."""


class Range(NamedTuple):
    """What synthesis is likely to find.

    Attributes:
        value: The middle.
        low: Lower end; None if there are too few pairs for the coverage asked for.
        high: Upper end, likewise.
    """

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True, eq=False)
class Calibration:
    """A map from estimates to measured values, of one quantity of one flow.

    Attributes:
        estimates: Logarithms of estimates, (n,), ascending.
        errors: Logarithms of measured over calibrated values, (n,).
        slope: Of the line in the logarithms, > 0.
        offset: Of the line in the logarithms.
    """

    estimates: NDArray[np.float64]
    errors: NDArray[np.float64]
    slope: float
    offset: float

    @classmethod
    def of(cls, pairs: Iterable[tuple[float, float]]) -> Self:
        """Fit the map to pairs (estimate, measured), at least one, all > 0.

        Raises:
            DataError: There is no pair, or one is not a pair of positive numbers.
        """
        given = np.array([tuple(pair) for pair in pairs], dtype=np.float64).reshape(-1, 2)
        if not len(given) or not (np.isfinite(given) & (given > 0)).all():
            bad = next((f"{a:g} and {b:g}" for a, b in given if not (a > 0 and b > 0 and a + b < math.inf)), "none")
            raise DataError(f"a calibration needs pairs of an estimate and a measured value, both > 0; got {bad}")
        x, y = np.log(given[np.argsort(given[:, 0], kind="stable")]).T
        slope = _slope(x, y) if len(x) >= FEWEST_FOR_A_SLOPE else 1.0
        offset = float(np.median(y - slope * x))
        return cls(x, y - slope * x - offset, slope, offset)

    def range(self, estimate: float, coverage: float = 0.9) -> Range:
        """Return what a design with this estimate, > 0, will measure.

        Args:
            estimate: By the model that was calibrated.
            coverage: Share of like designs whose measured value lies inside, in (0, 1).
        """
        x = math.log(estimate)
        value = math.exp(self.slope * x + self.offset)
        near = np.sort(np.abs(self.errors[np.argsort(np.abs(self.estimates - x), kind="stable")[:NEIGHBOURS]]))
        rank = math.ceil(coverage * (len(near) + 1))
        if rank > len(near):
            return Range(value, None, None)
        spread = math.exp(near[rank - 1])
        return Range(value, value / spread, value * spread)


def _slope(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Return the median slope (Theil and Sen), which a few failed designs do not move; 1 where it makes no sense."""
    run, rise = (np.subtract.outer(one, one) for one in (x, y))
    apart = run > 0
    if not apart.any():
        return 1.0
    slope = float(np.median(rise[apart] / run[apart]))
    return slope if slope > 0 else 1.0

"""What synthesis will make of an adder graph, by a small additive model that is fitted to our own corpus.

The features are of the compiled graph, so it takes as long as `adder_graph` does, and corrects it: by what each kind of
operation took in synthesis (`weft.cost.readout`). It gives a quantity only where, on designs that were held out, it was
better than EBOPs and than the compiler's own count (`weft surrogate validate` prints that table). Graphs with
operations that no design of the corpus has are refused; for others a score says how usual they are: the share of the
corpus that lies farther from its nearest neighbour than this design does.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Self

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from weft.cost import _cache
from weft.cost._base import CostInput, Target, register, require
from weft.cost.calibration import Range
from weft.cost.readout import FEATURES, MOST_TABLES, difficulty, features, tables, unlike, vector
from weft.errors import ConfigError, UnsupportedError
from weft.types import Estimate, Quantity

SHIPPED = Path(__file__).with_name("learned.json")
UNUSUAL = 0.02
"""Below this score a design is out of the model's domain."""


class Row(BaseModel):
    """How one predictor did on designs that were held out.

    Attributes:
        quantity: What was predicted.
        split: By what designs were held out: family, depth, width or bits.
        predictor: `ebops`, `adder_graph` or `learned`.
        designs: How many.
        mape: Mean absolute relative error, a fraction.
        stderr: Its standard error.
        median: Of the absolute relative errors.
        p90: Their 90th percentile.
        worst: The largest.
        spearman: Rank correlation of predicted and measured values.
        covered: Share of designs inside the 90 % interval.
        half_width: Median of the intervals' half width, relative to their middle.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    quantity: str
    split: str
    predictor: str
    designs: int
    mape: float
    stderr: float
    median: float
    p90: float
    worst: float
    spearman: float
    covered: float
    half_width: float


class Spread(BaseModel):
    """What synthesis makes of estimates: a line in the logarithms, and how far the designs of a corpus are from it.

    The range is that of split conformal prediction with errors in units of how difficult a design is (Lei et al., 2018,
    arXiv:1604.04173, section 5.2), between quantiles of their own on both sides: narrow additions make designs smaller.

    Attributes:
        errors: Logarithms of measured over calibrated values, over the design's `readout.difficulty`; ascending.
        slope: Of the line.
        offset: Of the line.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    errors: list[float]
    slope: float = 1.0
    offset: float = 0.0

    @classmethod
    def of(cls, errors: np.ndarray, difficulties: np.ndarray, slope: float = 1.0, offset: float = 0.0) -> Self:
        """Take logarithms of measured over calibrated values of designs, (n,), and how difficult these are, (n,)."""
        return cls(errors=np.sort(errors / difficulties).round(4).tolist(), slope=slope, offset=offset)

    def range(self, estimate: float, difficulty: float, coverage: float = 0.9) -> Range:
        """Return what a design will measure.

        Args:
            estimate: Its estimate, > 0.
            difficulty: How difficult it is, > 0.
            coverage: Share of designs whose measured value lies inside, in (0, 1).
        """
        n, value = len(self.errors), math.exp(self.slope * math.log(estimate) + self.offset)
        rank = math.ceil((1 + coverage) / 2 * (n + 1))
        if rank > n:
            return Range(value, None, None)
        low, high = (value * math.exp(difficulty * self.errors[end]) for end in (n - rank, rank - 1))
        return Range(value, low, high)


class Fitted(BaseModel):
    """The readout of one quantity.

    Attributes:
        enabled: Whether it beat the others on every split.
        weights: By feature, for those that some design of the corpus has.
        spread: How far it was off for designs of the corpus when their family was held out.
        count: From the compiler's own count to synthesis.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    enabled: bool
    weights: dict[str, float]
    spread: Spread
    count: Spread

    def predict(self, counted: np.ndarray) -> float:
        """Return the size of a design from its features, (n_features,)."""
        return float(sum(weight * counted[FEATURES.index(name)] for name, weight in self.weights.items()))


class Learned(BaseModel):
    """A fitted model, as its file holds it.

    Attributes:
        tools: Versions of compiler and synthesis that made the corpus.
        designs: How many designs it was fitted to.
        quantities: The readouts.
        domain: Where the designs lie by `place`, (designs, n).
        table: The validation.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    tools: dict[str, str]
    designs: int
    quantities: dict[str, Fitted]
    domain: list[list[float]]
    table: list[Row]

    @cached_property
    def _scaled(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        places = np.array(self.domain)
        scale = np.maximum(places.std(axis=0), 0.01)
        places = places / scale
        apart = np.linalg.norm(places[:, None] - places[None], axis=2)
        np.fill_diagonal(apart, np.inf)
        return places, scale, apart.min(axis=1)

    def score(self, counted: np.ndarray) -> float:
        """Return the share of the corpus that lies at least as far from its nearest neighbour; in [0, 1]."""
        places, scale, nearest = self._scaled
        distance = np.linalg.norm(places - place(counted) / scale, axis=1).min()
        return float((nearest >= distance).mean())


def place(counted: np.ndarray) -> np.ndarray:
    """Return where a design lies: the logarithm of its size, and what share of it each kind of operation is."""
    size, operations = counted[FEATURES.index("solver")], counted[FEATURES.index("input") :]
    return np.array([np.log1p(size), *(operations / max(operations.sum(), 1.0))])


@lru_cache(maxsize=4)
def load(path: Path = SHIPPED) -> Learned:
    """Read a fitted model, by default the one that weft brings.

    Raises:
        ConfigError: The file is missing, damaged, or of a weft that counted other features.
    """
    hint = "make it by `weft surrogate train`, or unset WEFT_LEARNED"
    try:
        found = Learned.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"cannot read the learned cost model {path} ({error.strerror}); {hint}") from error
    except ValidationError as error:
        raise ConfigError(f"the learned cost model {path} is damaged ({error.errors()[0]['msg']}); {hint}") from error
    strange = {name for fitted in found.quantities.values() for name in fitted.weights} - set(FEATURES)
    if strange:
        raise ConfigError(f"the learned cost model {path} has unknown features {', '.join(sorted(strange))}; {hint}")
    return found


@register
class LearnedCost:
    """Sizes after synthesis, as our corpus teaches them.

    Args:
        path: A file of `weft surrogate train`; by default that of the environment variable WEFT_LEARNED, or weft's own.
    """

    name = "learned"
    solves = True

    def __init__(self, path: Path | None = None) -> None:
        self._path = path

    @cached_property
    def fitted(self) -> Learned:
        """The model."""
        return load(self._path or Path(os.environ.get("WEFT_LEARNED") or SHIPPED))

    @property
    def provides(self) -> tuple[str, ...]:
        return tuple(name for name, fitted in self.fitted.quantities.items() if fitted.enabled)

    def supports(self, design: CostInput) -> str | None:
        from weft.cost.adder_graph import AdderGraphCost

        if not self.provides:
            return "on its corpus it beats the other cost models nowhere; see `weft surrogate validate`"
        strange = design.graph and unlike(design.graph)
        if strange:
            return f"{strange}, and no design of its corpus has that; take adder_graph"
        return AdderGraphCost().supports(design)

    def estimate(self, designs: Sequence[CostInput], target: Target) -> list[Estimate]:
        return [self._estimate(design, target) for design in designs]

    def _estimate(self, design: CostInput, target: Target) -> Estimate:
        require(self, design)
        found = _counted(design, target.clock_period_ns)
        if tables(found) > MOST_TABLES:
            raise UnsupportedError(
                f"cost model 'learned' cannot estimate this design: tables and products of variables are "
                f"{tables(found):.0%} of it, and the model is fitted to designs of additions; take adder_graph"
            )
        counted = vector(found)
        known = next(iter(self.fitted.quantities.values())).weights
        strange = [name for name, count in zip(FEATURES, counted, strict=True) if count and name not in known]
        if strange:
            raise UnsupportedError(
                f"cost model 'learned' cannot estimate this design: it has operations ({', '.join(strange)}) that no "
                "design of its corpus has; take adder_graph"
            )
        score = self.fitted.score(counted)
        notes = [f"in-domain score {score:.2f} (share of the corpus at least as far from its nearest neighbour)"]
        made_by = self.fitted.tools["compiler"]
        if made_by != _source():
            notes.append(f"fitted to designs of {made_by}, and this one is by {_source()}: run `weft surrogate build`")
        return Estimate(
            quantities={name: self._quantity(name, counted, difficulty(found)) for name in self.provides},
            in_domain=score >= UNUSUAL,
            notes=tuple(notes),
        )

    def _quantity(self, name: str, counted: np.ndarray, hard: float) -> Quantity:
        fitted = self.fitted.quantities[name]
        value = fitted.predict(counted)
        _, low, high = fitted.spread.range(value, hard) if value > 0 else Range(value, None, None)
        return Quantity(
            value=value,
            unit="count",
            stage="predicted",
            source=f"additive readout fitted to {self.fitted.designs} designs, {self.fitted.tools['synthesis']}",
            low=None if low is None else min(low, value),
            high=None if high is None else max(high, value),
            reason=None if low is None else "90 % interval, by split conformal prediction; wider for narrow additions",
        )


_VERSION = 1
"""Counts up when `weft.cost.readout` counts otherwise."""


def _source() -> str:
    from weft.adder_graph import SOURCE

    return SOURCE


def _counted(design: CostInput, clock_period_ns: float) -> dict[str, float]:
    """Return the features of a design; they are kept as the compiler's counts are."""

    def count() -> Estimate:
        found = features(design.traced, clock_period_ns)
        return Estimate(
            quantities={
                name: Quantity(value=value, unit="count", stage="solver", source=_source())
                for name, value in found.items()
            }
        )

    if design.graph is not None:
        found = count()
    else:
        found = _cache.kept(_cache.digest(design.model, "learned", _source(), _VERSION, clock_period_ns), count)
    return {name: float(quantity.value or 0) for name, quantity in found.quantities.items()}

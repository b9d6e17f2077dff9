"""Sections `search.halving` and `search.final`: what is spent on a candidate before and after it has proven good."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal, NamedTuple

from pydantic import Field

from weft.section import Found, Section


class Fidelity(NamedTuple):
    """What an evaluation trains with: epochs, the share of the training rows in (0, 1], and how many of the folds."""

    epochs: int
    rows: float
    folds: int


class HalvingConfig(Section):
    """Successive halving: a generation begins with little training, and the best 1 / `factor` go on to more.

    On rung r of R (from 0) every listed fidelity has the share `factor ** (r + 1 - R)` of what the experiment says;
    the last rung has all of it.
    """

    fidelity: list[Literal["epochs", "rows", "folds"]] = Field(
        default=["epochs"], min_length=1, description="What the early rungs have less of: epochs, training rows, folds."
    )
    factor: int = Field(default=3, ge=2, description="One in so many candidates of a rung goes on to the next.")
    rungs: int = Field(default=2, ge=2, description="Rungs, the last and complete one included.")

    @property
    def width(self) -> int:
        """How many candidates a generation begins with for each one that is to reach the last rung."""
        return self.factor ** (self.rungs - 1)

    def fidelities(self, epochs: int, folds: int) -> tuple[Fidelity, ...]:
        """Return the fidelity of each rung, the last one complete; epochs and folds are rounded, to 1 at least."""
        shares = [self.factor ** (rung + 1 - self.rungs) for rung in range(self.rungs)]
        return tuple(
            Fidelity(
                max(1, round(epochs * share)) if "epochs" in self.fidelity else epochs,
                share if "rows" in self.fidelity else 1.0,
                max(1, round(folds * share)) if "folds" in self.fidelity else folds,
            )
            for share in shares
        )

    def problems(self, epochs: int, folds: int) -> Found:
        """Return what is wrong with the rungs of an experiment: each must take more than the one before."""
        found: Found = []
        for number, (one, next_) in enumerate(pairwise(self.fidelities(epochs, folds))):
            if one == next_ and not found:
                message = (
                    f"rungs {number} and {number + 1} of {self.rungs} are the same ({_words(one)}); take fewer rungs "
                    "or a smaller factor, or list more under fidelity"
                )
                found.append((("rungs",), message))
        return found


class FinalConfig(Section):
    """Re-evaluation of the front after the search: several trainings of each design, of which the mean counts."""

    seeds: int = Field(default=3, ge=1, description="Trainings of each design and fold, each from its own seed.")
    epochs: int | None = Field(default=None, ge=1, description="Epochs of each; null: those of the search.")
    folds: int | None = Field(default=None, ge=1, description="Folds of each; null: those of the data.")
    count: int = Field(default=10, ge=1, description="Designs of the front at most, spread over it.")


def _words(fidelity: Fidelity) -> str:
    return f"{fidelity.epochs} epochs, {fidelity.rows:.3g} of the rows, {fidelity.folds} folds"

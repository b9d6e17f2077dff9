"""Constraints as relative violations, so that LUTs and nanoseconds can be added up.

A search ranks infeasible designs by their total violation. In raw units a bound on LUTs would drown a bound on
nanoseconds; each violation is therefore divided by the size of its bound.
"""

from __future__ import annotations

from collections.abc import Iterable

from weft.config.constraint import Constraint


def relative_violation(text: str, value: float) -> float:
    """Return by which share of its bound a constraint such as `"<= 10000"` is missed; <= 0 is met.

    A bound of zero divides by 1.
    """
    constraint = Constraint.parse(text)
    return constraint.violation(value) / (abs(constraint.bound) or 1.0)


def total_violation(violations: Iterable[float]) -> float:
    """Return the sum of the missed shares, 0 for a feasible design."""
    return sum(max(0.0, violation) for violation in violations)

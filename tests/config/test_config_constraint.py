"""A constraint says by how much a value misses its bound, and never lets a missing value pass."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.config import Constraint, parse_constraints
from weft.errors import ConfigError

OPERATORS = {"<=": float.__le__, ">=": float.__ge__, "<": float.__lt__, ">": float.__gt__}
finite = st.floats(-1e9, 1e9).map(lambda x: x + 0.0)


@given(st.sampled_from(sorted(OPERATORS)), finite, finite | st.none())
def test_feasible_means_that_the_comparison_holds(op, bound, other):
    value = bound if other is None else other
    assert (Constraint(op=op, bound=bound).violation(value) <= 0) == OPERATORS[op](value, bound)


@given(st.sampled_from(sorted(OPERATORS)), finite)
def test_text_and_constraint_are_inverse_for_numbers_that_print_exactly(op, bound):
    bound = float(f"{bound:g}")
    constraint = Constraint(op=op, bound=bound)
    assert Constraint.parse(str(constraint)) == constraint


def test_the_violation_is_in_the_unit_of_the_value():
    assert Constraint.parse("<= 10000").violation(10250) == 250
    assert Constraint.parse(">=0.7").violation(0.5) == pytest.approx(0.2)


@pytest.mark.parametrize("op", sorted(OPERATORS))
def test_a_value_that_is_not_a_number_is_never_feasible(op):
    assert Constraint.parse(f"{op} 1").violation(math.nan) == math.inf


@pytest.mark.parametrize("text", ["10000", "== 3", "<=", "<= many", "<= 1e999", "<= nan", "", "<= 3 4", 10000, None])
def test_what_is_no_constraint_is_refused(text):
    with pytest.raises(ConfigError, match=r"cannot read the constraint .*; write an operator .* as in '<= 10000'"):
        Constraint.parse(text)


def test_constraints_are_read_by_name():
    assert parse_constraints({"lut": "< 5"}) == {"lut": Constraint(op="<", bound=5.0)}

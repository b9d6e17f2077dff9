"""A constraint says by how much a value misses its bound, and never lets a missing value pass."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.config import Constraint, loads, parse_constraints
from weft.errors import ConfigError

OPERATORS = {"<=": float.__le__, ">=": float.__ge__, "<": float.__lt__, ">": float.__gt__}
HEAD = "version: 1\nname: a\ndata: {name: jets-hlf}\n"
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


# -- units and parts


@pytest.mark.parametrize(
    ("name", "text", "meant"),
    [
        ("latency_ns", "<= 50", "<= 50"),
        ("latency_ns", "<=  50.0", "<=  50.0"),
        ("latency_ns", "<= 50 ns", "<= 50"),
        ("latency_ns", "<= 0.05 us", "<= 50"),
        ("latency_ns", "< 50000ps", "< 50"),
        ("latency_ns", "<= 0.1µs", "<= 100"),
        ("latency_ns", "<= 0.1 \u03bcs", "<= 100"),
        ("latency_cycles", "<= 5 cycles", "<= 5"),
        ("lut", "<= 1e4 LUTs", "<= 10000"),
        ("accuracy", ">= 72 %", ">= 0.72"),
        ("lut_fraction", "<= 5 % of xcvu13p", "<= 0.05 of xcvu13p"),
        ("lut_fraction", "<= 0.05 of xcvu13p", "<= 0.05 of xcvu13p"),
        ("lut_fraction", "<= 0.05", "<= 0.05"),
        ("avg_resource", "<= 0.3 %", "<= 0.3"),
        ("energy_nj", "<= 900 pJ", "<= 0.9"),
    ],
)
def test_a_bound_is_held_in_the_unit_of_its_objective(name, text, meant):
    search = loads(f"{HEAD}search: {{objectives: [accuracy], constraints: {{{name}: '{text}'}}}}", "e.yaml").search
    assert search.constraints == {name: meant}
    read = Constraint.parse(meant)
    assert read == parse_constraints(search.constraints)[name] == Constraint.parse(text, name)


@given(st.sampled_from(["ps", "ns", "us", "ms", "s"]), st.integers(1, 10**6))
def test_a_bound_means_the_same_in_every_unit(unit, count):
    exponent = {"ps": -3, "ns": 0, "us": 3, "ms": 6, "s": 9}[unit]
    assert Constraint.parse(f"<= {count} {unit}", "latency_ns").bound == pytest.approx(
        count * 10.0**exponent, rel=1e-11
    )


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "latency_ns",
            "<= 5 cycles",
            r"latency_ns is measured in ns, and '<= 5 cycles' is in 'cycles'; write it in ns, ",
        ),
        (
            "latency_cycles",
            "<= 5 ns",
            r"latency_cycles is measured in cycles, and '<= 5 ns' is in 'ns'; write it in cyc",
        ),
        ("lut", "<= 5 %", r"lut is measured in count, and '<= 5 %' is in '%'; write the number alone"),
        ("accuracy", ">= 72 points", r"accuracy is .* in 'points'; write it in %, or as a number between 0 and 1"),
        ("accuracy", ">= 72", r"accuracy is a fraction between 0 and 1; got the bound 72; divide percentages by 100"),
        ("accuracy", ">= 172 %", r"accuracy is a fraction between 0 and 1; got the bound 1.72;"),
        (
            "lut",
            "<= 5 of xcvu13p",
            r"lut is no share of a part; leave 'of xcvu13p' out, or bound one of lut_fraction, ",
        ),
        ("lut_fraction", "<= 0.1 of xcvu13q", r"unknown part 'xcvu13q'; did you mean 'xcvu13p'\?"),
        (
            "lut_fraction",
            "<= 0.1 of zcu216",
            r"is a share of xczu49dr, and target.part is xcvu13p-.*; name that part, or write the count: "
            r"lut: '<= 42528'",
        ),
        ("avg_resource", "<= 1 of zcu216", r"is a share of xczu49dr, and target.part is xcvu13p-.*; name that part$"),
    ],
)
def test_a_wrong_unit_or_part_is_refused_with_the_right_ones(name, text, message):
    with pytest.raises(ConfigError, match=rf"e.yaml:4: search.constraints.{name}: {message}"):
        loads(f"{HEAD}search: {{objectives: [accuracy], constraints: {{{name}: '{text}'}}}}", "e.yaml")


def test_a_unit_needs_to_be_known_before_a_bound_can_be_read_alone():
    with pytest.raises(ConfigError, match="cannot read the constraint '<= 5 ns' in 'ns' without its objective"):
        Constraint.parse("<= 5 ns")


def test_an_unknown_objective_is_answered_with_those_there_are():
    with pytest.raises(ConfigError, match=r"unknown objective 'qwxyz'; the objectives are accuracy.*my_module:my_cost"):
        loads(f"{HEAD}search: {{objectives: [accuracy, qwxyz]}}", "e.yaml")

"""Each rule of selection against a reference that is written down from its definition, in exact arithmetic."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.config.select import SelectConfig
from weft.search.results import SearchResults
from weft.search.rules import BEYOND, by_hypervolume, lexicographic, scaled, weighted
from weft.search.select import select

from .test_select import trial

whole = st.integers(0, 6)
tables = st.integers(1, 3).flatmap(
    lambda m: st.lists(st.lists(whole, min_size=m, max_size=m), min_size=1, max_size=7)
)  # few distinct values, so that ties and equal points are common


def shares(rows):
    """Each column on the scale from its best to its worst, exactly."""
    columns = [[Fraction(value) for value in column] for column in zip(*rows, strict=True)]
    scales = [(min(column), max(column) - min(column) or Fraction(1)) for column in columns]
    return [
        [(value - low) / width for value, (low, width) in zip(row, scales, strict=True)]
        for row in ([Fraction(value) for value in row] for row in rows)
    ]


@given(tables, st.data())
def test_lexicographic_keeps_what_is_near_the_best_of_each_column_in_turn(rows, data):
    tolerances = data.draw(st.lists(whole, min_size=len(rows[0]), max_size=len(rows[0])))
    count = data.draw(st.integers(1, len(rows) + 1))
    left, expected = dict(enumerate(rows)), []
    while left and len(expected) < count:
        rivals = left
        for j, tolerance in enumerate(tolerances):
            rivals = {
                i: row for i, row in rivals.items() if all(row[j] <= other[j] + tolerance for other in rivals.values())
            }
        expected.append(sorted((row, i) for i, row in rivals.items())[0][1])
        del left[expected[-1]]
    assert lexicographic(rows, tolerances, count) == expected


def test_a_tolerance_in_decimals_holds_at_its_end():
    assert lexicographic([[-0.75, 9.0], [-0.745, 1.0]], [0.005, 0.0], 1) == [1]
    assert lexicographic([[-0.75, 9.0], [-0.7449, 1.0]], [0.005, 0.0], 1) == [0]


@given(tables, st.data())
def test_the_weighted_sum_is_that_of_shares_and_the_scale_of_weights_does_not_matter(rows, data):
    weights = data.draw(st.lists(whole, min_size=len(rows[0]), max_size=len(rows[0])).filter(any))
    total = sum(weights)
    expected = [
        float(sum(Fraction(w, total) * share for w, share in zip(weights, row, strict=True))) for row in shares(rows)
    ]
    np.testing.assert_allclose(weighted(rows, weights), expected, atol=1e-12)
    np.testing.assert_allclose(weighted(rows, [7.5 * w for w in weights]), expected, atol=1e-12)


def dominated(points, corner):
    """The volume that points dominate below a corner: the sum over the cells of the grid that they span, exactly."""
    if not points:
        return Fraction(0)
    axes = [sorted({*column, corner}) for column in zip(*points, strict=True)]
    cells = itertools.product(*(itertools.pairwise(axis) for axis in axes))
    total = Fraction(0)
    for cell in cells:
        if any(all(value <= low for value, (low, _) in zip(point, cell, strict=True)) for point in points):
            size = Fraction(1)
            for low, high in cell:
                size *= high - low
            total += size
    return total


@given(tables, st.integers(1, 4))
def test_each_pick_adds_most_to_the_hypervolume_of_those_before_it(rows, count):
    corner = Fraction(11, 10)
    assert float(corner) == BEYOND
    points = shares(rows)
    varies = [j for j in range(len(rows[0])) if len({row[j] for row in rows}) > 1] or [0]
    points = [[point[j] for j in varies] for point in points]
    picked, gains = by_hypervolume(rows, count)
    assert len(picked) == len(set(picked)) == len(gains) == min(count, len(rows))
    for place, (one, gain) in enumerate(zip(picked, gains, strict=True)):
        before = [points[i] for i in picked[:place]]
        volume = dominated(before, corner)
        added = {
            i: dominated([*before, points[i]], corner) - volume for i in range(len(rows)) if i not in picked[:place]
        }
        assert float(added[one]) == pytest.approx(float(max(added.values())), abs=1e-9)
        assert gain == pytest.approx(float(added[one] / corner ** len(varies)), abs=1e-9)


@given(tables)
def test_a_scale_reaches_from_nought_to_one(rows):
    np.testing.assert_allclose(scaled(rows), np.array(shares(rows), dtype=float), atol=1e-15)


# -- on designs, with directions, budgets and the front: against every candidate in turn

designs = st.lists(st.tuples(whole, whole, whole), min_size=1, max_size=8)


def searched(rows):
    trials = tuple(trial(n, a / 8, 100.0 * lut, ff=float(ff)) for n, (a, lut, ff) in enumerate(rows))
    return SearchResults(("accuracy", "lut"), {}, trials)


def front_of(rows, most):
    fit = [(n, row) for n, row in enumerate(rows) if row[1] <= most]
    return [
        (n, row) for n, row in fit if not any(o[0] >= row[0] and o[1] <= row[1] and o[:2] != row[:2] for _, o in fit)
    ]


@given(designs, whole)
def test_the_best_metric_under_a_budget_and_the_cheapest_above_a_metric_agree_with_trying_all(rows, most):
    if front := front_of(rows, most):
        budget = {"lut": f"<= {100 * most}"}
        best = min(front, key=lambda one: (-one[1][0], one[1][1], one[0]))
        (found,) = select(searched(rows), SelectConfig(rule="best_metric", constraints=budget, count=1))
        assert found.number == best[0]
        cheap = min(front, key=lambda one: (one[1][2], -one[1][0], one[1][1], one[0]))
        (found,) = select(searched(rows), SelectConfig(rule="cheapest", cost="ff", constraints=budget, count=1))
        assert found.number == cheap[0]
        assert found.inputs["candidates"] == [n for n, _ in sorted(front, key=lambda o: (-o[1][0], o[1][1], o[0]))]
    above = [one for one in front_of(rows, 6) if one[1][0] / 8 >= 0.5]
    if above:
        (found,) = select(searched(rows), SelectConfig(rule="cheapest", constraints={"accuracy": ">= 0.5"}, count=1))
        assert found.number == min(above, key=lambda one: (one[1][1], -one[1][0], one[0]))[0]


@given(designs, st.integers(1, 3))
def test_the_new_rules_pick_from_the_front_what_their_mathematics_says(rows, count):
    front = sorted(front_of(rows, 6), key=lambda one: (-one[1][0], one[1][1], one[0]))
    losses = [[-a / 8, 100.0 * lut] for _, (a, lut, _) in front]
    for config, order in (
        ({"rule": "lexicographic", "tolerances": {"accuracy": 0.125}}, lexicographic(losses, [0.125, 0], count)),
        (
            {"rule": "lexicographic", "order": ["lut", "accuracy"], "tolerances": {"lut": 100.0}},
            lexicographic([row[::-1] for row in losses], [100, 0], count),
        ),
        ({"rule": "hypervolume"}, by_hypervolume(losses, count)[0]),
        (
            {"rule": "weighted", "weights": {"accuracy": 3.0, "lut": 1.0}},
            sorted(range(len(front)), key=lambda i: weighted(losses, [3, 1])[i])[:count],
        ),
    ):
        found = select(searched(rows), SelectConfig(**config, count=count))
        assert [one.number for one in found] == [front[i][0] for i in order]


def test_the_choice_holds_the_rule_its_inputs_and_the_reason():
    rows = [(6, 60, 0), (5, 20, 0), (4, 10, 0), (1, 1, 0)]
    first, second = select(searched(rows), SelectConfig(rule="lexicographic", tolerances={"accuracy": 0.2}))
    assert first.reason == (
        "best accuracy (within 0.2), then lut, place 1 of 4 designs on the front: accuracy 0.625, lut 2000"
    )
    assert first.inputs == {
        "candidates": [0, 1, 2, 3],
        "constraints": [],
        "tolerances": {"accuracy": 0.2, "lut": 0.0},
        "values": {"accuracy": 0.625, "lut": 2000.0},
    }
    assert second.number == 0  # of those left, no other is within 0.2 of it
    (heavy, *_) = select(searched(rows), SelectConfig(rule="weighted", weights={"accuracy": 3, "lut": 1}))
    assert heavy.inputs["weights"] == {"accuracy": 0.75, "lut": 0.25}
    assert heavy.inputs["scale"] == {"accuracy": [0.75, 0.125], "lut": [100.0, 6000.0]}
    assert heavy.reason.startswith("weighted sum of 0.75 accuracy, 0.25 lut, place 1 of 4 designs on the front: 0.2")
    (cover, *_) = select(searched(rows), SelectConfig(rule="hypervolume", constraints={"lut": "<= 5000"}))
    assert cover.reason.startswith(
        "hypervolume of accuracy, lut, place 1 of 3 designs on the front that meet lut <= 50"
    )
    assert cover.inputs["reference"] == "1.1 of the scale" and cover.inputs["constraints"] == ["lut <= 5000"]

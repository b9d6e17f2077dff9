"""The small functions of the report against independent references."""

from __future__ import annotations

import doctest
from importlib import import_module

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.report import figures, points, style, text
from weft.report.read import Predictions
from weft.report.svg import inline
from weft.train import metrics


@pytest.mark.parametrize("name", ["text", "points"])
def test_the_examples_in_the_documentation_hold(name):
    result = doctest.testmod(import_module(f"weft.report.{name}"))
    assert result.attempted and not result.failed


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1), st.sampled_from(["min", "max"]))
def test_the_staircase_is_the_best_y_attained_up_to_each_x(found, direction):
    corners = points.staircase(found, ("min", direction))
    best = max if direction == "max" else min
    for x in {x for x, _ in found}:
        attained = best(v for u, v in found if u <= x)
        assert best(v for u, v in corners if u <= x) == attained


@pytest.mark.parametrize(("value", "error", "shown"), [(0.7123, 0.0032, "71.2 ± 0.3"), (0.9, 0.0001, "90.00 ± 0.01"),
                                                       (0.5, 0.03, "50 ± 3"), (0.5, None, "50.0")])  # fmt: skip
def test_a_share_has_as_many_digits_as_its_error(value, error, shown):
    assert text.metric("accuracy", value, error).replace(text.GAP, " ") == shown


def test_the_origin_of_a_quantity_names_value_unit_interval_stage_source_and_reason():
    quantity = {"value": 1234.0, "unit": "count", "stage": "solver", "source": "alkaid 0.8", "reason": "not fitted"}
    quantity |= {"low": 1000.0, "high": 1500.0}
    expected = "LUT 1 234 count (1 000 to 1 500); stage: solver; source: alkaid 0.8; not fitted"
    assert text.provenance("lut", quantity).replace(text.GAP, " ") == expected


def test_confusion_counts_are_rows_of_the_true_class():
    outputs = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [0.0, 1.0]])
    counts = figures.confusion_counts(Predictions(outputs, np.array([0, 0, 1, 1])), 2)
    np.testing.assert_array_equal(counts, [[1, 1], [0, 2]])
    np.testing.assert_array_equal(figures.shares(counts), [[0.5, 0.5], [0.0, 1.0]])
    np.testing.assert_array_equal(figures.shares(np.zeros((2, 2))), np.zeros((2, 2)))


def test_a_thinned_curve_keeps_points_of_the_curve_and_its_ends():
    draw = np.random.default_rng(0)
    signal = draw.random(20000) < 0.5
    curve = metrics.roc(draw.normal(size=20000) + signal, signal)
    background, efficiency = figures._thinned(*curve)
    assert len(background) <= figures.CURVE_POINTS
    assert {*zip(background, efficiency, strict=True)} <= {*zip(*curve, strict=True)}
    assert (background[-1], efficiency[-1]) == (1.0, 1.0)


def test_an_inlined_figure_has_ids_of_its_own_and_the_colours_of_the_page():
    source = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 10 20">'
        '<metadata>m</metadata><defs><style>*{x:y}</style></defs><g id="unused"><path id="m1" d="M 1.23456 2"/></g>'
        f'<use xlink:href="#m1" style="fill: {style.INK}" clip-path="url(#m1)"/>'
        "<text style=\"font: 9px 'DejaVu Sans'; fill: red\">&lt;b&gt;</text></svg>"
    )
    found = inline(source, "f1", 'shows "x"')
    assert found == (
        '<svg viewBox="0 0 10 20" style="--width: 10" role="img" aria-label="shows &quot;x&quot;"><defs /><g>'
        '<path id="f1-m1" d="M 1.23 2" /></g><use href="#f1-m1" style="fill: var(--ink)" clip-path="url(#f1-m1)" />'
        '<text style="font-size: 9px; fill: red">&lt;b&gt;</text></svg>'
    )

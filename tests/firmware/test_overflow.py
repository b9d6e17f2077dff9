"""Overflow: counted on real inputs as by hand, and found by search where no real input shows it."""

from __future__ import annotations

import numpy as np
import pytest

from tests.firmware.models import mlp, set_layer
from weft.adder_graph import AdderGraph
from weft.firmware import verify
from weft.firmware.overflow import overflows


@pytest.fixture(scope="module")
def model():
    """Two inputs; the hidden neurons are |a + b| and |a - b| rectified, and the second layer reads 0 <= h < 4."""
    model = mlp(2, (2, 1))
    set_layer(model.layers[1], [[1.0, 1.0], [1.0, -1.0]], [0.0, 0.0], [(1, 3, 2)] * 2)
    set_layer(model.layers[2], [[1.0], [0.5]], [0.0], [(0, 2, 2)] * 2)
    return model


def by_layer(found):
    return {one.layer: one for one in found}


def test_the_share_of_overflowing_inputs_is_that_by_hand(model):
    x = np.random.default_rng(0).normal(0, 2.0, (3000, 2)).astype(np.float32)
    found, _ = overflows(model, x, seek=False)
    seen = by_layer(found)
    first = np.floor(x * 4 + 0.5) / 4
    assert seen["d0"].share == np.mean(((first < -8) | (first > 7.75)).any(axis=1))
    hidden = np.maximum(first @ np.array([[1.0, 1.0], [1.0, -1.0]]), 0)
    assert seen["d1"].share == np.mean((hidden > 3.75).any(axis=1)) > 0.05
    assert seen["d1"].format == "KIF(0, 2, 2)" and seen["d1"].mode == "WRAP"
    assert seen["d1"].largest >= 1 > seen["d0"].largest and seen["d1"].sought is None


def test_the_ends_of_the_range_are_in_it(model):
    ends = np.array([[3.75, 0.0], [0.0, 0.0]], np.float32)
    assert by_layer(overflows(model, ends, seek=False)[0])["d1"].share == 0
    over = np.array([[4.0, 0.0], [0.0, 0.0]], np.float32)
    assert by_layer(overflows(model, over, seek=False)[0])["d1"].share == 0.5


def test_an_overflow_that_no_real_input_shows_is_found_between_them(model):
    random = np.random.default_rng(1)
    a = random.uniform(-2.0, 2.0, 500)
    x = np.stack([a, -a + random.uniform(-0.4, 0.4, 500)], axis=1).astype(np.float32)  # a + b stays small
    x[:, 1] *= np.where(np.abs(a) > 1.6, 0.1, 1.0)  # and so does a - b
    x[:, 1] = np.where(a > 1.6, x[:, 1], x[:, 1].clip(-1.5, 2.3))
    found, sought = overflows(model, x)
    seen = by_layer(found)
    assert seen["d1"].share == 0 and seen["d1"].largest < 1 <= seen["d1"].sought
    assert sought.shape == (1, 2) and (sought >= x.min(axis=0)).all() and (sought <= x.max(axis=0)).all()
    assert by_layer(overflows(model, sought, seek=False)[0])["d1"].share == 1.0
    result = verify(model, AdderGraph.from_model(model), None, x)
    assert result.status == "exact" and result.inputs.sought == 1
    assert any("no real input is out of range, but one between them can be" in text for text in result.warnings)
    again = overflows(model, x)[1]
    assert np.array_equal(again, sought)


def test_nothing_is_found_where_nothing_can_overflow(model):
    x = np.random.default_rng(2).uniform(-1.0, 1.0, (200, 2)).astype(np.float32)
    found, sought = overflows(model, x)
    assert len(sought) == 0 and by_layer(found)["d1"].sought < 1
    assert verify(model, AdderGraph.from_model(model), None, x).warnings == []

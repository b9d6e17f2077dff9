"""Estimates are kept by digest: found again, never for another design, and computed anew where the file is damaged."""

from __future__ import annotations

import json

import numpy as np
import pytest

import weft.adder_graph
from tests.cost.test_cost_models import Target
from tests.firmware.models import mlp, randomised
from weft.cost import CostInput, _cache, find


@pytest.fixture
def counted(monkeypatch, tmp_path):
    """Count how often a graph is built, with a cache of its own."""
    monkeypatch.setenv("WEFT_CACHE", str(tmp_path))
    _cache.forget()
    built = []
    make = weft.adder_graph.AdderGraph.from_model.__func__

    def counting(cls, model):
        built.append(model)
        return make(cls, model)

    monkeypatch.setattr(weft.adder_graph.AdderGraph, "from_model", classmethod(counting))
    yield built
    _cache.forget()


@pytest.fixture(scope="module")
def model():
    return randomised(mlp(2, (2, 1)))


def estimate(model, clock: float = 4.0):
    return find("adder_graph").estimate([CostInput(model)], Target(clock_period_ns=clock))[0]


def entries():
    return sorted(_cache.directory().rglob("*.json"))


def test_an_estimate_is_found_again_in_memory_and_on_disk(counted, model):
    first = estimate(model)
    assert estimate(model) == first and len(counted) == 1
    _cache.forget()
    assert estimate(model) == first and len(counted) == 1
    assert len(entries()) == 1 and not list(_cache.directory().rglob("*.tmp"))


def test_other_weights_formats_and_clocks_are_other_designs(counted, model):
    layer = model.layers[1]
    keys = [_cache.digest(model, 4.0), _cache.digest(model, 2.0)]
    for variable in (layer._kernel, layer.bias, layer.iq.quantizer._f, layer.kq.quantizer._i):
        before = np.array(variable)
        variable.assign(before + 1)
        keys.append(_cache.digest(model, 4.0))
        variable.assign(before)
    layer._ebops.assign(np.array(7))  # a counter of training
    assert len(set(keys)) == len(keys) and _cache.digest(model, 4.0) == keys[0]
    estimate(model), estimate(model, clock=2.0)
    assert len(counted) == 2


@pytest.mark.parametrize(
    "damage", [b"", b"{", b"[]", b"{}", b"\xff\xfe"], ids=["empty", "cut", "list", "bare", "bytes"]
)
def test_a_damaged_entry_is_computed_again(counted, model, damage, caplog):
    first = estimate(model)
    (path,) = entries()
    whole = path.read_text()
    path.write_bytes(damage)
    _cache.forget()
    assert estimate(model) == first and len(counted) == 2
    assert f"the estimate kept in {path} is damaged; it is computed again" in caplog.text
    assert path.read_text() == whole


def test_a_changed_number_is_noticed(counted, model):
    first = estimate(model)
    (path,) = entries()
    data = json.loads(path.read_text())
    data["estimate"]["quantities"]["lut"]["value"] += 1
    path.write_text(json.dumps(data))
    _cache.forget()
    assert estimate(model) == first and len(counted) == 2


def test_a_disk_that_takes_nothing_costs_no_estimate(counted, model, monkeypatch, caplog):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_cache.atomic, "write_json", full)
    assert estimate(model)["lut"].value >= 0 and len(counted) == 1
    assert "No space left on device); set WEFT_CACHE to a directory with room" in caplog.text


def test_the_interval_is_that_of_todays_corpus_and_not_kept(counted, model, monkeypatch):
    from weft.cost import learned

    first = estimate(model)["lut"]
    (path,) = entries()
    kept = json.loads(path.read_text())["estimate"]["quantities"]
    assert all(one["low"] is None for one in kept.values()) and first.low < first.high
    shipped = learned.load()
    wider = shipped.model_dump()
    wider["quantities"]["lut"]["count"]["errors"] = [3.0 * e for e in wider["quantities"]["lut"]["count"]["errors"]]
    monkeypatch.setattr(learned, "load", lambda: learned.Learned.model_validate(wider))
    again = estimate(model)["lut"]
    assert len(counted) == 1 and again.value == first.value and again.high > first.high


def test_cost_models_that_are_asked_together_trace_the_model_once(counted, model):
    design = CostInput(model)
    for name in ("adder_graph", "learned"):
        find(name).estimate([design], Target(clock_period_ns=4.0))
    assert len(counted) == 1

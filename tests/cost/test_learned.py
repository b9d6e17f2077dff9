"""The learned model: the contract of cost models, its refusals, its domain, and files that are damaged."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest
from hgq.layers import QDense
from hgq.quantizer import QuantizerConfig

from tests.firmware.models import PART, mlp, randomised
from weft.adder_graph import AdderGraph
from weft.config.firmware import RtlConfig
from weft.cost import CostInput, FixedTarget, LearnedCost, find, names, providing
from weft.cost.learned import SHIPPED, Spread, load
from weft.errors import ConfigError, UnsupportedError
from weft.testing.cost_models import check

TARGET = FixedTarget(PART, 5.0)


def altered(tmp_path, change) -> LearnedCost:
    """Return the model of a file that differs from weft's own."""
    data = json.loads(SHIPPED.read_text())
    change(data)
    (tmp_path / "learned.json").write_text(json.dumps(data))
    return LearnedCost(tmp_path / "learned.json")


def test_it_does_what_every_cost_model_must_do():
    check(LearnedCost())


def test_it_is_found_by_name_and_decides_only_if_asked_first():
    assert "learned" in names() and find("learned").provides == ("lut", "ff")
    assert providing("lut").name == "adder_graph" and providing("lut", ["learned"]).name == "learned"


def test_a_number_says_what_it_was_fitted_to_and_how_usual_the_design_is():
    design = CostInput(randomised(mlp(6, (12, 8, 3))))
    found = LearnedCost().estimate([design], TARGET)[0]
    count = find("adder_graph").estimate([design], TARGET)[0]
    for name in ("lut", "ff"):
        one = found[name]
        assert one.stage == "predicted" and one.low < one.value < one.high
        assert one.value == pytest.approx(count[name].value, rel=0.3)
        assert f"fitted to {load().designs} designs" in one.source and "yosys 0" in one.source
    assert found.notes[0].startswith("in-domain score ")


def test_unlike_designs_are_out_of_the_domain(tmp_path):
    def narrow(data):
        data["domain"] = [[0.001 * i] * len(data["domain"][0]) for i in range(40)]

    found = altered(tmp_path, narrow).estimate([CostInput(randomised(mlp(6, (12, 3))))], TARGET)[0]
    assert not found.in_domain and "in-domain score 0.00" in found.notes[0]


def test_operations_that_no_design_of_the_corpus_has_are_refused(tmp_path):
    model = altered(tmp_path, lambda data: [one["weights"].pop("relu") for one in data["quantities"].values()])
    with pytest.raises(
        UnsupportedError, match=r"it has operations .relu. that no design of its corpus has; take adder"
    ):
        model.estimate([CostInput(randomised(mlp(4, (8, 3))))], TARGET)


def test_a_quantity_that_is_not_enabled_is_not_given(tmp_path):
    one = altered(tmp_path, lambda data: data["quantities"]["ff"].update(enabled=False))
    assert one.provides == ("lut",)
    none = altered(tmp_path, lambda data: [q.update(enabled=False) for q in data["quantities"].values()])
    load.cache_clear()
    assert none.provides == () and "it beats the other cost models nowhere" in none.supports(CostInput())


@pytest.mark.parametrize(
    ("rtl", "what"),
    [({"pipeline": False}, "has no register stages"), ({"ternary_adders": True}, "has adders of three operands")],
)
def test_what_no_design_of_the_corpus_is_has_no_interval_and_is_refused(rtl, what):
    graph = AdderGraph.from_model(randomised(mlp(4, (8, 3))), RtlConfig(**rtl))
    counted = find("adder_graph").estimate([CostInput(graph=graph)], TARGET)[0]
    assert counted["lut"].value > 0 and counted["lut"].low is None and counted["ff"].low is None
    assert f"it {what}, and no design of its corpus has that; take" in LearnedCost().supports(CostInput(graph=graph))
    with pytest.raises(UnsupportedError, match=rf"cannot estimate this design: it {what}"):
        LearnedCost().estimate([CostInput(graph=graph)], TARGET)


def test_a_range_lies_between_quantiles_of_the_errors_in_units_of_the_difficulty():
    spread = Spread.of(np.arange(-10, 29) / 100, np.full(39, 0.5), slope=2.0, offset=np.log(3.0))  # 39 errors: rank 38
    value, low, high = spread.range(10.0, 0.5)
    assert value == pytest.approx(300.0)
    assert (np.log(low / value), np.log(high / value)) == (pytest.approx(-0.09), pytest.approx(0.27))
    assert np.log(spread.range(10.0, 1.0).high / value) == pytest.approx(2 * 0.27)
    assert spread.range(10.0, 0.5, 0.96).low is None  # 40 designs and no more hold 95 % between their ends


def test_the_range_holds_as_often_as_asked_where_errors_go_with_the_difficulty():
    rng = np.random.default_rng(0)
    hard = rng.uniform(0.05, 1.0, 20_000)
    errors = hard * (rng.normal(-0.5, 1.0, hard.size))
    spread = Spread.of(errors[:200], hard[:200])
    easy = hard[200:] < 0.3
    inside = [low <= np.exp(e) <= high for e, h in zip(errors[200:], hard[200:], strict=True)
              for _, low, high in [spread.range(1.0, h)]]  # fmt: skip
    assert np.mean(inside) == pytest.approx(0.9, abs=0.04)
    assert np.mean(np.array(inside)[easy]) == pytest.approx(np.mean(np.array(inside)[~easy]), abs=0.03)


def test_narrow_additions_widen_the_interval():
    def width(name, bits):
        held = {"trainable": False, "overflow_mode": "WRAP", "round_mode": "TRN"}
        inputs = keras.Input((2,))
        dense = QDense(4, kq_conf=QuantizerConfig("kif", "weight", i0=1, f0=0, **held), use_bias=False,
                       iq_conf=QuantizerConfig("kif", "datalane", k0=False, i0=bits, f0=0, **held))  # fmt: skip
        model = keras.Model(inputs, dense(inputs))
        dense._kernel.assign(np.where(np.random.default_rng(0).random((2, 4)) < 0.5, -1.0, 1.0))
        found = find(name).estimate([CostInput(model)], TARGET)[0]["lut"]
        return (found.high - found.low) / found.value

    for name in ("adder_graph", "learned"):
        assert width(name, 2) > 2 * width(name, 10)


def test_too_few_designs_are_no_interval(tmp_path, monkeypatch):
    def few(data):
        for one in data["quantities"].values():
            for spread in (one["spread"], one["count"]):
                spread.update(errors=spread["errors"][:3])

    model, design = altered(tmp_path, few), CostInput(randomised(mlp(4, (3,))))
    found = model.estimate([design], TARGET)[0]["lut"]
    assert found.value > 0 and found.low is None and found.high is None and found.reason is None
    monkeypatch.setattr("weft.cost.learned.load", lambda: model.fitted)
    counted = find("adder_graph").estimate([design], TARGET)[0]["lut"]
    assert counted.low is None and counted.reason == f"no interval: {load().designs} designs are too few"


def test_another_compiler_is_noted(tmp_path):
    one = altered(tmp_path, lambda data: data["tools"].update(compiler="alkaid 0.1"))
    notes = one.estimate([CostInput(randomised(mlp(4, (3,))))], TARGET)[0].notes
    assert any("fitted to designs of alkaid 0.1, and this one is by alkaid 0.8" in note for note in notes)


def test_a_file_of_ones_own_is_used_and_a_damaged_one_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("WEFT_LEARNED", str(tmp_path / "none.json"))
    with pytest.raises(
        ConfigError, match=r"cannot read .*none.json .No such file.*; make it by `weft surrogate train`"
    ):
        _ = LearnedCost().provides
    (tmp_path / "none.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"model .*none.json is damaged .Field required.; make it by"):
        _ = LearnedCost().provides
    altered(tmp_path, lambda data: data["quantities"]["lut"]["weights"].update(strange=1.0))
    monkeypatch.setenv("WEFT_LEARNED", str(tmp_path / "learned.json"))
    with pytest.raises(ConfigError, match=r"learned.json has unknown features strange"):
        _ = LearnedCost().provides

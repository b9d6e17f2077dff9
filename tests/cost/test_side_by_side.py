"""Several cost models at once: the first that gives a quantity decides, and what each says is kept."""

from __future__ import annotations

import pytest

from tests.cost.test_cost_models import Target
from tests.firmware.models import PART, mlp, randomised
from tests.testing.test_cost_models import Good
from weft.adder_graph import AdderGraph
from weft.config import CostConfig, FirmwareConfig
from weft.cost import CostInput, _base, costs_of, side_by_side
from weft.errors import ConfigError


@pytest.fixture
def good(monkeypatch):
    """Register another model of LUTs."""
    monkeypatch.setattr(_base, "_MODELS", _base._MODELS | {"good": Good()})


@pytest.fixture(scope="module")
def model():
    return randomised(mlp(2, (2, 1)))


def test_the_first_that_gives_a_quantity_decides(good, model):
    def source(among):
        return costs_of(model, ("lut",), PART, 4.0, among=among)["lut"].source

    assert source(("good", "adder_graph")) == "good 1.0"
    assert source(("adder_graph", "good")).startswith("alkaid") and source(()).startswith("alkaid")
    assert source(("ebops",)).startswith("alkaid")


def test_what_each_says_stands_side_by_side(good, model):
    names = ("good", "adder_graph", "ebops", "rule4ml")
    found = side_by_side(CostInput(model), names, Target())
    assert list(found.quantities["lut"]) == ["good", "adder_graph"] and list(found.quantities["ebops"]) == ["ebops"]
    assert list(found.refused) == ["rule4ml"] and "does not know the part" in found.refused["rule4ml"]
    costs = costs_of(model, ("lut", "ff"), PART, 4.0, among=names)
    assert costs == {"lut": found.quantities["lut"]["good"], "ff": found.quantities["ff"]["adder_graph"]}
    assert type(found).model_validate(found.model_dump(mode="json")) == found


def test_an_unknown_name_is_an_error_before_anything_is_computed(model):
    with pytest.raises(ConfigError, match=r"no cost model is called 'adder_grap'; did you mean 'adder_graph'\?"):
        side_by_side(CostInput(model), ("ebops", "adder_grap"), Target())


def test_the_section_lists_each_model_once():
    assert CostConfig().models == ["adder_graph", "ebops", "bops", "parameters"]
    with pytest.raises(ValueError, match=r"'bops' is listed twice; list each cost model once"):
        CostConfig(models=["bops", "ebops", "bops"])


def test_the_command_shows_them_all_and_as_json(model, tmp_path, monkeypatch):
    import json

    from typer.testing import CliRunner

    from weft.cli import estimate  # noqa: F401 - registers the command
    from weft.cli._app import app

    monkeypatch.setattr("weft.run.design.load_model", lambda path: model)
    path = tmp_path / "model.keras"
    path.touch()
    run = CliRunner().invoke
    asked = ["--model", "ebops", "--model", "adder_graph", "--model", "rule4ml"]
    shown = run(app, ["estimate", str(path), *asked], env={"COLUMNS": "200"})
    assert shown.exit_code == 0, shown.output
    assert "adder_graph" in shown.output and "solver" in shown.output and "rule4ml" in shown.output
    every = json.loads(run(app, ["estimate", str(path), *asked, "--json"]).output)[str(path)]
    assert list(every["quantities"]["ebops"]) == ["ebops"] and "does not know the part" in every["refused"]["rule4ml"]
    first = json.loads(run(app, ["estimate", str(path), "--json"]).output)[str(path)]
    assert first["lut"]["stage"] == "solver" and first["bops"]["stage"] == "predicted"
    wrong = run(app, ["estimate", str(path), "--model", "ebop"])
    assert wrong.exit_code == 2


@pytest.mark.parametrize("rtl", [{"pipeline": False}, {"stages": 1}, {"stages": 4}, {"solver": {"sharing": "none"}}])
def test_costs_are_of_the_firmware_that_is_asked_for(model, rtl):
    names = ("lut", "ff", "latency_cycles")
    firmware = FirmwareConfig.model_validate({"rtl": rtl})
    costs_of(model, names, PART, 4.0)  # what is kept of the defaults is not taken for it
    found = costs_of(model, names, PART, 4.0, firmware=firmware)
    wanted = AdderGraph.from_model(model, firmware.rtl).cost(4.0)
    assert {name: one.value for name, one in found.items()} == {name: wanted[name].value for name in names}
    if "stages" in rtl:
        assert found["latency_cycles"].value == rtl["stages"]


def test_rules_of_hls4ml_are_those_of_the_project_that_is_asked_for(model):
    def cycles(**hls):
        firmware = FirmwareConfig.model_validate({"hls": {"backend": "vitis", **hls}})
        found = costs_of(model, ("ii_cycles", "dsp"), PART, 4.0, among=("hls4ml",), firmware=firmware)
        return found["ii_cycles"].value

    assert cycles() == costs_of(model, ("ii_cycles",), PART, 4.0, among=("hls4ml",))["ii_cycles"].value
    assert cycles(strategy="resource", reuse_factor=2) > cycles()

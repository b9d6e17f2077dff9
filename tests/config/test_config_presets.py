"""The presets are complete examples, each described by its first line."""

import pytest

from weft.config import load, presets


def test_the_presets_are_there_and_described():
    found = presets()
    names = {"jets-demo", "jets-hlf", "jets-constituents", "qubit-readout", "jets-imp", "jets-fixed", "jets-mlp"}
    cases = {"snac-jets", "snac-qubit", "pquant-jsc", "lut-frontier"}
    assert set(found) == names | cases | {f"{name}-quick" for name in cases}
    assert all(text and not text.startswith("#") and text.endswith(".") for text in found.values())


@pytest.mark.parametrize("name", sorted(presets()))
def test_a_preset_carries_its_own_name(name):
    assert load(name).name == name


def test_presets_use_the_recipe_they_are_named_after():
    assert load("jets-imp").compress.recipe == "imp"
    assert load("jets-fixed").space.quantization.mode == load("jets-fixed").compress.recipe == "fixed"
    assert load("jets-constituents").data.constituents == 8
    assert load("qubit-readout").data.known_task == "binary"

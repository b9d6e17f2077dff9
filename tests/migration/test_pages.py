"""The pages about migration: their examples are read, and their settings exist."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import weft  # before Keras, whose backend it chooses

import keras  # isort: skip

DOCS = Path(__file__).parents[2] / "docs"


def test_the_recipe_of_the_qkeras_page_compresses_a_model():
    text = (DOCS / "migrate-qkeras.md").read_text()
    code = next(block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "weft.compress" in block)
    layers = [keras.layers.Input((4,)), keras.layers.Dense(8, name="fc1"), keras.layers.ReLU(), keras.layers.Dense(2)]
    names = {"keras_model": keras.Sequential(layers), "x_train": np.random.default_rng(0).normal(size=(64, 4))}
    exec(code.partition("weft.fit")[0], names)
    assert names["model"].weft_recipe.layers["fc1"].weight.bits == 6


@pytest.mark.parametrize("method", ["dst", "wanda"])
def test_a_converted_section_compresses_a_model(tmp_path, method):
    from tests.migration.test_pquantml import converted, settings

    _, data = converted(tmp_path, settings(method))
    model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(8, "relu"), keras.layers.Dense(2)])
    made = weft.compress(model, data["compress"], np.random.default_rng(0).normal(size=(64, 4)))
    assert made.weft_recipe.prune.method == method

"""The file of settings for each layer: written with comments, edited, read back, and refused with line numbers."""

from __future__ import annotations

import keras
import pytest
from keras import layers as L
from typer.testing import CliRunner

import weft
from tests.quantize.networks import FAMILIES, vision
from weft.cli import app, init_layers  # noqa: F401 - importing a command registers it
from weft.config.numbers import FixedNumbers, LayerSettings, QuantizerSettings
from weft.errors import ConfigError
from weft.quantize import layers_from_yaml, layers_to_yaml
from weft.quantize.convert import convert


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__)
def test_what_is_written_is_read_back_as_no_change(family):
    model = family()
    settings = layers_from_yaml(layers_to_yaml(model))
    assert all(one == LayerSettings() for one in settings.values())
    one, two = convert(model, FixedNumbers()), convert(model, FixedNumbers(), settings)
    assert [layer.get_config() for layer in one.layers if not layer._layers] == [
        layer.get_config() for layer in two.layers if not layer._layers
    ]


def test_only_settings_that_mean_something_are_written():
    x = inputs = keras.Input((4,))
    for function in ("relu", "tanh", "linear"):
        x = L.Dense(4, activation=function, name=function)(x)
    blocks = layers_to_yaml(keras.Model(inputs, x)).split("\n\n")[1]
    keys = {block.split(":")[0]: [line.split(":")[0].strip() for line in block.splitlines()[1:]]
            for block in blocks.replace("\nlin", "\n\nlin").replace("\ntanh", "\n\ntanh").split("\n\n")}  # fmt: skip
    common = ["weight", "bias", "input", "output", "prune"]
    assert keys == {
        "relu": [*common[:4], "multiplier", "prune"],
        "tanh": [*common[:4], "table", "hard", "prune"],
        "linear": common,
    }


def test_every_layer_is_there_with_its_place_kernel_and_parts():
    text = layers_to_yaml(vision())
    parts = "  weight: {}\n  bias: {}\n  input: {}\n  output: null\n"
    assert f"conv:  # Conv2D, kernel (3, 3, 3, 4), with norm (BatchNormalization)\n{parts}" in text
    assert "separable:  # SeparableConv2D, kernel (3, 3, 1, 8) and (1, 1, 8, 4)" in text
    assert "head/mean:  # AveragePooling2D\n  input: {}\n  output: null\n" in text
    assert "residual:  # Add\n" in text
    assert "head/flat" not in text


@pytest.mark.parametrize("name", ["null", "2", "a: b", "yes-no", "1e3"])
def test_names_that_yaml_would_misread_are_quoted(name):
    model = keras.Sequential([keras.Input((2,)), L.Dense(2, name="x")], name="m")
    model.layers[0].name = name
    assert list(layers_from_yaml(layers_to_yaml(model))) == [name]


def test_an_edited_file_changes_the_layers_it_names(tmp_path):
    file = tmp_path / "layers.yaml"
    model = keras.Sequential([keras.Input((4,)), L.Dense(3, name="a"), L.Dense(2, name="b")], name="m")
    text = layers_to_yaml(model).replace("a:  # Dense, kernel (4, 3)\n  weight: {}", "a:\n  weight: {bits: 3}")
    file.write_text(text.replace("prune: null", "prune: false"))
    settings = layers_from_yaml(file)
    assert settings["a"].weight == QuantizerSettings(bits=3)
    assert settings["b"].prune is False
    assert convert(model, FixedNumbers(), settings).layers[0].kq.config["b0"] == 2
    recipe = {"recipe": "fixed", "precisions": [{"total_bits": 6}], "prune": "dst"}
    for given in (settings, str(file)):
        a, b = weft.compress(model, {**recipe, "layers": given}).layers
        assert (a.kq.config["b0"], b.kq.config["b0"]) == (2, 5)


def test_problems_are_told_with_their_lines():
    text = "a:\n  weight: {bits: 99}\nb:\n  wieght: {}\n  prune: 3\nc: 4\n"
    with pytest.raises(ConfigError) as error:
        layers_from_yaml(text)
    lines = str(error.value).splitlines()
    assert lines[0].startswith("<text>:2: a.weight.bits: must be <= 24; got 99")
    assert lines[1].startswith("<text>:4: b.wieght: unknown key; did you mean 'weight'?")
    assert lines[2].startswith("<text>:5: b.prune: must be true or false or a mapping; got 3")
    assert lines[3].startswith("<text>:6: c: must be a mapping; got 4")
    with pytest.raises(ConfigError, match="<text>:1: must be a mapping from layers to their settings; got"):
        layers_from_yaml("- a\n- b\n")
    with pytest.raises(ConfigError, match=r"<text>:2: .*the key 'a' is already on line 1"):
        layers_from_yaml("a: {}\na: {}\n")
    with pytest.raises(ConfigError, match=r"cannot read the layers' settings from 'nowhere.yaml'"):
        layers_from_yaml("nowhere.yaml")


def test_the_command_writes_the_file_and_never_over_one(tmp_path):
    model, out = tmp_path / "model.keras", tmp_path / "layers.yaml"
    keras.Sequential([keras.Input((4,)), L.Dense(3, name="a")], name="m").save(model)

    def run(*arguments):
        return CliRunner().invoke(app, ["init-layers", str(model), *arguments])

    assert run("--out", str(out)).exit_code == 0
    assert layers_from_yaml(out) == {"a": LayerSettings()}
    again = run("--out", str(out))
    assert again.exit_code == 2
    assert f"will not write over {out}, which may have been edited" in again.stderr
    assert layers_from_yaml(run().stdout) == {"a": LayerSettings()}

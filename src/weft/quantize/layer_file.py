"""The settings of each layer of a model as YAML: written to be edited, and read back.

What is left as it was written follows the network's numbers and its pruning method.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from weft.config.document import DocumentError, parse
from weft.config.explain import explain
from weft.config.numbers import LayerSettings, QuantizerSettings
from weft.errors import ConfigError
from weft.section import got

_HEAD = """\
# What each layer of '{model}' does differently. As it stands, nothing: {{}} and null follow the network's numbers and
# its pruning method. A key may also be a pattern, such as 'encoder/*': a name goes before a pattern, a later one before
# an earlier. Use it as compress.layers of an experiment, or read it with weft.quantize.layers_from_yaml.
#
# weight, bias, input, output and table take any of
{keys}
#   such as  weight: {{bits: 6, granularity: channel}}
# output: null leaves what the layer gives exact.
# prune: false leaves the layer whole; {{sparsity: 0.5}} changes a parameter of the method.
# hard: true makes straight lines of tanh or sigmoid; multiplier: true lets ReLU learn a power of two to multiply with.
"""


def layers_to_yaml(model: Any) -> str:
    """Return the settings of every layer that can be quantised, with comments; `layers_from_yaml` reads them back.

    Raises:
        UnsupportedError: The model's graph is not known.
    """
    from weft.quantize.survey import Survey

    blocks = []
    for use in Survey(model).uses.values():
        if use.rule is not None and use.replaced:
            shapes = [str(axes.shape) for axes in use.rule.kernels(use.operation)]
            note = type(use.operation).__name__ + (f", kernel {' and '.join(shapes)}" if shapes else "")
            note += f", with {use.fused.name} ({type(use.fused).__name__})" if use.fused is not None else ""
            lines = [f"  {part}: {_UNCHANGED.get(part, '{}')}" for part in _ORDER if part in use.parts]
            blocks.append("\n".join([f"{_quoted(use.place)}:  # {note}", *lines]))
    fields = QuantizerSettings.model_fields.items()
    keys = "\n".join(f"#   {name}: {field.description}" for name, field in fields)
    return "\n".join([_HEAD.format(model=model.name, keys=keys), *blocks]) + "\n"


_ORDER = tuple(LayerSettings.model_fields)
_UNCHANGED = {"output": "null", "prune": "null", "hard": "false", "multiplier": "false"}


def layers_from_yaml(source: Path | str) -> dict[str, LayerSettings]:
    """Read the settings of layers from a YAML file, or from its text where that holds a line break.

    Raises:
        ConfigError: The file cannot be read, or has problems: one line for each, with its line number.
    """
    text, name = _text(source)
    try:
        document = parse(text)
    except DocumentError as error:
        raise ConfigError("\n".join(f"{name}:{line}: {message}" for line, message in error.found)) from error
    data = document.data or {}
    if not isinstance(data, dict):
        raise ConfigError(f"{name}:1: must be a mapping from layers to their settings; got {got(data)}")
    settings: dict[str, LayerSettings] = {}
    found: list[tuple[int, str]] = []
    for layer, given in data.items():
        given = {} if given is None else given
        try:
            settings[str(layer)] = LayerSettings.model_validate(given)
        except ValidationError as error:
            for path, message in explain(error, given, LayerSettings):
                place = (str(layer), *path)
                found.append((document.line(place), f"{'.'.join(map(str, place))}: {message}"))
    if found:
        raise ConfigError("\n".join(f"{name}:{line}: {message}" for line, message in sorted(found)))
    return settings


def _text(source: Path | str) -> tuple[str, str]:
    if isinstance(source, str) and "\n" in source:
        return source, "<text>"
    try:
        return Path(source).read_text("utf-8-sig"), str(source)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the layers' settings from '{source}': {error}") from error


def _quoted(key: str) -> str:
    """Return a key as YAML reads it back."""
    with suppress(DocumentError):
        if parse(f"{key}: 0").data == {key: 0}:
            return key
    return json.dumps(key)

"""What single layers do differently: a mapping from names or patterns to settings, or the YAML file that holds one.

The file is read when the configuration is checked, so that what a run stores does not depend on it. Problems in it are
told with its lines.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, cast

from pydantic import BeforeValidator, ValidationError, ValidationInfo

from weft.config.document import DocumentError, parse
from weft.config.explain import explain
from weft.config.numbers import LayerSettings
from weft.errors import ConfigError
from weft.section import got, refuse

BASE = "base"
"""The key of the validation context that holds the folder which relative paths start from."""


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
    data: Any = document.data or {}
    if not isinstance(data, dict):
        raise ConfigError(f"{name}:1: must be a mapping from layers to their settings; got {got(data)}")
    settings: dict[str, LayerSettings] = {}
    found: list[tuple[int, str]] = []
    for layer, given in cast(dict[Any, Any], data).items():
        given = cast(Any, {} if given is None else given)
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
        raise ConfigError(
            f"cannot read the layers' settings from '{source}': {error}; 'weft init-layers MODEL' writes such a file"
        ) from error


def _read(value: Any, info: ValidationInfo) -> Any:
    """Return a mapping as it is, and what a file holds for its path."""
    if not isinstance(value, str | Path):
        return value
    base = cast(dict[str, Path], info.context or {}).get(BASE, Path())
    try:
        return layers_from_yaml(base / os.path.expanduser(value))
    except ConfigError as error:
        refuse([((), line) for line in str(error).splitlines()])


Layers = Annotated[
    dict[str, LayerSettings], BeforeValidator(_read, json_schema_input_type=dict[str, LayerSettings] | str)
]
"""The settings of layers; for a path those in its file, which is relative to the YAML file or the working directory."""

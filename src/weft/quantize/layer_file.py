"""The settings of each layer of a model as YAML, written to be edited; `weft.config.layers` reads them back.

What is left as it was written follows the network's numbers and its pruning method.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

from weft.config.document import DocumentError, parse
from weft.config.numbers import LayerSettings, QuantizerSettings

_HEAD = """\
# What each layer of '{model}' does differently. As it stands, nothing: {{}} and null follow the network's numbers and
# its pruning method. A key may also be a pattern, such as 'encoder/*': a name goes before a pattern, a later one before
# an earlier. A recipe takes it by its path, as in  compress: {{recipe: dst, layers: layers.yaml}}
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


def _quoted(key: str) -> str:
    """Return a key as YAML reads it back."""
    with suppress(DocumentError):
        if parse(f"{key}: 0").data == {key: 0}:
            return key
    return json.dumps(key)

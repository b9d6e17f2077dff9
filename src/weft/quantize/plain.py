"""From weft's quantised model to one of HGQ2 and Keras layers only, which loads where weft is not installed."""

from __future__ import annotations

import re
from typing import Any

import keras
import numpy as np

from weft.quantize.fixed import FixedPointConfig

_NUMBER = re.compile(r"(fixed_point_quantizer_(?:kbi|kif))_\d+")


def plain(model: keras.Model) -> keras.Model:
    """Return a model that computes the same in inference, in which nothing is weft's; `model` is not changed.

    Quantisers of `weft.quantize.fixed` become HGQ2's, and layers that have a method `plain` what that returns. Ranges
    have to be final: those that follow the data, and saturate, can no longer be calibrated after it.

    Args:
        model: A quantised model, whose ranges are calibrated and whose kernels no method prunes any more.

    Raises:
        UnsupportedError: A quantiser has no counterpart in HGQ2; the message's note names the layer.
    """
    new = keras.models.clone_model(model, clone_function=_plain_layer, recursive=True)
    values = {_path(v): np.array(keras.ops.convert_to_numpy(v)) for v in model.variables}  # a copy: JAX shares buffers
    for variable in new.variables:
        if _path(variable) in values:  # HGQ2's wrapping quantisers have a speed that held ones do without
            variable.assign(values[_path(variable)])
    return new


def _plain_layer(layer: Any) -> Any:
    try:
        return layer.plain() if hasattr(layer, "plain") else type(layer).from_config(_plain_config(layer.get_config()))
    except Exception as error:
        error.add_note(f"in layer '{layer.name}'")
        raise


def _plain_config(config: Any) -> Any:
    if isinstance(config, FixedPointConfig):
        return config.plain()
    if isinstance(config, dict):
        if config.get("registered_name") == "weft>FixedPointConfig":
            inside = keras.saving.deserialize_keras_object(config)
            return keras.saving.serialize_keras_object(inside.plain())
        return {key: _plain_config(value) for key, value in config.items()}
    if isinstance(config, list | tuple):
        return type(config)(_plain_config(item) for item in config)
    return config


def _path(variable: Any) -> str:
    return _NUMBER.sub(r"\1", variable.path)

"""Quantisers that can be switched off: a network trains in float first, and is quantised later, in the same graph.

`switched` returns a model in which every quantiser has a variable `on` around it. Where that is 0 the quantiser gives
what it is given; the variable is part of every checkpoint, and nothing is compiled anew when it changes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from hgq.quantizer import QuantizerConfig
from hgq.quantizer.internal import TrainableQuantizerBase
from keras import ops

from weft.quantize.pruned import _Around, _AroundConfig, _read

_QUANTIZERS = ("hgq>QuantizerConfig", "weft>FixedPointConfig", "weft>HeldConfig")


@keras.saving.register_keras_serializable(package="weft")
class SwitchedConfig(_AroundConfig):
    """A quantiser's configuration with a switch around it.

    Args:
        quantizer: The configuration of the quantiser inside.
    """

    def get_quantizer(self) -> Switched:
        return Switched(self)


class Switched(_Around):
    """A quantiser that gives what it is given while `on` is 0.

    Its widths are those of the quantiser inside, on or off.
    """

    def build(self, shape: Any) -> None:
        self.inside.build(shape)
        self.on = self.add_weight(name="on", shape=(), initializer="ones", trainable=False)
        TrainableQuantizerBase.build(self, shape)

    def _left(self, bits: Any) -> Any:
        return bits

    def call(self, inputs: Any, training: Any = None) -> Any:
        return ops.where(_read(self.on) > 0, self.inside.call(inputs, training=training), inputs)

    def __repr__(self) -> str:
        return f"Switched({self.inside!r})"


def switched(model: keras.Model) -> keras.Model:
    """Return a copy of a quantised model whose quantisers can be switched off; they are on. `model` stays as it is."""
    new = keras.models.clone_model(model, clone_function=_switched_layer, recursive=True)
    made = [v for v in new.variables if not v.path.endswith("/on")]
    for variable, value in zip(made, model.variables, strict=True):
        variable.assign(np.array(keras.ops.convert_to_numpy(value)))
    return new


def turn(model: keras.Model, on: bool) -> None:
    """Switch all quantisers of a model that has switches on or off."""
    for switch in switches(model):
        switch.on.assign(float(on))


def switches(model: keras.Model) -> Iterator[Switched]:
    """Yield the switches of a model."""
    return (layer for layer in _inside(model) if isinstance(layer, Switched))


def _inside(layer: Any) -> Iterator[Any]:
    for one in layer._layers:
        yield one
        yield from _inside(one)


def _switched_layer(layer: Any) -> Any:
    return type(layer).from_config(_with_switch(layer.get_config()))


def _with_switch(config: Any) -> Any:
    """Return a layer's configuration in which every quantiser has a switch around it."""
    if isinstance(config, QuantizerConfig):
        return keras.saving.deserialize_keras_object(_with_switch(keras.saving.serialize_keras_object(config)))
    if isinstance(config, dict):
        if config.get("registered_name") in _QUANTIZERS:
            return config if config["config"]["q_type"] == "dummy" else _around(config)
        return {key: _with_switch(value) for key, value in config.items()}
    if isinstance(config, list | tuple):
        return type(config)(_with_switch(item) for item in config)
    return config


def _around(config: dict[str, Any]) -> dict[str, Any]:
    return keras.saving.serialize_keras_object(SwitchedConfig(keras.saving.deserialize_keras_object(config)))

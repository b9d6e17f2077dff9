"""From weft's quantised model to one of HGQ2 and Keras layers only, which loads where weft is not installed.

Kernels and biases become the numbers that hardware multiplies and adds: rounded, masked, a fused batch normalisation
part of them. Quantising them once more changes nothing, and quantisers follow no data any more.
"""

from __future__ import annotations

import re
from typing import Any

import hgq.layers as hgq
import keras
from hgq.quantizer import QuantizerConfig

from weft.quantize.counterparts._base import array
from weft.quantize.counterparts.normalization import DENSE_EQUATION
from weft.quantize.fixed import FixedPointConfig
from weft.quantize.held import HeldConfig
from weft.quantize.kernels import kernels
from weft.quantize.operations import is_pure

_AROUND = ("weft>PrunedConfig", "weft>MaskedConfig", "weft>SwitchedConfig")
_QUANTIZERS = ("weft>FixedPointConfig", "weft>HeldConfig", "hgq>QuantizerConfig")
_FUSED = (hgq.QEinsumDenseBatchnorm, hgq.QBatchNormDense)


def plain(model: keras.Model) -> keras.Model:
    """Return a model that computes the same in inference, in which nothing is weft's; `model` is not changed.

    Quantisers of `weft.quantize.fixed` become HGQ2's, layers that have a method `plain` what that returns, and a dense
    layer with batch normalisation a dense layer. In training none of its numbers moves by itself: ranges stay, and the
    statistics of batch normalisation do. (HGQ2's momentary EBOPs are no part of the network.)

    Args:
        model: A quantised model whose ranges are calibrated and hold its weights, and whose masks are fixed.

    Raises:
        UnsupportedError: A quantiser has no counterpart in HGQ2; the message's note names the layer.
    """
    return Plain(model).filled(multiplied(model))


class Plain:
    """A model and its `plain` one, to be filled with what the first holds, once or as often as that changes.

    Args:
        model: As of `plain`; its ranges and weights matter only when the other is filled.

    Raises:
        UnsupportedError: As of `plain`.
    """

    def __init__(self, model: keras.Model) -> None:
        self._model = model
        self._pairs: list[tuple[Any, Any]] = []

        def made(layer: Any) -> Any:
            if is_pure(layer):
                return layer
            self._pairs.append((layer, _plain_layer(layer)))
            return self._pairs[-1][1]

        self._new = keras.models.clone_model(model, clone_function=made, recursive=True)

    def filled(self, numbers: list[tuple[Any, Any]]) -> keras.Model:
        """Return the plain model, always the same, with the first one's state and its `multiplied` numbers."""
        for old, its in self._pairs:
            values = _by_place(old)
            for place, variables in _by_place(its).items():
                if place.endswith("i_decay_speed"):  # of HGQ2's wrapping quantisers; held ones do without
                    continue
                for variable, value in zip(variables, values[place], strict=True):
                    variable.assign(array(value))
        for mine, (kernel, bias) in zip(kernels(self._new), numbers, strict=True):
            mine.variable.assign(array(kernel))
            if bias is not None:
                mine.layer.bias.assign(array(bias))
        return self._new


def multiplied(model: keras.Model) -> list[tuple[Any, Any]]:
    """Return of each of `kernels(model)` what hardware multiplies with and adds: tensors; the bias is None without."""
    return [(kernel.read(), kernel.layer.qbias if _has_bias(kernel.layer) else None) for kernel in kernels(model)]


def _has_bias(layer: Any) -> bool:
    return getattr(layer, "bq", None) is not None and hasattr(layer, "qbias")


def _by_place(layer: Any) -> dict[str, list[Any]]:
    """Return the variables of a layer by their path in it, without wrappers and the numbers that Keras gives."""
    found: dict[str, list[Any]] = {}
    for variable in getattr(layer, "variables", ()):  # a pure operation has none
        place = plain_path(variable).removeprefix(f"{layer.path}/")
        found.setdefault(re.sub(r"_\d+(?=[/_]|$)", "", place), []).append(variable)
    return found


def plain_path(variable: keras.Variable) -> str:
    """Return a variable's path without the wrapper of a method and the numbers that Keras gives to quantisers."""
    path = re.sub(r"(?:pruned|masked|switched)(?:_\d+)?/", "", variable.path)
    return re.sub(r"(fixed_point_quantizer_(?:kbi|kif))_\d+", r"\1", path)


def _plain_layer(layer: Any) -> Any:
    try:
        made = layer.plain() if hasattr(layer, "plain") else layer
        kind, config = type(made), _plain_config(made.get_config())
        if isinstance(made, _FUSED):
            kind, config = _without_normalization(made, config)
        elif isinstance(made, hgq.QBatchNormalization):
            config["momentum"] = 1.0
        return kind.from_config(config)
    except Exception as error:
        error.add_note(f"in layer '{layer.name}'")
        raise


def _without_normalization(layer: Any, config: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return the class and the configuration of the dense layer that computes what one with normalisation does."""
    if isinstance(layer, hgq.QEinsumDenseBatchnorm) and layer.equation != DENSE_EQUATION:
        return hgq.QEinsumDense, config
    known = hgq.QDense(1).get_config()
    dense = config | {"units": layer.kernel.shape[-1], "use_bias": True}
    return hgq.QDense, {name: value for name, value in dense.items() if name in known}


def _plain_config(config: Any) -> Any:
    if type(config) in (QuantizerConfig, FixedPointConfig, HeldConfig):
        return _held(config)
    if isinstance(config, dict):
        if config.get("registered_name") in _AROUND:
            return _plain_config(config["config"]["quantizer"])
        if config.get("registered_name") in _QUANTIZERS:
            return keras.saving.serialize_keras_object(_held(keras.saving.deserialize_keras_object(config)))
        return {key: _plain_config(value) for key, value in config.items()}
    if isinstance(config, list | tuple):
        return type(config)(_plain_config(item) for item in config)
    return config


def _held(config: QuantizerConfig) -> QuantizerConfig:
    """Return the configuration of a quantiser of HGQ2 whose range stays: its wrapping ones move it while they train."""
    plain = config.plain() if isinstance(config, FixedPointConfig | HeldConfig) else config
    held = {} if plain.q_type == "dummy" else {"trainable": False}
    return QuantizerConfig(**{**plain.get_config(), **held})

"""Layers that need no counterpart: they are copied with all their state, and quantised ones can be given a method."""

from __future__ import annotations

from typing import Any

import keras

from weft.quantize.attention import QMultiHeadAttention
from weft.quantize.counterparts._base import Axes, Kit, Made, array
from weft.quantize.operations import is_keras, is_pure, is_quantized, name_of
from weft.quantize.pruned import Masked, MaskedConfig, Pruned, PrunedConfig


def copied(layer: Any) -> Made:
    """Make a layer of the same class, configuration and state; an operation, or a user's function, is used as it is."""
    known = (is_keras(layer) or is_quantized(layer)) and not isinstance(layer, keras.layers.Lambda)
    if is_pure(layer) or not (known or layer.variables):
        return Made([layer])
    new = layer.__class__.from_config(layer.get_config())
    return Made([new], lambda: _copy(layer, new))


def with_method(layer: Any, kit: Kit, kernels: list[Axes]) -> Made:
    """Make a copy of a quantised layer, with a pruning method around the quantisers of its kernels."""
    config = layer.get_config()
    around: dict[str, Axes] = dict(zip(("kq_conf", "rkq_conf"), kernels, strict=False))
    kind = layer.__class__
    if name_of(layer) == "MultiHeadAttention" and kind is not QMultiHeadAttention:
        kind, around = QMultiHeadAttention, {"qkvo_kq_conf": kernels[0], "output_kq_conf": kernels[-1]}
        config["output_kq_conf"] = config["qkvo_kq_conf"]
    for name, axes in around.items():
        inside = keras.saving.deserialize_keras_object(config[name]) if config.get(name) else None
        if inside is not None and not isinstance(inside, PrunedConfig):
            config[name] = keras.saving.serialize_keras_object(kit.pruned(inside, axes.outputs, axes.n_taps))
    for name in ("bq_conf", "qkvo_bq_conf"):
        inside = keras.saving.deserialize_keras_object(config[name]) if config.get(name) else None
        if (
            inside is not None
            and kit.method is not None
            and kit.method.structured
            and not isinstance(inside, MaskedConfig)
        ):
            config[name] = keras.saving.serialize_keras_object(MaskedConfig(inside))
    new = kind.from_config(config)
    return Made([new], lambda: _copy(layer, new))


def _copy(old: Any, new: Any) -> None:
    """Copy the state of a layer and of the layers in it; a method around a quantiser begins anew."""
    if isinstance(new, Pruned | Masked) and type(new) is not type(old):
        new = new.inside
    for mine, yours in zip(_own(old), _own(new), strict=True):
        yours.assign(array(mine))
    for mine, yours in zip(old._layers, new._layers, strict=True):
        _copy(mine, yours)


def _own(layer: Any) -> list[keras.Variable]:
    variables = [*layer._trainable_variables, *layer._non_trainable_variables]
    return [*variables, *(generator.state for generator in layer._seed_generators)]

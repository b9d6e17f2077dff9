"""Finalise: fix masks, bake them, freeze ranges, and leave a plain HGQ2 model that firmware can be made of.

The result needs neither weft nor the training: any Keras with HGQ2 loads it and computes the same numbers. None of its
variables is trainable any more, so no training changes it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from weft.errors import ShapeError, UnsupportedError

if TYPE_CHECKING:
    import keras


def finalize(model: keras.Model, x: np.ndarray | None = None) -> keras.Model:
    """Return the model as hardware will compute it; `model` is not changed.

    A pruning method that is still at work is ended: its masks are fixed as they are.

    Args:
        model: A quantised model, masked or not.
        x: Rows for calibrating ranges, (n, ...) float32: training and validation, never test; None keeps the ranges
            that the model has.

    Raises:
        UnsupportedError: The model is a float model, which has no fixed-point form of its own.
    """
    from weft.quantize.calibrate import calibrate
    from weft.quantize.kernels import kernels

    if not kernels(model):
        raise UnsupportedError(
            f"'{model.name}' is a float model: it has no bits to freeze; make a quantised one with weft.compress, by "
            "recipe 'fixed' or 'hgq', or search with space.quantization.mode fixed or hgq"
        )
    plain = without_methods(model)
    if x is not None:
        calibrate(plain, x)
    plain.trainable = False
    return plain


def without_methods(model: keras.Model) -> keras.Model:
    """Return a copy of a model without pruning methods: their masks are part of the kernels."""
    import keras

    from weft.compression.stages import PRETRAIN, TRAIN
    from weft.quantize.kernels import kernels
    from weft.quantize.pruned import own_variables

    plain = keras.models.clone_model(model, clone_function=_plain_layer, recursive=True)
    own = {id(variable) for variable in own_variables(model)}
    rest = [variable for variable in model.variables if id(variable) not in own]
    for new, old in zip(plain.variables, rest, strict=True):  # by place: attention names its softmax anew each time
        new.assign(keras.ops.convert_to_numpy(old))
    for old, new in zip(kernels(model), kernels(plain), strict=True):
        pruned = old.pruned
        if pruned is None:
            continue
        stage = int(keras.ops.convert_to_numpy(pruned.stage))
        if stage == PRETRAIN:
            continue
        factor = keras.ops.convert_to_numpy(pruned.mask)
        if stage == TRAIN:
            seen = old.seen()
            w, mask = pruned.method.harden(pruned.matrix(seen), pruned.state(), pruned.clock())
            hard = keras.ops.convert_to_numpy(pruned.kernel(w * mask))
            factor = np.divide(hard, seen, out=np.zeros_like(seen), where=seen != 0)
        new.variable.assign(keras.ops.convert_to_numpy(new.variable) * factor)
        _bury_biases(old.layer, new.layer)
    return plain


def _bury_biases(old: Any, new: Any) -> None:
    """Take the biases of dead outputs away, with what a fused batch normalisation adds to them."""
    import keras

    from weft.quantize.pruned import Masked

    masked = getattr(getattr(old, "bq", None), "quantizer", None)
    if not isinstance(masked, Masked):
        return
    bias = keras.ops.convert_to_numpy(old.bias)
    with keras.StatelessScope([(old.bias, keras.ops.zeros_like(bias))]), masked.recording() as seen:
        old.qbias  # noqa: B018 - what reaches the quantiser beside the bias is recorded
    added = keras.ops.convert_to_numpy(keras.ops.stop_gradient(seen[-1]))
    new.bias.assign(np.where(keras.ops.convert_to_numpy(masked.alive) != 0, bias, -added))


def _plain_layer(layer: Any) -> Any:
    return layer.__class__.from_config(_without_pruned(layer.get_config()))


def _without_pruned(config: Any) -> Any:
    """Return a serialised configuration in which every `PrunedConfig` or `MaskedConfig` is what it holds inside."""
    if isinstance(config, dict):
        if config.get("registered_name") in ("weft>PrunedConfig", "weft>MaskedConfig"):
            return _without_pruned(config["config"]["quantizer"])
        return {key: _without_pruned(value) for key, value in config.items()}
    if isinstance(config, list | tuple):
        return type(config)(_without_pruned(item) for item in config)
    return config


def variables_of(model: keras.Model) -> dict[str, np.ndarray]:
    """Return all variables of a model by path, free of the names that a mask or Keras' counters give them."""
    import keras

    return {plain_path(v): np.array(keras.ops.convert_to_numpy(v)) for v in model.variables}


def assign(model: keras.Model, values: Mapping[str, np.ndarray]) -> None:
    """Set the variables of a model from `variables_of` one of the same layers.

    Raises:
        ShapeError: A variable is missing.
    """
    for variable in model.variables:
        path = plain_path(variable)
        if path not in values:
            raise ShapeError(f"no value for variable '{path}' of '{model.name}' among those given")
        variable.assign(values[path])


def plain_path(variable: keras.Variable) -> str:
    """Return a variable's path without the wrapper of a method and the numbers that Keras gives to quantisers."""
    path = re.sub(r"(?:pruned|masked)(?:_\d+)?/", "", variable.path)
    return re.sub(r"(fixed_point_quantizer_(?:kbi|kif))_\d+", r"\1", path)

"""Finalise: bake masks, freeze ranges, and leave a plain HGQ2 model that firmware can be made of.

The result needs neither weft nor the training: any Keras with HGQ2 loads it and computes the same numbers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from weft.compress.quantize.calibrate import calibrate
from weft.errors import ShapeError, UnsupportedError
from weft.space.architecture import FloatNumbers
from weft.space.model import build

if TYPE_CHECKING:
    import keras

    from weft.space.architecture import Architecture


def finalize(model: keras.Model, architecture: Architecture, x: np.ndarray) -> keras.Model:
    """Return the model as hardware will compute it.

    Args:
        model: A trained model of `architecture`, masked or not; it is not changed.
        architecture: What it was built from, in fixed or HGQ numbers.
        x: Rows for calibrating ranges, (n, ...) float32: training and validation, never test.

    Raises:
        UnsupportedError: The model is a float model, which has no fixed-point form of its own.
    """
    if isinstance(architecture.numbers, FloatNumbers):
        raise UnsupportedError(
            "a float model has no bits to freeze; compress it with recipe 'fixed' or 'hgq', "
            "or search with space.quantization.mode fixed or hgq"
        )
    plain = restore(architecture, variables_of(model))
    calibrate(plain, x)
    return plain


def variables_of(model: keras.Model) -> dict[str, np.ndarray]:
    """Return all variables of a model by path, free of the names that a mask or Keras' counters give them."""
    return {_plain_path(v): np.array(v.value) for v in model.variables}


def restore(architecture: Architecture, values: Mapping[str, np.ndarray]) -> keras.Model:
    """Build the plain model of an architecture with `variables_of` another; masks are baked into the kernels.

    Raises:
        ShapeError: A variable is missing.
    """
    plain = build(architecture)
    for variable in plain.variables:
        path = _plain_path(variable)
        if path not in values:
            raise ShapeError(f"no value for variable '{path}' of {architecture.describe()} among those given")
        variable.assign(values[path])
    for layer in plain.layers:
        mask = values.get(f"{layer.name}/mask")
        if mask is not None:
            layer._kernel.assign(np.array(layer._kernel.value) * mask)
    return plain


def _plain_path(variable: keras.Variable) -> str:
    """Return a variable's path without the mask's wrapper and without the numbers that Keras gives to quantisers."""
    path = re.sub(r"[^/]+_kq_pruned/", "", variable.path)
    return re.sub(r"(fixed_point_quantizer_(?:kbi|kif))_\d+", r"\1", path)

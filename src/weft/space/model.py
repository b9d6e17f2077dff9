"""From an architecture to a Keras model, and weights between models of one architecture in different numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from weft.blocks._layers import dense, flatten
from weft.config.numbers import FloatNumbers
from weft.errors import ShapeError
from weft.quantize.kernels import pruned_kernels

if TYPE_CHECKING:
    import keras

    from weft.space.architecture import Architecture

Weights = dict[str, np.ndarray]
"""Weights by `layer/role`; the roles are kernel, bias, gamma, mean and variance."""

OUTPUT_NAME = "output"


def build(architecture: Architecture, seed: int = 0) -> keras.Model:
    """Build the model of an architecture: input (n, *input_shape), output logits (n, n_outputs).

    The last layer is linear. Softmax or sigmoid belong to the loss, never to the network: they do not change which
    class is largest, and tables for them cost more logic than the layer before.

    Args:
        architecture: What to build.
        seed: Of the initial weights and of dropout.
    """
    import keras

    keras.backend.clear_session(free_memory=False)  # collecting garbage takes longer than building
    keras.utils.set_random_seed(seed)
    inputs = keras.Input(architecture.input_shape, name="features")
    x = inputs
    for i, genes in enumerate(architecture.blocks):
        x = genes.fitted(tuple(x.shape[1:])).build(x, f"block{i}")  # behind a block of unknown shape it is known here
    x = flatten(x, f"{OUTPUT_NAME}_flatten")
    outputs = dense(x, architecture.n_outputs, "none", "none", OUTPUT_NAME)
    model = keras.Model(inputs, outputs, name="weft")
    method = None if architecture.pruning is None else architecture.pruning.made()
    if method is None and isinstance(architecture.numbers, FloatNumbers):
        return model
    from weft.quantize.convert import convert

    return convert(model, architecture.numbers, method=method)


def export_weights(model: keras.Model) -> Weights:
    """Return the float weights of all layers, independent of the number representation, without those that are pruned.

    The role `variance` includes the epsilon of the layer it comes from, which differs between Keras' batch
    normalisation and HGQ2's fused layer.
    """
    roles = _roles(model)
    weights = {name: np.array(variable.value) for name, variable in roles.items()}
    masks = {id(kernel.variable): np.array(kernel.pruned.mask.value) for kernel in pruned_kernels(model)}
    weights |= {name: weights[name] * masks[id(variable)] for name, variable in roles.items() if id(variable) in masks}
    return {name: w + _epsilon(model, name) if name.endswith("/variance") else w for name, w in weights.items()}


def import_weights(model: keras.Model, weights: Mapping[str, np.ndarray]) -> None:
    """Set the weights of a model from `export_weights` of a model of the same network.

    Raises:
        ShapeError: A layer is missing, or has another shape.
    """
    for name, variable in _roles(model).items():
        if name not in weights:
            raise ShapeError(f"no weight for '{name}' among those given ({', '.join(sorted(weights))})")
        value = weights[name]
        if value.size == variable.value.size and value.squeeze().shape == np.squeeze(variable.value).shape:
            value = value.reshape(variable.shape)  # a depthwise kernel has its axis of length 1 elsewhere in HGQ2
        if value.shape != tuple(variable.shape):
            raise ShapeError(f"weight '{name}' has shape {value.shape}, the model wants {tuple(variable.shape)}")
        variable.assign(value - _epsilon(model, name) if name.endswith("/variance") else value)


def inherit_weights(model: keras.Model, weights: Mapping[str, np.ndarray]) -> list[str]:
    """Set what a model shares with `export_weights` of another network: of layers of one name, the leading slices.

    What lies beyond the other's shape keeps its value, and so does a weight that the other has not, or has with another
    number of axes.

    Returns:
        The names of the weights that were set, all or in part.
    """
    found = []
    for name, variable in _roles(model).items():
        if name not in weights or weights[name].ndim != len(variable.shape):
            continue
        given, value = weights[name], np.array(variable.value)
        shared = tuple(slice(0, min(sizes)) for sizes in zip(given.shape, value.shape, strict=True))
        value[shared] = given[shared] - (_epsilon(model, name) if name.endswith("/variance") else 0.0)
        variable.assign(value)
        found.append(name)
    return found


def _epsilon(model: keras.Model, name: str) -> float:
    import keras

    layer = name.removesuffix("/variance")
    plain = [one for one in model.layers if one.name == f"{layer}_bn"]
    return plain[0].epsilon if plain else keras.backend.epsilon()


_ROLES = {"beta": "bias", "moving_mean": "mean", "moving_variance": "variance", "bn_gamma": "gamma"}
"""What the variables of a batch normalisation are called here, on its own or fused into the layer before."""

_WEIGHTS = ("kernel", "recurrent_kernel", "bias", "gamma", *_ROLES)


def _roles(model: keras.Model) -> dict[str, keras.Variable]:
    """Return the weights of a model by role: the layer's name and what Keras calls them inside."""
    import keras

    roles: dict[str, keras.Variable] = {}
    for layer in model.layers:
        normalizes = isinstance(layer, keras.layers.BatchNormalization)
        name = layer.name.removesuffix("_bn") if normalizes else layer.name
        for variable in layer.variables:
            *inside, last = variable.path.removeprefix(f"{layer.name}/").split("/")
            learns_widths = any("quantizer" in part for part in inside) or (last == "beta" and not normalizes)
            if last in _WEIGHTS and not learns_widths:
                role = "/".join([name, *map(_place, inside), _ROLES.get(last, last)])
                while role in roles:  # the second of several parts that Keras only tells apart by a counter
                    role += "+"
                roles[role] = variable
    return roles


def _place(part: str) -> str:
    """Return the name of a part of a layer, without what differs between HGQ2's and Keras', or from model to model."""
    return re.sub(r"_\d+$", "", part.removeprefix("q") if part.endswith("_cell") else part)

"""Finalise: fix masks, bake them and the bits, freeze ranges, and leave a plain HGQ2 model that firmware is made of.

What holds of the result:

- It computes what the model computed: kernels and biases are the numbers that hardware multiplies and adds, with masks
  and batch normalisation in them, and what no output depends on is 0 (`weft.quantize.dead`).
- It refuses to train, in memory and after reloading (`weft.compression.finalized`).
- Its file is one of Keras and HGQ2 only: where weft is not installed it loads and computes the same. There it is an
  ordinary model without trainable variables, whose numbers no call of `fit` moves. (A SimpleRNN's file needs weft: HGQ2
  0.2 does not write that its state has a quantiser.)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from weft.errors import ShapeError, UnsupportedError

if TYPE_CHECKING:
    import keras


def finalize(model: keras.Model, x: np.ndarray | None = None) -> keras.Model:
    """Return the model as hardware will compute it; `model` is not changed.

    A pruning method that is still at work is ended: its masks are fixed as they are.

    Args:
        model: A quantised model, masked or not; also as the `nn.Module` of a PyTorch loop.
        x: Rows for calibrating ranges, (n, ...) float32: training and validation, never test; None keeps the ranges
            that activations have, and widens those of weights that have outgrown theirs.

    Raises:
        UnsupportedError: The model is a float model, which has no fixed-point form of its own; it has a quantiser that
            hardware cannot have; or its graph is hidden in a call function of its own.
    """
    from weft.quantize.calibrate import calibrate, cover_weights
    from weft.quantize.graph import graph_of
    from weft.quantize.kernels import kernels
    from weft.quantize.plain import plain
    from weft.quantize.switch import turn
    from weft.torch_loop import keras_model

    model = keras_model(model)
    graph_of(model)
    if not kernels(model):
        raise UnsupportedError(
            f"'{model.name}' is a float model: it has no bits to freeze; make a quantised one with weft.compress, by "
            "recipe 'fixed' or 'hgq', or search with space.quantization.mode fixed or hgq"
        )
    with _as_it_was(model):
        turn(model, on=True)
        _end_methods(model)
        if x is None:
            cover_weights(model)
        else:
            calibrate(model, x)
        made = plain(model)
    return frozen(made)


def frozen(model: keras.Model) -> keras.Model:
    """Return a model of HGQ2 and Keras layers with fixed ranges as a finalised one; it takes over the layers.

    What no output depends on becomes 0.
    """
    from weft.compression.finalized import Finalized
    from weft.quantize.dead import remove_dead
    from weft.quantize.graph import graph_of

    model.trainable = False
    remove_dead(model)
    graph = graph_of(model)
    return Finalized(graph._inputs_struct, graph._outputs_struct, name=model.name)


@contextmanager
def _as_it_was(model: keras.Model) -> Iterator[None]:
    """Give all variables of a model the values back that they have now."""
    import keras

    before = [(v, np.array(keras.ops.convert_to_numpy(v))) for v in model.variables]
    try:
        yield
    finally:
        for variable, value in before:
            variable.assign(value)


def _end_methods(model: keras.Model) -> None:
    """Fix the masks of all methods that are still at work, and the biases that go with them."""
    import keras

    from weft.compression.stages import TRAIN
    from weft.quantize.kernels import pruned_kernels
    from weft.quantize.observe import observe

    working = [k for k in pruned_kernels(model) if int(keras.ops.convert_to_numpy(k.pruned.stage)) == TRAIN]
    if working:
        observe(model)  # biases follow
    for kernel, seen in [(kernel, kernel.seen()) for kernel in working]:
        kernel.harden(seen)


def variables_of(model: keras.Model) -> dict[str, np.ndarray]:
    """Return all variables of a model by path, free of the names that a mask or Keras' counters give them."""
    import keras

    from weft.quantize.plain import plain_path

    return {plain_path(v): np.array(keras.ops.convert_to_numpy(v)) for v in model.variables}


def assign(model: keras.Model, values: Mapping[str, np.ndarray]) -> None:
    """Set the variables of a model from `variables_of` one of the same layers.

    Raises:
        ShapeError: A variable is missing.
    """
    from weft.quantize.plain import plain_path

    for variable in model.variables:
        path = plain_path(variable)
        if path not in values:
            raise ShapeError(f"no value for variable '{path}' of '{model.name}' among those given")
        variable.assign(values[path])

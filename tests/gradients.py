"""Gradients on whichever backend Keras runs, for tests that must hold on all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np


def gradient(f: Callable[..., Any], *arrays: np.ndarray) -> list[np.ndarray]:
    """Return the gradient of the scalar `f(*tensors)` with respect to each array, as NumPy arrays."""
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        found = jax.grad(f, argnums=tuple(range(len(arrays))))(*(jax.numpy.asarray(a) for a in arrays))
        return [np.asarray(g) for g in found]
    if backend == "torch":
        import torch

        tensors = [torch.tensor(a, requires_grad=True) for a in arrays]
        f(*tensors).backward()
        return [np.zeros_like(a) if t.grad is None else t.grad.numpy() for a, t in zip(arrays, tensors, strict=True)]
    import tensorflow as tf

    tensors = [tf.constant(a) for a in arrays]
    with tf.GradientTape() as tape:
        for tensor in tensors:
            tape.watch(tensor)
        value = f(*tensors)
    found = tape.gradient(value, tensors)
    return [np.zeros_like(a) if g is None else np.asarray(g) for a, g in zip(arrays, found, strict=True)]

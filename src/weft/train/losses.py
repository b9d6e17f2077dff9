"""Losses by name, and the L1 penalty. Networks end in logits, so every loss takes logits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from weft import ops
from weft.config.training import LOSSES_OF_TASK
from weft.errors import ConfigError
from weft.types import Task, Tensor

if TYPE_CHECKING:
    import keras

Penalty = Callable[[Mapping[str, Tensor]], Tensor]
"""Takes the trainable variables by path, returns a scalar that is added to the loss."""


def loss_for(name: str, task: Task) -> keras.losses.Loss:
    """Return the Keras loss of a name (`auto` takes the task's usual one); targets are (n,) or (n, k), outputs (n, k).

    Raises:
        ConfigError: The loss does not fit the task.
    """
    import keras

    known = LOSSES_OF_TASK[task]
    name = known[0] if name == "auto" else name
    if name not in known:
        raise ConfigError(
            f"loss '{name}' was asked for a {task} task, which it does not fit; use {' or '.join(known)}, or auto"
        )
    makers: dict[str, Callable[[], Any]] = {
        "cross_entropy": lambda: keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        "bce": lambda: keras.losses.BinaryCrossentropy(from_logits=True),
        "mse": keras.losses.MeanSquaredError,
        "huber": keras.losses.Huber,
    }
    return makers[name]()


def targets(y: np.ndarray, task: Task) -> np.ndarray:
    """Shape the targets (n,) or (n, k) as the task's loss wants them: int32 (n,), or float32 (n, k)."""
    if task == "classification":
        return y.astype(np.int32)
    return np.reshape(y, (len(y), -1)).astype(np.float32)


def l1_penalty(factor: float) -> Penalty | None:
    """Return `factor * sum |w|` over all kernels, whose gradient at 0 is 0, so that a pruned weight stays pruned.

    JAX differentiates |w| at 0 to 1; `w * sign(w)` with the sign held constant gives the sub-gradient wanted here.
    """
    if factor == 0.0:
        return None

    def penalty(variables: Mapping[str, Tensor]) -> Tensor:
        kernels = [value for path, value in variables.items() if path.endswith("/kernel")]
        return factor * sum(ops.sum(kernel * ops.stop_gradient(ops.sign(kernel))) for kernel in kernels)

    return penalty

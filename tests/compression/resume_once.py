"""Compress a small network by one recipe, with a checkpoint; a test kills this process on its way."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tests.conftest import blobs
from weft.compression.api import compress, fit
from weft.compression.finalize import variables_of
from weft.train.fit import Plan

_PLAN = {
    "recipe": "fixed", "pretrain_epochs": 1, "epochs": 2, "finetune_epochs": 3, "batch_size": 32,
    "learning_rate": 0.01, "precisions": [{"total_bits": 5}],
}  # fmt: skip
RECIPES: dict[str, dict[str, Any]] = {
    "distillation": {**_PLAN, "distil": {"features": ["hidden"]}, "prune": "dst"},
    "low rank": {**_PLAN, "low_rank": {"energy": 0.8}, "prune": {"method": "pdp", "sparsity": 0.5}},
    "ap, quantised late": {**_PLAN, "quantize_from": "train", "prune": {"method": "ap", "t_start": 2, "t_delta": 3}},
    "mdmm, stopped early": {**_PLAN, "early_stopping": {"patience": 1, "min_delta": 0.9}, "prune": "mdmm"},
}
EPOCHS = {name: 5 if "early_stopping" in recipe else 6 for name, recipe in RECIPES.items()}
"""How many are trained: the last of a training that stops early brings nothing."""


def train(name: str, directory: Path | None, after_epoch: Callable[[int], None] = lambda done: None) -> dict[str, Any]:
    """Return all variables and the log of the training; `after_epoch` gets the number of finished epochs."""
    keras.utils.set_random_seed(1)
    layers = [keras.layers.Dense(8, activation="relu", name="hidden"), keras.layers.Dense(3, name="out")]
    x, y = blobs(120)
    model = compress(keras.Sequential([keras.Input((6,)), *layers], name="small"), RECIPES[name], x)
    history = fit(model, (x, y), directory=directory, progress=lambda done, *_: after_epoch(done))
    return {**variables_of(model), "log": np.array([list(entry.values()) for entry in history.epochs])}


def every_epoch_is_saved() -> None:
    """Let every epoch write its checkpoint."""
    Plan.__init__.__defaults__ = (*Plan.__init__.__defaults__[:-1], 0.0)


if __name__ == "__main__":
    name, folder, result, last = sys.argv[1:]

    def die(done: int) -> None:
        if done == int(last):
            os.kill(os.getpid(), signal.SIGKILL)

    every_epoch_is_saved()
    np.savez(result, **train(name, Path(folder), die))

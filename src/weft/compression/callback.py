"""The stages of a compression inside Keras' `fit`, on any backend.

callback = StagesCallback(config, checkpoint="checkpoint.npz")
model.fit(x, y, epochs=callback.epochs, initial_epoch=callback.initial_epoch(model), callbacks=[callback])
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np

from weft.compression.api import Recipe, read
from weft.compression.distil import Distillation
from weft.compression.hgq import warn_of_missed
from weft.compression.stages import Stages, check_finite
from weft.errors import ConfigError, UnfinishedWarning


class StagesCallback(keras.callbacks.Callback):
    """Moves a model through the stages of a recipe while `model.fit` trains it.

    The learning rate stays that of the optimizer; β follows the recipe. After the last epoch the masks are fixed; a
    `fit` that ends before it warns. A loss or metric that is not finite ends training with
    `weft.errors.TrainingError`. A recipe with `weight_decay` needs the optimizer of `weft.optimizer`, one with `distil`
    what `weft.distil` makes.

    Args:
        recipe: The recipe that the model was made with.
        checkpoint: Where the complete state is kept after each epoch.
        rows: Rows of the training data, (n, ...), for what the recipe finds out without training.

    Attributes:
        epochs: What to give `fit`.
    """

    def __init__(self, recipe: Recipe, checkpoint: Path | str | None = None, rows: Any = None) -> None:
        super().__init__()
        self.config = read(recipe)
        self.epochs, self._rows = self.config.total_epochs, rows
        self._checkpoint = None if checkpoint is None else Path(checkpoint)
        self._stages: Stages | None = None

    def initial_epoch(self, model: keras.Model) -> int:
        """Take the state of a compiled model from the checkpoint, if there is one; return the epochs behind it."""
        if self.config.distil is not None and not isinstance(model.loss, Distillation):
            raise ConfigError(
                "the recipe has a section distil, and the model was compiled with another loss; compile and fit with "
                "model, loss and targets of weft.distil(model, x, y)"
            )
        self._stages = Stages(model, self.config, model.optimizer, rows=self._rows)
        if self._checkpoint is None or not self._checkpoint.exists():
            return 0
        epoch, extra = self._stages.load(self._checkpoint)
        if self._stages.price:
            self._stages.price.restore(extra["beta"])
        return epoch

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        if self._stages is None:
            self.initial_epoch(self.model)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        stages = self._begun
        stages.begin_epoch(epoch)
        if stages.price:
            stages.price.begin(epoch)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        check_finite(logs, "the metric", epoch)
        stages, counting = self._begun, self._counting()
        if counting and logs is not None and stages.quantized(epoch):
            logs["ebops"] = float(sum(np.asarray(keras.ops.convert_to_numpy(layer._ebops)) for layer in counting))
        if logs is not None:
            logs["stage"] = stages.position(epoch).stage
        price = stages.price
        if price:
            price.end(logs)
        if self._checkpoint is not None:
            stages.save(self._checkpoint, epoch + 1, {"beta": price.state()} if price else {})

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        stages = self._begun
        if stages.begun < self.epochs:
            warnings.warn(
                f"training ended after {stages.begun} of the {self.epochs} epochs of the recipe, in stage "
                f"{stages.position(max(stages.begun - 1, 0)).name}; go on with fit(..., initial_epoch={stages.begun}, "
                f"epochs={self.epochs}), or call weft.Stages(model, recipe).harden() to fix the masks as they are",
                UnfinishedWarning,
                stacklevel=2,
            )
        elif stages.price:
            warn_of_missed(stages.price.config, stages.price.ebops)
        stages.finish()

    @property
    def _begun(self) -> Stages:
        assert self._stages is not None  # Keras calls on_train_begin before all else
        return self._stages

    def _counting(self) -> list[Any]:
        return [layer for layer in self.model._flatten_layers() if getattr(layer, "_ebops", None) is not None]

"""The price of bits in loops that weft's engine does not run: β of every layer, moved by the recipe epoch by epoch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import keras

    from weft.config import HgqCompression


class Price:
    """β of a model, as its recipe wants it: constant, rising, or led by a target.

    Args:
        model: The model.
        config: The recipe.
        rows: Rows of the training data, for counting LUT where they are the target.

    Attributes:
        config: The recipe.
    """

    def __init__(self, model: keras.Model, config: HgqCompression, rows: Any = None) -> None:
        from weft.compression.hgq import beta_control, lut_target

        self._layers = [layer for layer in model._flatten_layers() if getattr(layer, "_ebops", None) is not None]
        self._model, self.config, self._rows = model, config, rows
        self._beta = beta_control(config)
        self._counts, self._found = lut_target(self._beta) is not None, {}

    def begin(self, epoch: int) -> None:
        """Set β for an epoch."""
        from weft.compression.lut import RATIO, lut_of, measured_at

        config = self.config
        if self._counts and epoch in measured_at(config.total_epochs - config.float_epochs, config.float_epochs):
            self._found = {RATIO: max(lut_of(self._model, self._rows), 1.0) / max(self.ebops, 1.0)}
        value = float(self._beta.values(epoch, 1)[0])
        for layer in self._layers:
            layer._beta.assign(value)

    def end(self, log: Mapping[str, Any] | None = None) -> None:
        """Learn what an epoch came to; `log` is what else is known of it."""
        self._beta.update({"ebops": self.ebops, **(log or {}), **self._found})
        self._found = {}

    @property
    def ebops(self) -> float:
        """EBOPs of the last training step."""
        import keras

        return float(sum(np.asarray(keras.ops.convert_to_numpy(layer._ebops)) for layer in self._layers))

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint must hold, for JSON."""
        return self._beta.state()

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` returned."""
        self._beta.restore(state)

"""What a float network would be in fixed point, for the estimate of its hardware: rounded, with ranges found on rows.

The quantised network, its plain form and what NumPy computes of both are made once for an architecture; other weights,
as those of other folds, are put into them. Nothing is compiled: a search sees most architectures once.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import keras
import numpy as np

from weft._interpreter import Interpreted
from weft.compression.finalize import frozen
from weft.errors import UnsupportedError
from weft.quantize.calibrate import calibrate, interpreted
from weft.quantize.plain import Plain, multiplied
from weft.space.architecture import Architecture
from weft.space.model import build, import_weights

_ROWS = 4096
"""Rows on which ranges are found."""


class Rounded:
    """A quantised network that takes the weights of float networks.

    Args:
        architecture: The whole network, with the numbers that its weights are rounded to.
    """

    def __init__(self, architecture: Architecture) -> None:
        self._model = build(architecture)
        self._trace = interpreted(self._model)
        self._plain: Plain | None = None
        self._numbers: Interpreted | None = None

    def frozen(self, weights: Mapping[str, np.ndarray], x: np.ndarray) -> keras.Model:
        """Return the finalised network with these weights, and ranges found on some of the rows `x`, (n, ...) float32.

        It is good until the next call, which fills the same layers.
        """
        import_weights(self._model, weights)
        some = x[np.linspace(0, len(x) - 1, min(len(x), _ROWS)).astype(int)]
        calibrate(self._model, some, self._trace)
        self._plain = self._plain or Plain(self._model)
        return frozen(self._plain.filled(self._multiplied()))

    def _multiplied(self) -> list[tuple[Any, Any]]:
        variables = self._model.variables
        values = [np.asarray(variable.value) for variable in variables]

        def numbers(values: list[Any]) -> list[tuple[Any, Any]]:
            with keras.StatelessScope(list(zip(variables, values, strict=True))):
                return multiplied(self._model)

        try:
            self._numbers = self._numbers or Interpreted(numbers, values)
        except UnsupportedError:
            return multiplied(self._model)
        return self._numbers(values)


@lru_cache(maxsize=1)
def rounded(genotype: str) -> Rounded:
    """Return the network of a genotype, an `Architecture` as JSON; folds, which come one after the other, share it."""
    return Rounded(Architecture.model_validate_json(genotype))

"""Scaling of features: (x - offset) / scale, fitted on training rows and on nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

Fitted = Literal["standard", "minmax", "none"]
Kind = Literal[Fitted, "fixed"]
_BLOCK = 1 << 14  # rows converted together


@dataclass(frozen=True)
class Scaler:
    """One affine map for each feature.

    Attributes:
        kind: `standard` (mean 0, standard deviation 1), `minmax` (to [0, 1]), `none`, or `fixed` (given, not fitted).
        offset: Subtracted first, in the units of the data, float64, of the shape of one row.
        scale: Divided by, > 0, likewise; 1 where a feature is constant, which so becomes 0.
    """

    kind: Kind
    offset: np.ndarray
    scale: np.ndarray

    @staticmethod
    def fit(kind: Fitted, x: np.ndarray) -> Scaler:
        """Return the scaler of the training rows `x`, shape (n, *features), n >= 1."""
        low, high = x.min(axis=0).astype(float), x.max(axis=0).astype(float)
        if kind == "none":
            return Scaler(kind, np.zeros(x.shape[1:]), np.ones(x.shape[1:]))
        if kind == "minmax":
            offset, scale = low, high - low
        else:
            offset = x.mean(axis=0, dtype=float)
            squares = sum(((x[i : i + _BLOCK] - offset) ** 2).sum(axis=0) for i in range(0, len(x), _BLOCK))
            scale = np.sqrt(squares / len(x))
        constant = low == high
        return Scaler(kind, np.where(constant, low, offset), np.where(constant, 1.0, scale))

    @staticmethod
    def fixed(scale: np.ndarray) -> Scaler:
        """Return a scaler that divides by `scale`, of the shape of one row, whatever the data."""
        scale = np.asarray(scale, float)
        return Scaler("fixed", np.zeros_like(scale), scale)

    def refit(self, x: np.ndarray) -> Scaler:
        """Return the scaler of the same kind for other training rows; a fixed one stays."""
        return self if self.kind == "fixed" else Scaler.fit(self.kind, x)

    def transform(self, x: np.ndarray) -> np.ndarray:
        """Return `x` (n, *features) scaled, float32; computed in float64."""
        scaled = np.empty(x.shape, np.float32)
        for i in range(0, len(x), _BLOCK):
            scaled[i : i + _BLOCK] = (x[i : i + _BLOCK] - self.offset) / self.scale
        return scaled

    def to_json(self) -> dict[str, Any]:
        """Return the scaler as JSON values; firmware is fed with inputs scaled this way."""
        return {"kind": self.kind, "offset": self.offset.tolist(), "scale": self.scale.tolist()}

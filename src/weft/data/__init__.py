"""Data: sets by name, files of the user's own, splits, folds, scaling and their checks."""

from weft.data.dataset import Dataset, Provenance, Split
from weft.data.load import load
from weft.data.scale import Scaler

__all__ = ["Dataset", "Provenance", "Scaler", "Split", "load"]

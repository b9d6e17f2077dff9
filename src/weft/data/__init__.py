"""Data: sets by name, files of the user's own, splits, folds, scaling and their checks.

Packages offer data sets under the entry point `weft.data`, functions (DataConfig) -> `Source`, and readers of files
under `weft.readers`, functions (path) -> `Content`, by the suffix without its dot.
"""

from weft.data.dataset import Dataset, Provenance, Split
from weft.data.files import Content
from weft.data.load import load
from weft.data.roles import Rows
from weft.data.scale import Scaler
from weft.data.source import Source, sha256_of_arrays

__all__ = ["Content", "Dataset", "Provenance", "Rows", "Scaler", "Source", "Split", "load", "sha256_of_arrays"]

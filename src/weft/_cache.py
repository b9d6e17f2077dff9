"""Where weft keeps what can be had again: downloads, estimates, compiled programs."""

from __future__ import annotations

import os
from pathlib import Path


def cache_directory() -> Path:
    """Return `WEFT_CACHE`, or `~/.cache/weft` where that is not set."""
    return Path(os.environ.get("WEFT_CACHE") or Path.home() / ".cache" / "weft")

"""Where jobs run: in this process, or in processes of this machine."""

from __future__ import annotations

from weft.search.workers._base import Lost, Workers
from weft.search.workers.inline import InlineWorkers
from weft.search.workers.local import LocalWorkers, automatic_count, available_cores

__all__ = ["InlineWorkers", "LocalWorkers", "Lost", "Workers", "automatic_count", "available_cores"]

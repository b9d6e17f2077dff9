"""Where jobs run: in this process, in processes of this machine, or on a Dask cluster (module `dask`)."""

from __future__ import annotations

from weft.search.workers._base import Lost, Workers
from weft.search.workers.inline import InlineWorkers
from weft.search.workers.local import LocalWorkers, automatic_count, available_cores, local_count

__all__ = ["InlineWorkers", "LocalWorkers", "Lost", "Workers", "automatic_count", "available_cores", "local_count"]

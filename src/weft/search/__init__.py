"""The search: candidates are proposed, evaluated by workers, and compared.

This package exports the contract of an evaluation, so that workers start fast. `weft.search.coordinator.search` runs a
search, `weft.search.results.read` reads one, and `weft.search.select.select` picks from its front.
"""

from __future__ import annotations

from weft.search.job import ErrorKind, Job, Result, SearchSpace

__all__ = ["ErrorKind", "Job", "Result", "SearchSpace"]

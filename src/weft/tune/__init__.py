"""Tuning: one network is compressed again and again, with other values of some fields, and the best are kept.

`weft.tune.study.tune` runs a study in a run directory; `weft.search` proposes, evaluates and resumes.
"""

from __future__ import annotations

from weft.tune.subject import Asked

__all__ = ["Asked"]

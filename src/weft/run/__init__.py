"""Runs: the directory that holds one, and the stages that fill it."""

from __future__ import annotations

from weft.run.directory import Design, Run

__all__ = ["Design", "Run"]

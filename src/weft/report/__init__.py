"""The report of a run: one HTML file that says what was found and how each number came about, and its figures."""

from __future__ import annotations

from weft.report.html import write_report

__all__ = ["write_report"]

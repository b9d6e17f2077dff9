"""The report of a run: one HTML file that says what was found and how each number came about, and its figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weft.report.html import write_report

if TYPE_CHECKING:
    from weft.report.comparison import write_comparison

__all__ = ["write_comparison", "write_report"]


def __getattr__(name: str) -> object:
    if name == "write_comparison":
        from weft.report import comparison  # it knows runs, which know the report

        return comparison.write_comparison
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

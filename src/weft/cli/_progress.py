"""Progress on stderr: bars with an ETA on a terminal, JSON lines elsewhere."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from weft.types import Progress

_SECONDS = 5.0
"""JSON lines come no more often than this, but for the last."""


@contextmanager
def bars(title: str) -> Iterator[Progress]:
    """Show the progress of one stage."""
    show = _on_terminal if sys.stderr.isatty() else _as_lines
    with show(title) as progress:
        yield progress


@contextmanager
def _on_terminal(title: str) -> Iterator[Progress]:
    from rich import progress as rich
    from rich.console import Console

    columns = (
        rich.TextColumn("[bold]{task.description:>10}"),
        rich.BarColumn(bar_width=24),
        rich.TaskProgressColumn(),
        rich.TimeElapsedColumn(),
        rich.TextColumn("ETA"),
        rich.TimeRemainingColumn(elapsed_when_finished=False),
        rich.TextColumn("[dim]{task.fields[note]}"),
    )
    with rich.Progress(*columns, console=Console(stderr=True)) as display:
        task = display.add_task(title, total=None, note="")

        def progress(done: int, total: int, note: str = "") -> None:
            display.update(task, completed=done, total=total, note=note)

        yield progress
        shown = display.tasks[task]
        display.update(task, completed=shown.total or 1, total=shown.total or 1)


@contextmanager
def _as_lines(title: str) -> Iterator[Progress]:
    start, last = time.monotonic(), -_SECONDS
    sys.stderr.write(json.dumps({"stage": title, "state": "begins"}) + "\n")

    def progress(done: int, total: int, note: str = "") -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < _SECONDS and done < total:
            return
        last, spent = now, now - start
        eta = round(spent * (total - done) / done, 1) if done else None
        line = {
            "stage": title,
            "done": done,
            "total": total,
            "seconds": round(spent, 1),
            "eta_seconds": eta,
            "note": note,
        }
        sys.stderr.write(json.dumps(line) + "\n")
        sys.stderr.flush()

    yield progress
    sys.stderr.write(
        json.dumps({"stage": title, "state": "ends", "seconds": round(time.monotonic() - start, 1)}) + "\n"
    )
    sys.stderr.flush()

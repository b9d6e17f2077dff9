"""`weft pareto`: the front of a search."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from weft.cli import _show
from weft.cli._app import Json, command, print_json


@command
def pareto(run: Annotated[str, typer.Argument(help="The run directory.")], as_json: Json = False) -> None:
    """Print the front of a run's search: the trials that no other beats in all objectives."""
    from weft.run import Run

    rows, columns = front_rows(Run(run).path)
    if as_json:
        print_json(rows)
    else:
        _show.trials(rows, columns)


def front_rows(directory: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the front as rows and the names of their columns."""
    from weft.report.read import describe
    from weft.search.results import read

    results = read(directory)
    names = [*results.objectives, *(name for name in results.constraints if name not in results.objectives)]
    rows = [
        {
            "trial": trial.number,
            "architecture": describe(trial.genotype),
            **{name: trial.value(name) for name in names},
            **{f"{name}_std": trial.std(name) for name in names if trial.std(name) is not None},
            "feasible": trial.feasible,
            **({"seeds": trial.seeds} if trial.seeds is not None else {}),
        }
        for trial in results.front()
    ]
    return rows, list(dict.fromkeys(column for row in rows for column in row))

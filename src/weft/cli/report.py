"""`weft report`: write the report of a run anew."""

from __future__ import annotations

from typing import Annotated

import typer

from weft.cli._app import Json, command, print_json


@command
def report(run: Annotated[str, typer.Argument(help="The run directory.")], as_json: Json = False) -> None:
    """Write report.html from what the run directory holds."""
    from weft.report import write_report
    from weft.run import Run

    path = write_report(Run(run))
    if as_json:
        print_json({"report": str(path)})
    else:
        typer.echo(str(path))

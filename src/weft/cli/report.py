"""`weft report`: write the report of a run anew."""

from __future__ import annotations

from typing import Annotated

import typer

from weft.cli._app import Json, command, print_json


@command
def report(
    run: Annotated[str, typer.Argument(help="The run directory.")],
    style: Annotated[
        str | None, typer.Option(help="How figures look: mplhep, ATLAS, CMS, LHCb, ALICE, DUNE; by default weft's own.")
    ] = None,
    note: Annotated[str | None, typer.Option(help="Add this to the run's notes.md first; Markdown.")] = None,
    as_json: Json = False,
) -> None:
    """Write report.html from what the run directory holds."""
    from weft.report import write_report
    from weft.run import Run

    opened = Run(run)
    if note is not None:
        opened.note(note)
    path = write_report(opened, style)
    if as_json:
        print_json({"report": str(path)})
    else:
        typer.echo(str(path))

"""`weft data`: read a data set as an experiment would, and say what it is."""

from __future__ import annotations

from typing import Annotated

import typer

from weft.cli._app import Json, command, print_json
from weft.cli.run import Set


@command
def data(
    experiment: Annotated[str, typer.Argument(help="An experiment.yaml or a preset.")],
    changes: Set = None,
    as_json: Json = False,
) -> None:
    """Read and check the data of an experiment, and print their sizes, classes, source and hash."""
    from weft.config import load
    from weft.data import load as load_data

    summary = load_data(load(experiment, changes or []).data).summary()
    if as_json:
        print_json(summary)
        return
    for name, value in summary.items():
        typer.echo(f"{name:<14} {', '.join(map(str, value)) if isinstance(value, list) else value}")

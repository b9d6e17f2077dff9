"""`weft validate`: check an experiment file before anything runs."""

from __future__ import annotations

from typing import Annotated

import typer

from weft.cli._app import Json, command, print_json
from weft.cli.run import Set
from weft.errors import ConfigError


@command
def validate(
    experiment: Annotated[str | None, typer.Argument(help="An experiment.yaml or a preset.")] = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON Schema of experiment files.")] = False,
    changes: Set = None,
    as_json: Json = False,
) -> None:
    """Check an experiment, or print the JSON Schema that editors complete by."""
    from weft.config import dump, load
    from weft.config import schema as json_schema

    if schema:
        print_json(json_schema())
        return
    if experiment is None:
        raise ConfigError("nothing to validate: give an experiment.yaml or a preset, or --schema")
    loaded = load(experiment, changes or [])
    if as_json:
        print_json(loaded.model_dump(mode="json"))
    else:
        typer.echo(dump(loaded), nl=False)
        typer.secho(f"{experiment} is valid; above is how weft reads it", fg="green", err=True)

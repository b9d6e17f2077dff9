"""`weft presets`: experiments that come with weft."""

from __future__ import annotations

from typing import Annotated

import typer

from weft.cli._app import Json, command, print_json


@command
def presets(
    name: Annotated[str | None, typer.Argument(help="Print this preset's YAML, to be changed and run.")] = None,
    as_json: Json = False,
) -> None:
    """List the presets, or print one."""
    from weft.config import presets as known
    from weft.config.load import source_text

    if name is not None:
        typer.echo(source_text(name), nl=False)
        return
    found = known()
    if as_json:
        print_json(found)
        return
    width = max(map(len, found))
    for preset, description in found.items():
        typer.echo(f"{preset:<{width}}  {description}")

"""`weft status`: how far a run is, also while another process works on it."""

from __future__ import annotations

from typing import Annotated

import typer

from weft.cli import _show
from weft.cli._app import Json, command, print_json


@command
def status(run: Annotated[str, typer.Argument(help="The run directory.")], as_json: Json = False) -> None:
    """Show how far a run is, who works on it, and what failed."""
    from weft.lock import lock_owner
    from weft.run import Run
    from weft.run.summary import state_of

    opened = Run(run)
    found = {**state_of(opened), "owner": lock_owner(run)}
    if as_json:
        print_json(found)
        return
    owner = found["owner"]
    typer.echo(f"{found['name']}: {found['status']}, {found['seconds']:.0f} s so far")
    if owner:
        typer.echo(f"process {owner.get('pid')} on {owner.get('host')} works on it since {owner.get('since')}")
    for stage in found["stages"]:
        seconds = f", {stage['seconds']:.1f} s" if stage["seconds"] is not None else ""
        typer.echo(f"  {stage['name']:<10} {stage['state']}{seconds}")
    if found["search"]:
        counts = found["search"]
        typer.echo(f"search: {counts['trials']} trials, {counts['failed']} failed, {counts['front']} on the front")
    _show.designs(found)

"""`weft surrogate`: estimators that are learnt, and what they need."""

from __future__ import annotations

from functools import partial

import typer

from weft.cli._app import Json, app, command, print_json

group = typer.Typer(no_args_is_help=True, help="Learnt estimators: install what they need.")
app.add_typer(group, name="surrogate")


@partial(command, group=group)
def install_rule4ml(as_json: Json = False) -> None:
    """Make the environment of the cost model rule4ml, with pinned versions; about 3.5 GB, below WEFT_CACHE."""
    from weft.cost.rule4ml import install

    found = install()
    if as_json:
        print_json({"python": str(found)})
    else:
        typer.echo(f"rule4ml is installed: {found}")

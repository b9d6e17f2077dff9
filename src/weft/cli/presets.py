"""`weft presets`: experiments and recipes that come with weft."""

from __future__ import annotations

from typing import Annotated

import typer

from weft.cli._app import Json, command, print_json


@command
def presets(
    name: Annotated[str | None, typer.Argument(help="Print this preset's YAML, to be changed and run.")] = None,
    only_recipes: Annotated[bool, typer.Option("--recipes", help="With --json: the recipes of `compress`.")] = False,
    as_json: Json = False,
) -> None:
    """List the presets, or print one."""
    from weft.config import presets as experiments
    from weft.config.compress import RECIPES, recipes
    from weft.config.load import source_text

    if name in recipes():
        typer.echo((RECIPES / f"{name}.yaml").read_text("utf-8"), nl=False)
        return
    if name is not None:
        typer.echo(source_text(name), nl=False)
        return
    found = {"experiments": experiments(), "recipes": recipes()}
    if as_json:
        print_json(found["recipes" if only_recipes else "experiments"])
        return
    width = max(len(preset) for kind in found.values() for preset in kind)
    for title, kind in zip(
        ("Experiments, for weft run:", "Recipes, for its section compress:"), found.values(), strict=True
    ):
        typer.echo(title)
        for preset, description in kind.items():
            typer.echo(f"  {preset:<{width}}  {description}")

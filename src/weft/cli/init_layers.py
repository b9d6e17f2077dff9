"""`weft init-layers`: the quantisation and pruning settings of each layer of a model, to edit."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from weft.cli._app import command
from weft.errors import ConfigError


@command
def init_layers(
    model: Annotated[Path, typer.Argument(help="A .keras file.")],
    out: Annotated[Path | None, typer.Option("--out", help="The YAML file to write; stdout if not given.")] = None,
) -> None:
    """Write a YAML file with every layer's quantisation and pruning settings, to edit and give to a recipe."""
    from weft import atomic
    from weft.quantize.files import read_model
    from weft.quantize.layer_file import layers_to_yaml

    if out is not None and out.exists():
        raise ConfigError(f"will not write over {out}, which may have been edited; name another file with --out")
    text = layers_to_yaml(read_model(model))
    if out is None:
        typer.echo(text, nl=False)
    else:
        atomic.write_text(out, text)
        typer.secho(f"wrote {out}", fg="green", err=True)

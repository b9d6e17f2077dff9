"""`weft migrate`: a configuration of SNAC-Pack or PQuantML as a file of weft."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from weft.cli._app import Json, command, print_json
from weft.errors import ConfigError


@command
def migrate(
    file: Annotated[Path, typer.Argument(help="A YAML or JSON file of SNAC-Pack or PQuantML.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The file to write; stdout if not given.")] = None,
    format: Annotated[str | None, typer.Option("--from", help="snac-pack or pquantml; told by its keys.")] = None,
    data: Annotated[Path | None, typer.Option("--data", help="Your data file, for the experiment.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
    as_json: Json = False,
) -> None:
    """Convert a file; what has no counterpart is listed on stderr and in comments."""
    import os

    from weft import atomic
    from weft.migration import migrate_file

    if out is not None and out.exists() and not force:
        raise ConfigError(
            f"will not write over {out}, which may be yours; add --force, or name another file with --out"
        )
    place = None
    if data is not None:
        place = Path(os.path.relpath(data, out.parent if out is not None else Path())).as_posix()
    made = migrate_file(file, format, place)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        atomic.write_text(out, made.text)
    for line in made.lost:
        typer.secho(f"no counterpart: {line}", fg="yellow", err=True)
    for line in made.changed:
        typer.echo(f"changed: {line}", err=True)
    if as_json:
        print_json({"text": made.text, "from": made.format, "experiment": made.whole, "lost": list(made.lost),
                    "changed": list(made.changed)})  # fmt: skip
    elif out is None:
        typer.echo(made.text, nl=False)
    else:
        typer.echo(f"wrote {out}" + (f"; next: weft run {out}" if made.whole else ", the section compress"))

"""One stage at a time: `weft search`, `select`, `compress`, `build`, `hls`, `synth`, `route`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from weft.cli import _show
from weft.cli._app import Json, command, print_json
from weft.cli._progress import bars
from weft.cli.run import Out, Set, Source, open_run
from weft.errors import ConfigError

Join = Annotated[
    str | None,
    typer.Option(
        metavar="URL", help="Share the search with other processes by a database, postgresql://USER@HOST/NAME."
    ),
]
Directory = Annotated[str, typer.Argument(help="The run directory.")]


@command
def search(
    experiment: Source,
    out: Out = None,
    changes: Set = None,
    seeds: Annotated[
        str | None,
        typer.Option("--seeds", help="Search once with each seed, as in 0,1,2, and show how the results spread."),
    ] = None,
    join: Join = None,
    as_json: Json = False,
) -> None:
    """Search architectures and print the front."""
    from weft.cli.pareto import front_rows
    from weft.run.stages import execute

    if seeds is not None:
        if join is not None:
            raise ConfigError("--seeds searches in this process, and --join in many; give one of the two")
        _search_seeds(experiment, out, changes or [], seeds, as_json)
        return
    suffix = ""
    if join is not None:
        from weft.search.join import place_of_this_process

        suffix = place_of_this_process()
    opened = open_run(experiment, out, changes or [], suffix)
    summary = execute(opened, ("data", "search"), bars, join)
    if as_json:
        print_json(summary)
        return
    _show.trials(*front_rows(opened.path))
    _show.notes(summary)
    typer.echo(f"run: {opened.path}")


def _search_seeds(experiment: str, out: Path | None, changes: list[str], seeds: str, as_json: bool) -> None:
    from weft.config import load
    from weft.config.load import source_text
    from weft.run.seeds import PAGE, PROGRESS, search_seeds

    try:
        wanted = [int(seed) for seed in seeds.split(",")]
    except ValueError:
        raise ConfigError(
            f"--seeds takes whole numbers with commas between them, such as 0,1,2; got '{seeds}'"
        ) from None
    loaded = load(experiment, changes)
    place = out or Path("runs") / f"{loaded.name}-seeds"
    summary = search_seeds(loaded, source_text(experiment), place, wanted, bars)
    if as_json:
        print_json(summary)
        return
    rows = summary["progress"]
    shown = sorted({-(-len(rows) * step // _STEPS) for step in range(1, _STEPS + 1)})
    _show.trials([rows[n - 1] for n in shown], list(rows[0]))
    typer.echo(f"all numbers of evaluated designs: {place / PROGRESS}; the searches: {place}/seed-*")
    typer.echo(f"report: {place / PAGE}")


_STEPS = 8
"""Lines of the table on the terminal."""


@command
def select(run: Directory, as_json: Json = False) -> None:
    """Pick designs of the front by the rule of the experiment."""
    summary = stage(run, "select")
    if as_json:
        print_json(summary["selection"])
        return
    for one in summary["selection"]:
        typer.echo(f"trial {one['number']}: {one['reason']}")


@command
def compress(run: Directory, as_json: Json = False) -> None:
    """Compress the picked designs by the recipe of the experiment."""
    show(stage(run, "compress"), as_json)


@command
def build(run: Directory, as_json: Json = False) -> None:
    """Write the Verilog of every design, and its cost by the adder graph."""
    show(stage(run, "build"), as_json)


@command
def hls(run: Directory, as_json: Json = False) -> None:
    """Write every design as the HLS project of `firmware.hls`, and compare its C simulation bit by bit."""
    show(stage(run, "hls"), as_json)


@command
def synth(run: Directory, as_json: Json = False) -> None:
    """Synthesise every design and count what it uses."""
    show(stage(run, "synth"), as_json)


@command
def route(run: Directory, as_json: Json = False) -> None:
    """Place and route every design on `firmware.route_part`, and measure the clock that it reaches."""
    show(stage(run, "route"), as_json)


def stage(directory: str, name: str) -> dict:
    from weft.run import Run
    from weft.run.stages import execute

    return execute(Run(directory), (name,), bars)


def show(summary: dict, as_json: bool) -> None:
    if as_json:
        print_json(summary)
    else:
        _show.designs(summary)

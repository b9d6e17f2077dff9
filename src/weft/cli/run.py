"""`weft run`: the whole way, from data to report; the same command resumes it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from weft.cli import _show
from weft.cli._app import Json, command, print_json
from weft.cli._progress import bars

if TYPE_CHECKING:
    from weft.run import Run

Source = Annotated[str, typer.Argument(help="An experiment.yaml, a preset, or a run directory to resume.")]
Out = Annotated[Path | None, typer.Option("--out", "-o", help="The run directory; by default runs/<name>.")]
Set = Annotated[list[str] | None, typer.Option("--set", "-s", help="Change a value, such as search.trials=5.")]


@command
def run(
    experiment: Source,
    out: Out = None,
    changes: Set = None,
    as_json: Json = False,
) -> None:
    """Search, compress, build, verify and synthesise, then write the report."""
    from weft.run.stages import STAGES, execute

    opened = open_run(experiment, out, changes or [])
    summary = execute(opened, STAGES, bars)
    if as_json:
        print_json(summary)
        return
    _show.designs(summary)
    typer.echo(f"report: {opened.path / 'report.html'}")


def open_run(experiment: str, out: Path | None, changes: list[str], suffix: str = "") -> Run:
    """Open a run directory, or begin a run of an experiment file or preset, by default in `runs/<name><suffix>`."""
    from weft.config import load
    from weft.config.load import source_text
    from weft.errors import ConfigError
    from weft.run import Run
    from weft.run.directory import RESOLVED

    if (Path(experiment) / RESOLVED).exists():
        if changes or (out is not None and out != Path(experiment)):
            raise ConfigError(
                f"{experiment} is a run directory, whose configuration is fixed; --set and --out are for new runs"
            )
        run = Run(experiment)
        _check_functions(run)
        return run
    loaded = load(experiment, changes)
    return Run.create(out or Path("runs") / f"{loaded.name}{suffix}", loaded, source_text(experiment))


def _check_functions(run: Run) -> None:
    """Raise now, and not trial by trial, where an objective of the user's own is gone that a resumed run needs."""
    from weft import atomic
    from weft.objectives import is_function, load_function
    from weft.run.directory import SUMMARY

    path = run.path / SUMMARY
    if path.exists() and atomic.read_json(path)["status"] == "finished":
        return
    search = run.experiment.search
    for name in filter(is_function, (*search.objectives, *search.constraints)):
        load_function(name)

"""`weft compare`: all that is known about the designs of a run, in one table; or several runs, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from weft.cli import _show
from weft.cli._app import Json, command, print_json
from weft.cli._progress import bars
from weft.errors import ConfigError, ToolError, ToolNotFoundError, UnsupportedError, VerificationError, WeftError

if TYPE_CHECKING:
    from weft.run import Run


@command
def compare(
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="The run directory, or several.")],
    measure: Annotated[bool, typer.Option(help="Whether what is missing is measured first.")] = True,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the table as Markdown.")] = False,
    html: Annotated[Path | None, typer.Option(help="Write several runs side by side into this HTML file.")] = None,
    style: Annotated[str | None, typer.Option(help="How figures look, as in 'weft report'.")] = None,
    as_json: Json = False,
) -> None:
    """Show every number of every design with its stage and source: estimates, synthesis, routing, simulation.

    What is missing is measured, also where the run leaves it out: an HLS project and its C simulation, Yosys, place and
    route on `firmware.route_part`. That goes into the run directory and its report, too.

    Of several runs it shows the fronts, their hypervolumes in one box, the best designs and the settings that differ;
    nothing is measured for that. --html writes it as a page, with the fronts in one plot.
    """
    if len(runs) > 1:
        _several(runs, markdown, html, style, as_json)
        return
    if html is not None or style is not None:
        raise ConfigError("--html and --style are for several runs; 'weft report RUN' writes the report of one")
    from weft.run import Run
    from weft.run.compare import compare as collect
    from weft.run.compare import complete

    opened = Run(runs[0])
    opened.experiment = complete(opened.experiment)
    errors = _measure(opened) if measure else []
    found = collect(opened)
    if as_json:
        print_json(found.model_dump(mode="json"))
    elif markdown:
        typer.echo(_show.comparison_as_markdown(found))
    else:
        _show.comparison(found)
    if errors:
        for other in errors[1:]:
            errors[0].add_note(str(other))
        raise errors[0]


def _several(runs: list[str], markdown: bool, html: Path | None, style: str | None, as_json: bool) -> None:
    from weft.run import Run
    from weft.run.compare_runs import compare_runs

    twice = [run for run in runs if runs.count(run) > 1]
    if twice:
        raise ConfigError(f"{twice[0]} is named twice; name each run once")
    opened = [Run(run) for run in runs]
    if html is not None:
        from weft.report import write_comparison

        path = write_comparison(opened, html, style)
        print_json({"comparison": str(path)}) if as_json else typer.echo(str(path))
        return
    found = compare_runs(opened)
    if as_json:
        print_json(found.model_dump(mode="json"))
    elif markdown:
        typer.echo(_show.runs_as_markdown(found))
    else:
        _show.runs(found)


def _measure(run: Run) -> list[WeftError]:
    """Measure what is missing; return what went wrong, after which the rest is measured all the same."""
    from weft.run.stages import execute

    errors: list[WeftError] = []
    for stage in ("build", "hls", "synth", "route", "report"):
        try:
            execute(run, (stage,), bars)
        except (ConfigError, ToolError, ToolNotFoundError, UnsupportedError, VerificationError) as error:
            errors.append(error)
    return errors

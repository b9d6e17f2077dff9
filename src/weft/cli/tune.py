"""`weft tune`: find the values of the compression that make the best designs of one network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from weft.cli import _show
from weft.cli._app import Json, command, print_json
from weft.cli._progress import bars
from weft.cli.run import Set, open_run

if TYPE_CHECKING:
    from weft.tune import Asked


@command
def tune(
    experiment: Annotated[str, typer.Argument(help="An experiment.yaml with a section 'tune', or a tuning to resume.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The directory; by default runs/<name>-tune.")] = None,
    run: Annotated[Path | None, typer.Option("--run", help="Tune the network of a design of this run.")] = None,
    design: Annotated[str | None, typer.Option("--design", help="The design's id.")] = None,
    model: Annotated[Path | None, typer.Option("--model", help="Tune this .keras model.")] = None,
    changes: Set = None,
    as_json: Json = False,
) -> None:
    """Tune fields of the compression, on the first baseline of the experiment unless another network is named."""
    from weft.tune import Asked
    from weft.tune.study import BEST
    from weft.tune.study import tune as run_study

    named = run is not None or design is not None or model is not None
    asked: Asked | None = Asked(run, design, model)
    opened = open_run(experiment, out, changes or [], "-tune")
    if opened.path == Path(experiment) and not named:
        asked = None
    summary = run_study(opened, asked, bars)
    if as_json:
        print_json(summary)
        return
    _show.trials(*_rows(summary))
    typer.echo(f"best: {opened.path / BEST}")


def _rows(summary: dict[str, Any]) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the front as rows, and its columns: trial, parameters, objectives with their units."""
    from weft.objectives import OBJECTIVES

    heads = {name: f"{name}\n{OBJECTIVES[name].unit}" for name in summary["tune"]["objectives"]}
    rows = [
        {
            "trial": f"{one['trial']} best" if one["trial"] == summary["best"]["trial"] else str(one["trial"]),
            **{name.removeprefix("compress."): value for name, value in one["values"].items()},
            **{head: _value(one, name) for name, head in heads.items()},
        }
        for one in summary["pareto"]
    ]
    tuned = (name.removeprefix("compress.") for name in summary["tune"]["parameters"])
    return rows, ["trial", *tuned, *heads.values()]


def _value(one: dict[str, Any], name: str) -> float:
    return one["cost"][name]["value"] if name in one["cost"] else one["metrics"][name]["mean"]

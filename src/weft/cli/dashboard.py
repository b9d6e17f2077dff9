"""`weft dashboard`: the report of a run and Optuna's dashboard on one local server, also while the search runs."""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Annotated, Any

import typer

from weft.cli._app import Json, command


@command
def dashboard(
    run: Annotated[str, typer.Argument(help="The run directory.")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 for any that is free.")] = 8765,
    host: Annotated[str, typer.Option(help="The address to listen on; by default only this machine can see it.")] = (
        "127.0.0.1"
    ),
    browser: Annotated[bool, typer.Option(help="Whether a browser is opened.")] = True,
    style: Annotated[str | None, typer.Option(help="How figures look, as in 'weft report'.")] = None,
    as_json: Json = False,
) -> None:
    """Show a run in the browser: its report, which follows the run, and Optuna's dashboard on its study.

    Nothing is written into the run. Ctrl-C ends the server.
    """
    from weft.report.dashboard import LOOPBACK, serve
    from weft.run import Run

    def ready(url: str) -> None:
        typer.echo(json.dumps({"url": url}) if as_json else f"{url}  (Ctrl-C ends it)")
        if host not in LOOPBACK:
            typer.secho("whoever reaches this address can read the run", fg="yellow", err=True)
        if browser:
            import webbrowser

            webbrowser.open(url)

    def end(*_: Any) -> None:
        raise SystemExit

    signal.signal(signal.SIGTERM, end)
    try:
        serve(Run(run), host, port, ready, style)
    except (KeyboardInterrupt, SystemExit):
        typer.echo("ended", err=True)
        sys.stdout.flush()
        os._exit(0)  # Python's own end aborts where the thread that renders is inside XLA

"""The application, and what every command has in common: errors become messages and exit codes."""

from __future__ import annotations

import functools
import json
import logging
import sys
from collections.abc import Callable
from typing import Annotated, Any, NoReturn, TypeVar

import typer

from weft import __version__
from weft.errors import WeftError

app = typer.Typer(
    name="weft",
    help="From data and a hardware budget to verified FPGA firmware: search, compress, build, verify, synthesise.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,  # plain help: importing rich for it would take longer than all else together
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 ok, 2 usage or configuration, 3 tool missing, 4 verification failed, 5 budget not met.",
)

INTERRUPTED = 130

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]

F = TypeVar("F", bound=Callable[..., Any])


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and leave.", is_eager=True)] = False,
    verbose: Annotated[int, typer.Option("--verbose", "-v", count=True, help="Log more to stderr; twice: all.")] = 0,
) -> None:
    if version:
        typer.echo(f"weft {__version__}")
        raise typer.Exit
    level = (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbose, 2)]
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("weft").setLevel(level)


def command(function: F, group: typer.Typer = app) -> F:
    """Register a command of `weft` or of a group; its errors end it with a message on stderr and their exit code."""

    @functools.wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except WeftError as error:
            message = "\n".join([str(error), *getattr(error, "__notes__", ())])
            _fail(message, type(error).__name__, error.exit_code, as_json=kwargs.get("as_json", False))
        except OSError as error:
            place = f" ({error.filename})" if error.filename else ""
            message = (
                f"the system refused: {error.strerror or error}{place}; nothing finished is lost: "
                "once that is put right, the same command goes on from here"
            )
            _fail(message, type(error).__name__, WeftError.exit_code, as_json=kwargs.get("as_json", False))
        except KeyboardInterrupt:
            typer.secho("stopped; nothing finished is lost: the same command goes on from here", fg="yellow", err=True)
            raise typer.Exit(INTERRUPTED) from None

    group.command(name=function.__name__.replace("_", "-"))(guarded)
    return function


def _fail(message: str, kind: str, exit_code: int, *, as_json: bool) -> NoReturn:
    if as_json:
        typer.echo(json.dumps({"error": message, "kind": kind, "exit_code": exit_code}))
    typer.secho(f"error: {message}", fg="red", err=True)
    raise typer.Exit(exit_code)


def print_json(value: Any) -> None:
    """Write a result to stdout as JSON."""
    typer.echo(json.dumps(value, indent=2, allow_nan=False))

"""`weft agent`: a model behind a chat-completions endpoint works with weft's tools, and asks before it costs time."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from weft.cli._app import Json, command, print_json
from weft.cli.mcp import (
    AllowCode,
    AllowNetwork,
    MaxHours,
    MaxJobs,
    MaxMemory,
    MaxTrials,
    Read,
    Workspace,
    Write,
    limits_of,
    require_mcp,
    sandbox_of,
)
from weft.errors import ConfigError


@command
def agent(
    prompt: Annotated[str, typer.Argument(help="What you want, in words.")],
    base_url: Annotated[str, typer.Option("--base-url", help="The endpoint, such as http://127.0.0.1:8080/v1.")],
    model: Annotated[str, typer.Option("--model", help="The model's name there.")],
    key_variable: Annotated[
        str, typer.Option("--key-variable", help="The environment variable that holds the API key.")
    ] = "WEFT_AGENT_KEY",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before costly calls.")] = False,
    max_turns: Annotated[int, typer.Option("--max-turns", min=1, help="Answers of the model at most.")] = 40,
    workspace: Workspace = Path("."),
    write: Write = None,
    read: Read = None,
    allow_code: AllowCode = False,
    allow_network: AllowNetwork = False,
    max_jobs: MaxJobs = 1,
    max_hours: MaxHours = 12.0,
    max_memory_gib: MaxMemory = 16.0,
    max_trials: MaxTrials = 1000,
    as_json: Json = False,
) -> None:
    """Let a model design a network with weft's tools; every costly call is confirmed unless --yes is given."""
    require_mcp()
    from weft.mcp.agent import Endpoint, converse
    from weft.mcp.server import build

    if not prompt.strip():
        raise ConfigError('the prompt is empty; say what you want, as in "jets on a VU13P, under 50 ns"')
    endpoint = Endpoint(base_url, model, os.environ.get(key_variable))
    sandbox = sandbox_of(workspace, write, read, allow_code, allow_network)
    server = build(sandbox, limits_of(max_jobs, max_hours, max_memory_gib, max_trials))
    said = converse(server, endpoint, prompt, _yes if yes else _ask, lambda line: typer.echo(line, err=True), max_turns)
    if as_json:
        print_json({"answer": said})
    else:
        typer.echo(said)


def _yes(tool: str, arguments: dict[str, Any]) -> bool:
    return True


def _ask(tool: str, arguments: dict[str, Any]) -> bool:
    """Ask on the terminal; without one, nobody has agreed."""
    if not sys.stdin.isatty():
        typer.echo(f"{tool}: not confirmed, since nobody is at a terminal; --yes waives the question", err=True)
        return False
    shown = ", ".join(f"{key}={str(value)[:80]!r}" for key, value in arguments.items())
    return typer.confirm(f"May the model call {tool}({shown})?", err=True)

"""`weft mcp`: the server for agents, and the same tools as function-calling schemas."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from weft.cli._app import command, print_json
from weft.errors import ConfigError, ToolNotFoundError

if TYPE_CHECKING:
    from weft.mcp.jobs import Limits
    from weft.mcp.sandbox import Sandbox

Workspace = Annotated[
    Path, typer.Option("--workspace", "-w", help="The folder with data and experiments; may be read.")
]
Write = Annotated[Path | None, typer.Option("--write", help="The folder for runs; by default WORKSPACE/runs.")]
Read = Annotated[list[Path] | None, typer.Option("--read", help="A further folder that may be read; repeatable.")]
AllowCode = Annotated[bool, typer.Option("--allow-code", help="Let experiments name functions of your own.")]
AllowNetwork = Annotated[bool, typer.Option("--allow-network", help="Let experiments load data from OpenML.")]
MaxJobs = Annotated[int, typer.Option("--max-jobs", min=1, help="Jobs that run at a time.")]
MaxHours = Annotated[float, typer.Option("--max-hours", min=0.01, help="Longest run of a job.")]
MaxMemory = Annotated[float, typer.Option("--max-memory-gib", min=0.1, help="Most memory of a job, GiB.")]
MaxTrials = Annotated[int, typer.Option("--max-trials", min=1, help="Most candidates of a search.")]


@command
def mcp(
    workspace: Workspace = Path("."),
    write: Write = None,
    read: Read = None,
    allow_code: AllowCode = False,
    allow_network: AllowNetwork = False,
    max_jobs: MaxJobs = 1,
    max_hours: MaxHours = 12.0,
    max_memory_gib: MaxMemory = 16.0,
    max_trials: MaxTrials = 1000,
    http: Annotated[int | None, typer.Option("--http", metavar="PORT", help="Serve HTTP here, with a token.")] = None,
    host: Annotated[str, typer.Option("--host", help="With --http: an address of this machine alone.")] = "127.0.0.1",
    tools_json: Annotated[
        bool, typer.Option("--tools-json", help="Print the tools as function-calling schemas and leave.")
    ] = False,
) -> None:
    """Serve weft to an agent by the Model Context Protocol: on stdin and stdout, or by HTTP on this machine."""
    require_mcp()
    if tools_json:
        print_json(_schemas(workspace))
        return
    sandbox = sandbox_of(workspace, write, read, allow_code, allow_network)
    limits = limits_of(max_jobs, max_hours, max_memory_gib, max_trials)
    if http is None:
        from weft.mcp.server import build

        build(sandbox, limits).run("stdio")
        return
    from weft.mcp.http import TOKEN, app, serve, token_of

    if not 0 < http < 65536:
        raise ConfigError(f"--http takes a port from 1 to 65535; got {http}")
    made = app(sandbox, limits, host, http, token_of(sandbox))
    typer.echo(
        f"http://{host}:{http}/mcp, Authorization: Bearer TOKEN; the token is in {TOKEN} or {sandbox.state / 'token'}",
        err=True,
    )
    serve(made, host, http)


def require_mcp() -> None:
    """Refuse to go on where the SDK is missing."""
    from importlib.util import find_spec

    if find_spec("mcp") is None:
        raise ToolNotFoundError(
            "the Model Context Protocol needs its Python SDK, which is not installed; pip install 'weft[mcp]'"
        )


def sandbox_of(
    workspace: Path, write: Path | None, read: list[Path] | None, allow_code: bool, allow_network: bool
) -> Sandbox:
    """Return the sandbox that the options describe."""
    from weft.mcp.sandbox import Sandbox

    return Sandbox.of(workspace, write, tuple(read or ()), allow_code=allow_code, allow_network=allow_network)


def limits_of(max_jobs: int, max_hours: float, max_memory_gib: float, max_trials: int) -> Limits:
    """Return the limits that the options describe."""
    from weft.mcp.jobs import Limits

    return Limits(concurrency=max_jobs, hours=max_hours, memory_gib=max_memory_gib, trials=max_trials)


def _schemas(workspace: Path) -> list[dict[str, object]]:
    import tempfile

    import anyio

    from weft.mcp.functions import schemas
    from weft.mcp.sandbox import Sandbox
    from weft.mcp.server import build

    with tempfile.TemporaryDirectory() as scratch:  # nothing is written into the workspace for this
        server = build(Sandbox.of(workspace, Path(scratch)))
        return schemas(anyio.run(server.list_tools))

"""The server: tools with their annotations, resources and prompts, put on one `MCPServer` of the official SDK."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.tools import Tool
from mcp_types import CallToolResult, TextContent, ToolAnnotations
from pydantic import BaseModel

from weft import __version__
from weft.errors import WeftError
from weft.mcp import prompts, resources
from weft.mcp.calls import CallLog
from weft.mcp.desk import Desk
from weft.mcp.experiments import Experiments
from weft.mcp.jobs import JobStore, Limits
from weft.mcp.results import Results
from weft.mcp.sandbox import Sandbox
from weft.mcp.work import Work

if TYPE_CHECKING:
    from mcp.server.auth.provider import TokenVerifier
    from mcp.server.auth.settings import AuthSettings

INSTRUCTIONS = """\
weft searches, compresses and verifies neural networks for FPGAs. The way: get_capabilities, inspect_dataset,
draft_config, validate_config, start_search, wait_for_job, get_pareto, select_design, start_compression, wait_for_job,
start_firmware, wait_for_job, compare_designs. Long work is a job that goes on when you leave; find it with list_jobs.
Runs have names, not paths. Every number has a stage: quote it with the number. `predicted` and `solver` are estimates;
`synthesis` is not routed; only `post_route` is. Nothing is verified before start_firmware says `exact`."""


@dataclass(frozen=True)
class Kind:
    """What calling a tool means."""

    title: str
    reads_only: bool = False
    idempotent: bool = True
    destructive: bool = False
    costly: bool = False


KINDS: dict[str, Kind] = {
    "get_capabilities": Kind("What this server can do", reads_only=True),
    "list_presets": Kind("Experiments to begin with", reads_only=True),
    "inspect_dataset": Kind("Read and check data", reads_only=True),
    "draft_config": Kind("Draft an experiment"),
    "validate_config": Kind("Check an experiment"),
    "estimate_hardware": Kind("Estimate hardware cost", reads_only=True),
    "start_search": Kind("Start a search", idempotent=False, costly=True),
    "start_compression": Kind("Start a compression", idempotent=False, costly=True),
    "start_firmware": Kind("Start firmware, proof and synthesis", idempotent=False, costly=True),
    "get_job": Kind("How far a job is", reads_only=True),
    "wait_for_job": Kind("Wait for a job", reads_only=True),
    "cancel_job": Kind("Stop a job", destructive=True),
    "list_jobs": Kind("All jobs and runs", reads_only=True),
    "get_pareto": Kind("The front of a search", reads_only=True),
    "select_design": Kind("Pick what is compressed", destructive=True),
    "compare_designs": Kind("Designs side by side", reads_only=True),
    "explain_failure": Kind("Why something failed", reads_only=True),
}
"""Every tool. `destructive`: it undoes something, an earlier selection or a job's running; no file is ever deleted."""


def build(
    sandbox: Sandbox,
    limits: Limits | None = None,
    *,
    auth: AuthSettings | None = None,
    token_verifier: TokenVerifier | None = None,
) -> MCPServer[Any]:
    """Return a server on a sandbox; `auth` and `token_verifier` are for HTTP."""
    desk = Desk(sandbox, JobStore(sandbox.state, limits or Limits()))
    rooms = (Experiments(desk), Work(desk), Results(desk))
    server: MCPServer[Any] = MCPServer(
        "weft", title="weft", version=__version__, instructions=INSTRUCTIONS, log_level="WARNING", auth=auth,
        token_verifier=token_verifier, middleware=[CallLog(sandbox.state)],
        tools=[_tool(next(getattr(room, name) for room in rooms if hasattr(room, name)), desk) for name in KINDS],
    )  # fmt: skip
    resources.add(server, desk)
    prompts.add(server)
    return server


def _tool(function: Callable[..., Any], desk: Desk) -> Tool:
    kind = KINDS[function.__name__]
    tool = Tool.from_function(
        _heard(function, desk),
        name=function.__name__,
        title=kind.title,
        description=inspect.getdoc(function),
        annotations=ToolAnnotations(
            title=kind.title, read_only_hint=kind.reads_only, destructive_hint=kind.destructive,
            idempotent_hint=kind.idempotent, open_world_hint=False,
        ),
    )  # fmt: skip
    arguments = tool.fn_metadata.arg_model
    arguments.model_config["extra"] = "forbid"  # a misspelt bound must not be one that is left out
    arguments.model_rebuild(force=True)
    tool.parameters["additionalProperties"] = False
    return tool


def _heard(function: Callable[..., Any], desk: Desk) -> Callable[..., Any]:
    """Return a tool whose answer is compact JSON, and whose errors reach the caller with what to do next."""

    def error_of(error: Exception) -> ToolError:
        notes = [str(error), *getattr(error, "__notes__", ())]
        if isinstance(error, OSError) and not isinstance(error, WeftError):
            notes = [f"the system refused: {error.strerror or type(error).__name__}; nothing was started"]
        return ToolError(desk.sandbox.hide("\n".join(notes))[:4000])

    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def waits(*args: Any, **kwargs: Any) -> Any:
            try:
                return _result(await function(*args, **kwargs))
            except (WeftError, OSError) as error:
                raise error_of(error) from error

        return waits

    @functools.wraps(function)
    def answers(*args: Any, **kwargs: Any) -> Any:
        try:
            return _result(function(*args, **kwargs))
        except (WeftError, OSError) as error:
            raise error_of(error) from error

    return answers


def _result(answer: BaseModel) -> CallToolResult:
    """Return an answer as the client shows it, compact, and as data."""
    text = answer.model_dump_json(exclude_none=True, exclude_defaults=True)
    return CallToolResult(
        content=[TextContent(type="text", text=text)], structured_content=answer.model_dump(mode="json")
    )

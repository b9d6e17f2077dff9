"""A small tool-calling loop: a model behind any chat-completions endpoint works with the tools of the server.

What costs time is confirmed by the user, unless that is waived. The model sees the answers of the tools, and nothing
else of this machine.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import anyio
from mcp.client.client import Client
from mcp.server.mcpserver import MCPServer
from mcp_types import TextContent

from weft.errors import ConfigError, RunError, WeftError
from weft.mcp.functions import schemas
from weft.mcp.server import INSTRUCTIONS, KINDS

Message = dict[str, Any]
Confirm = Callable[[str, dict[str, Any]], bool]
"""Called as `confirm(tool, arguments)` before a costly call."""

Show = Callable[[str], None]

_DECLINED = "The user declined this call. Ask what to change, or go on without it."
_TIMEOUT_S = 300.0
_LARGEST = 8 << 20


@dataclass(frozen=True)
class Endpoint:
    """A chat-completions endpoint.

    Attributes:
        base_url: As in http://127.0.0.1:8080/v1; `/chat/completions` is added.
        model: Its name there.
        key: Sent as bearer token; None sends none.
    """

    base_url: str
    model: str
    key: str | None = None

    def __post_init__(self) -> None:
        parts = urllib.parse.urlsplit(self.base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(f"--base-url must be an http:// or https:// address; got '{self.base_url}'")
        if self.key and parts.scheme == "http" and parts.hostname not in ("127.0.0.1", "localhost", "::1"):
            raise ConfigError(f"an API key is not sent in the clear to {parts.hostname}; use https://")

    def complete(self, messages: Sequence[Message], tools: Sequence[dict[str, Any]]) -> Message:
        """Return the next message of the model.

        Raises:
            RunError: the endpoint cannot be reached, or answers something else.
        """
        body = json.dumps({"model": self.model, "messages": list(messages), "tools": list(tools)}).encode()
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {self.key}"} if self.key else {})
        url = self.base_url.rstrip("/") + "/chat/completions"
        request = urllib.request.Request(url, body, headers, method="POST")
        try:
            with _no_redirects().open(request, timeout=_TIMEOUT_S) as answer:
                text = answer.read(_LARGEST)
        except urllib.error.HTTPError as error:
            said = error.read(500).decode("utf-8", "replace")
            raise RunError(f"{url} answered {error.code}: {said}; see --base-url, --model and the API key") from error
        except OSError as error:
            raise RunError(f"cannot reach {url}: {error}; see --base-url") from error
        try:
            message = json.loads(text)["choices"][0]["message"]
        except (ValueError, LookupError, TypeError) as error:
            raise RunError(f"{url} answered no chat completion: {text[:200].decode('utf-8', 'replace')}") from error
        if not isinstance(message, dict):
            raise RunError(f"{url} answered no chat completion: its message is no object")
        return cast(Message, message)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would take the key elsewhere."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def _no_redirects() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(_NoRedirect)


def converse(
    server: MCPServer[Any], endpoint: Endpoint, prompt: str, confirm: Confirm, show: Show, max_turns: int = 40
) -> str:
    """Let a model work on a prompt until it calls no tool any more, and return its last words.

    Args:
        server: Whose tools it may call.
        endpoint: Where the model is.
        prompt: What the user wants.
        confirm: Asked before every costly call.
        show: Given one line a call, for the user.
        max_turns: Answers of the model at most.

    Raises:
        RunError: the endpoint fails, or the model does not come to an end.
    """
    return anyio.run(_converse, server, endpoint, prompt, confirm, show, max_turns)


async def _converse(
    server: MCPServer[Any], endpoint: Endpoint, prompt: str, confirm: Confirm, show: Show, max_turns: int
) -> str:
    messages: list[Message] = [{"role": "system", "content": INSTRUCTIONS}, {"role": "user", "content": prompt}]
    failed: WeftError | None = None
    async with Client(server) as client:
        tools = schemas((await client.list_tools()).tools)
        for _ in range(max_turns):
            try:
                said = await anyio.to_thread.run_sync(endpoint.complete, messages, tools)
            except WeftError as error:  # raised below: the client would wrap it into groups
                failed = error
                break
            messages.append({"role": "assistant", **said})
            calls = cast(list[Any], said.get("tool_calls") or [])
            if not calls:
                return str(said.get("content") or "")
            for call in calls:
                answer = await _call(client, call, confirm, show)
                messages.append({"role": "tool", "tool_call_id": _id(call), "content": answer})
    raise failed or RunError(
        f"the model has not come to an end after {max_turns} answers; jobs it started go on: weft mcp, list_jobs"
    )


def _id(call: Any) -> str:
    return str(cast(dict[str, Any], call).get("id", "")) if isinstance(call, dict) else ""


async def _call(client: Client, call: Any, confirm: Confirm, show: Show) -> str:
    """Run one call of the model and return what it gets to read; what is wrong with the call is told to it, too."""
    try:
        function = cast(dict[str, Any], call["function"])
        name, text = str(function["name"]), function.get("arguments") or "{}"
        arguments = json.loads(text) if isinstance(text, str) else text
    except (ValueError, LookupError, TypeError, AttributeError):
        return "error: the call has no name, or its arguments are no JSON object; call again"
    if name not in KINDS:
        return f"error: there is no tool '{name[:80]}'; the tools are {', '.join(KINDS)}"
    if not isinstance(arguments, dict):
        return "error: the arguments must be one JSON object; call again"
    given = cast(dict[str, Any], arguments)
    costly = KINDS[name].costly and given.get("dry_run") is not True
    if costly and not await anyio.to_thread.run_sync(confirm, name, given):
        show(f"{name}: declined")
        return _DECLINED
    result = await client.call_tool(name, given)
    words = "\n".join(one.text for one in result.content if isinstance(one, TextContent))
    show(f"{name}({', '.join(f'{key}={str(value)[:60]!r}' for key, value in given.items())}): {words[:200]}")
    return f"error: {words}" if result.is_error else words

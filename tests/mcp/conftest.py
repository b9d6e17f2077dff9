"""A workspace with a small data file, a server on it, and calls to that server in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import pytest
from mcp.client.client import Client
from mcp.shared.exceptions import MCPError

from tests.conftest import blobs
from weft.mcp.jobs import Limits
from weft.mcp.sandbox import Sandbox
from weft.mcp.server import build

T = TypeVar("T")


def apart(function: Callable[..., T], *arguments: Any, **options: Any) -> T:
    """Call a function in a thread of its own: this one may have a loop, of a browser that another test drives."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function, *arguments, **options).result()


def in_a_loop(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine."""
    return apart(asyncio.run, work)


class Server:
    """A server in this process, asked by the SDK's client; each call is a session of its own."""

    def __init__(self, sandbox: Sandbox, limits: Limits | None = None) -> None:
        self.sandbox, self.server = sandbox, build(sandbox, limits)

    def with_client(self, work: Callable[[Client], Coroutine[Any, Any, T]]) -> T:
        async def session() -> T:
            async with Client(self.server) as client:
                return await work(client)

        return in_a_loop(session())

    def call(self, tool: str, **arguments: Any) -> Any:
        return self.with_client(lambda client: client.call_tool(tool, arguments))

    def ask(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Call a tool that must succeed and return its data."""
        result = self.call(tool, **arguments)
        assert not result.is_error, result.content[0].text
        return result.structured_content

    def refused(self, tool: str, **arguments: Any) -> str:
        """Call a tool that must fail and return what it says."""
        result = self.call(tool, **arguments)
        assert result.is_error, result.structured_content
        return result.content[0].text

    def read(self, uri: str) -> Any:
        return self.with_client(lambda client: client.read_resource(uri)).contents[0]

    def lacks(self, uri: str) -> str:
        """Read a resource that there is not and return what is said."""

        async def session(client: Client) -> str:
            with pytest.raises(MCPError) as caught:
                await client.read_resource(uri)
            return str(caught.value)

        return self.with_client(session)


def write_events(directory: Path) -> None:
    x, y = blobs(900, seed=4)
    rows = ["a,b,c,d,e,f,kind"]
    rows += [
        ",".join([*(f"{v:.5f}" for v in row), ("up", "down", "strange")[label]])
        for row, label in zip(x, y, strict=True)
    ]
    (directory / "events.csv").write_text("\n".join(rows) + "\n")


@pytest.fixture
def server(tmp_path: Path) -> Server:
    write_events(tmp_path)
    return Server(Sandbox.of(tmp_path), Limits(grace_s=3.0))

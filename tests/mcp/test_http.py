"""Streamable HTTP: on this machine alone, with a token, and not for web pages."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import httpx2
import pytest
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client

from tests.mcp.conftest import in_a_loop
from weft.errors import AccessError
from weft.mcp.http import TOKEN, app, token_of
from weft.mcp.jobs import Limits
from weft.mcp.sandbox import Sandbox

SECRET = "a-token-of-the-test-0123456789"
CALL = b'{"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}'


@pytest.fixture(scope="module")
def port(tmp_path_factory) -> Iterator[int]:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        found = one.getsockname()[1]
    place = tmp_path_factory.mktemp("http")
    environment = {**os.environ, TOKEN: SECRET, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "weft", "mcp", "--workspace", str(place), "--http", str(found)]
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
        end = time.monotonic() + 60
        while time.monotonic() < end:
            with socket.socket() as one:
                if one.connect_ex(("127.0.0.1", found)) == 0:
                    break
            assert process.poll() is None
            time.sleep(0.1)
        yield found
        process.terminate()


def status(port: int, **headers: str) -> int:
    """Return what the server answers to a call with these headers."""
    given = {
        "Host": f"127.0.0.1:{port}", "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream", "Authorization": f"Bearer {SECRET}",
    }  # fmt: skip
    merged = {**given, **{name.replace("_", "-"): value for name, value in headers.items()}}
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    connection.putrequest("POST", "/mcp", skip_host=True)
    for name, value in merged.items():
        if value:
            connection.putheader(name, value)
    connection.putheader("Content-Length", str(len(CALL)))
    connection.endheaders(CALL)
    found = connection.getresponse().status
    connection.close()
    return found


def test_a_client_with_the_token_is_served(port):
    async def tools() -> int:
        async with httpx2.AsyncClient(headers={"Authorization": f"Bearer {SECRET}"}) as http:
            url = f"http://127.0.0.1:{port}/mcp"
            async with Client(streamable_http_client(url, http_client=http)) as client:
                return len((await client.list_tools()).tools)

    assert in_a_loop(tools()) == 17


def test_nobody_else_is(port):
    assert status(port) not in (401, 403, 421)
    assert status(port, Authorization="") == 401
    assert status(port, Authorization="Bearer wrong-token-0123456789") == 401
    assert status(port, Authorization=f"Basic {SECRET}") == 401
    assert status(port, Authorization=f"Bearer {SECRET}x") == 401


def test_a_name_or_a_page_of_another_machine_is_refused(port):
    """DNS rebinding: the attacker's page talks to 127.0.0.1 under the attacker's name."""
    for host in ("evil.example", f"evil.example:{port}", "127.0.0.1:1", f"127.0.0.1.evil.example:{port}", "localhost"):
        assert status(port, Host=host) == 421, host
    for origin in ("http://evil.example", "null", "http://127.0.0.1", f"https://127.0.0.1:{port}",
                   f"http://127.0.0.1:{port}.evil.example"):  # fmt: skip
        assert status(port, Origin=origin) == 403, origin
    assert status(port, Origin=f"http://localhost:{port}") not in (401, 403, 421)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org", ""])
def test_other_machines_cannot_be_served(tmp_path, host):
    with pytest.raises(AccessError, match=r"can be reached from other machines; weft serves this one alone"):
        app(Sandbox.of(tmp_path), Limits(), host, 8000, SECRET)


def test_a_short_token_is_refused(tmp_path):
    with pytest.raises(AccessError, match=r"the token in WEFT_MCP_TOKEN has 5 characters; take 16 or more"):
        app(Sandbox.of(tmp_path), Limits(), "127.0.0.1", 8000, "short")


def test_without_a_token_one_is_drawn_that_only_the_owner_reads(tmp_path: Path, monkeypatch):
    monkeypatch.delenv(TOKEN, raising=False)
    sandbox = Sandbox.of(tmp_path)
    token = token_of(sandbox)
    assert len(token) >= 40
    assert token_of(sandbox) == token
    assert stat.S_IMODE((sandbox.state / "token").stat().st_mode) == 0o600
    assert stat.S_IMODE(sandbox.state.stat().st_mode) == 0o700

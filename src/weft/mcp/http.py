"""Streamable HTTP for clients that start no processes: on this machine alone, with a token, and for no web page.

A browser can be made to talk to this machine by a name of the attacker's (DNS rebinding): requests whose `Host` is not
the address that is served, or that come from a web page of elsewhere (`Origin`), are refused, also with the token.
"""

from __future__ import annotations

import hmac
import os
import secrets
from typing import TYPE_CHECKING

from mcp.server.auth.provider import AccessToken
from mcp.server.auth.settings import AuthSettings
from mcp.server.transport_security import TransportSecuritySettings
from pydantic import AnyHttpUrl

from weft.errors import AccessError
from weft.mcp.jobs import Limits
from weft.mcp.sandbox import Sandbox
from weft.mcp.server import build

if TYPE_CHECKING:
    from starlette.applications import Starlette

TOKEN = "WEFT_MCP_TOKEN"
"""The environment variable that holds the token; without it, one is drawn and written to the server's own folder."""

LOOPBACK = ("127.0.0.1", "::1", "localhost")

SHORTEST = 16


class _OneToken:
    """Accepts one token, compared in constant time."""

    def __init__(self, token: str) -> None:
        self._token = token.encode()

    async def verify_token(self, token: str) -> AccessToken | None:
        if not hmac.compare_digest(token.encode(), self._token):
            return None
        return AccessToken(token=token, client_id="owner", scopes=[])


def app(sandbox: Sandbox, limits: Limits, host: str, port: int, token: str) -> Starlette:
    """Return the web application.

    Raises:
        AccessError: the address is not of this machine, or the token is short.
    """
    if host not in LOOPBACK:
        raise AccessError(
            f"--host {host} can be reached from other machines; weft serves this one alone: {', '.join(LOOPBACK)}. "
            f"From elsewhere use an SSH tunnel: ssh -L {port}:127.0.0.1:{port} HOST"
        )
    if len(token) < SHORTEST:
        raise AccessError(f"the token in {TOKEN} has {len(token)} characters; take {SHORTEST} or more")
    shown = f"[{host}]" if ":" in host else host
    auth = AuthSettings(issuer_url=AnyHttpUrl(f"http://{shown}:{port}"), resource_server_url=None)
    server = build(sandbox, limits, auth=auth, token_verifier=_OneToken(token))
    names = [f"{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]")]
    security = TransportSecuritySettings(
        enable_dns_rebinding_protection=True, allowed_hosts=names, allowed_origins=[f"http://{name}" for name in names]
    )
    return server.streamable_http_app(host=host, transport_security=security)


def token_of(sandbox: Sandbox) -> str:
    """Return the token of the environment, or the one in the server's own folder, drawn where there is none."""
    given = os.environ.get(TOKEN)
    if given:
        return given
    path = sandbox.state / "token"
    if not path.exists():
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(32))
    return path.read_text()


def serve(made: Starlette, host: str, port: int) -> None:
    """Serve the web application until the process is stopped."""
    import uvicorn

    uvicorn.run(made, host=host, port=port, log_level="warning")

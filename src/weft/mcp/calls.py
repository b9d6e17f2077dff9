"""Every call is written down: one JSON line each, with what was asked and how it ended."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from mcp.server.context import CallNext, HandlerResult, ServerRequestContext

CALLS = "calls.jsonl"

_LOGGED = ("tools/call", "resources/read", "prompts/get")
_LONGEST = 2000


class CallLog:
    """A middleware of the server that appends to `calls.jsonl` in the server's own folder."""

    def __init__(self, state: Path) -> None:
        self._path = state / CALLS

    async def __call__(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        if ctx.method not in _LOGGED:
            return await call_next(ctx)
        began = time.monotonic()
        line: dict[str, Any] = {"time": datetime.now(UTC).isoformat("T", "milliseconds"), "method": ctx.method}
        line |= _asked(ctx.params or {})
        try:
            result = await call_next(ctx)
        except BaseException as error:
            self._append({**line, "seconds": _since(began), "ok": False, "error": str(error)[:_LONGEST]})
            raise
        failed = getattr(result, "is_error", False) or (isinstance(result, dict) and result.get("isError", False))
        said = {"error": _text(result)[:_LONGEST]} if failed else {}
        self._append({**line, "seconds": _since(began), "ok": not failed, **said})
        return result

    def _append(self, line: Mapping[str, Any]) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(self._path, flags, 0o600)
        try:
            os.write(descriptor, (json.dumps(line) + "\n").encode())
        finally:
            os.close(descriptor)


def _asked(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a call asked for: its name or address, and its arguments, shortened."""
    found = {key: str(params[key])[:_LONGEST] for key in ("name", "uri") if key in params}
    text = json.dumps(params.get("arguments") or {}, default=str)
    return {**found, "arguments": json.loads(text) if len(text) <= _LONGEST else text[:_LONGEST]}


def _text(result: Any) -> str:
    """Return the words of a result, which is a model or, from a later layer, a dictionary."""
    found: Any = cast(Any, result) if isinstance(result, dict) else result.model_dump(mode="json")
    return " ".join(str(one.get("text", "")) for one in found.get("content", ()))


def _since(began: float) -> float:
    return round(time.monotonic() - began, 3)

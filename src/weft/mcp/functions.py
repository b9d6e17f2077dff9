"""The same tools for clients without MCP: as function-calling schemas, in the form of chat completions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from weft.mcp.server import KINDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mcp_types import Tool


def schemas(tools: Sequence[Tool]) -> list[dict[str, Any]]:
    """Return tools as `{"type": "function", "function": {"name", "description", "parameters"}}`."""
    return [
        {
            "type": "function",
            "function": {
                "name": tool.name,
                "description": (tool.description or "")
                + (" Costly: asks for consent." if KINDS[tool.name].costly else ""),
                "parameters": _plain(tool.input_schema, tool.input_schema.get("$defs", {})),
            },
        }
        for tool in tools
    ]


def _plain(schema: Any, definitions: dict[str, Any]) -> Any:
    """Return a schema with its references written out and without titles, which some endpoints do not take."""
    if isinstance(schema, list):
        return [_plain(one, definitions) for one in cast(list[Any], schema)]
    if not isinstance(schema, dict):
        return schema
    found = cast(dict[str, Any], schema)
    if "$ref" in found:
        return _plain(definitions[str(found["$ref"]).rpartition("/")[2]], definitions)
    made = {key: _plain(value, definitions) for key, value in found.items() if key not in ("title", "$defs")}
    if "properties" in found:  # an argument may be called title
        made["properties"] = {name: _plain(one, definitions) for name, one in found["properties"].items()}
    return made

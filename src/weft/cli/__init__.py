"""The command line: one module a command, all thin around functions that Python users call too."""

from __future__ import annotations

from weft.cli._app import app
from weft.cli._interrupt import install


def main() -> None:
    """Run the command line."""
    install()
    from weft.cli import (  # noqa: F401 - importing a command registers it
        agent,
        compare,
        dashboard,
        data,
        doctor,
        estimate,
        export,
        init,
        init_layers,
        mcp,
        migrate,
        pareto,
        presets,
        report,
        run,
        stages,
        status,
        surrogate,
        tune,
        validate,
        verify,
    )

    app(prog_name="weft")


__all__ = ["app", "main"]

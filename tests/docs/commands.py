"""The commands of weft in a text: which of them, or of their options, do not exist."""

from __future__ import annotations

import importlib
import pkgutil
import re
import shlex
from functools import cache
from typing import Any


@cache
def _app() -> Any:
    from typer.main import get_command

    import weft.cli

    for module in pkgutil.iter_modules(weft.cli.__path__, "weft.cli."):
        importlib.import_module(module.name)
    return get_command(weft.cli.app)


def wrong(text: str) -> list[str]:
    """Return what is wrong with the lines `weft ...` of the text's shell blocks, one sentence each."""
    found = []
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", text, re.M | re.S)
    for line in "\n".join(block for language, block in blocks if language == "sh").replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        while words and re.match(r"\w+=", words[0]):  # an environment variable
            words = words[1:]
        if words[:1] != ["weft"]:
            continue
        found += [f"{' '.join(words)}: {problem}" for problem in _problems(words[1:])]
    return found


def _problems(words: list[str]) -> list[str]:
    command = _app()
    while words and hasattr(command, "commands") and not words[0].startswith("-"):
        if words[0] not in command.commands:
            return [f"no command {words[0]}"]
        command, words = command.commands[words[0]], words[1:]
    options = {"--help", "-h"} | {name for p in command.params for name in (*p.opts, *p.secondary_opts)}
    given = [word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)]
    return [f"no option {name}" for name in given if name not in options]

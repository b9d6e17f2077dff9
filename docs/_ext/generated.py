"""Reference pages made of what the program itself says: commands, keys of the experiment file, presets and parts.

And the list of guides: a page that no index names is one.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.util.docutils import SphinxDirective


def commands() -> str:
    """Return every command of `weft` with its arguments and options, as MyST."""
    from typer.main import get_command

    import weft.cli

    for module in pkgutil.iter_modules(weft.cli.__path__, "weft.cli."):  # importing a command registers it
        importlib.import_module(module.name)
    return "\n\n".join(_command(("weft",), get_command(weft.cli.app)))


def _command(words: tuple[str, ...], command: Any) -> Iterator[str]:
    below = getattr(command, "commands", None)
    if len(words) > 1:
        yield f"{'#' * (len(words))} `{' '.join(words)}`"
        yield _text(command.help or "")
    arguments = [
        f"`{p.name.upper()}` | {_default(p)} | {_cell(p.help)}" for p in command.params if _kind(p) == "argument"
    ]
    options = [f"{_names(p)} | {_default(p)} | {_cell(p.help)}" for p in command.params if _kind(p) == "option"]
    if arguments or options:
        yield "\n".join(["| | default | |", "| --- | --- | --- |", *(f"| {row} |" for row in (*arguments, *options))])
    if not below and command.epilog:
        yield command.epilog
    for name, one in sorted((below or {}).items()):
        yield from _command((*words, name), one)


def _kind(parameter: Any) -> str:
    return parameter.param_type_name


def _names(option: Any) -> str:
    return ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))


def _default(parameter: Any) -> str:
    value = parameter.default
    if parameter.required:
        return "required"
    return "" if value in (None, False, 0, (), []) or callable(value) else f"`{value}`"


def experiment() -> str:
    """Return every key of the experiment file, section by section, from its JSON Schema, as MyST."""
    from weft.config import schema

    whole = schema()
    sections = {name: one for name, one in whole["$defs"].items() if one.get("properties")}
    parts = ["## The file", *_section(whole, whole)]
    for name in sorted(sections):
        parts += [f"({_anchor(name)})=\n## {name}", *_section(sections[name], whole)]
    return "\n\n".join(parts)


def _section(section: dict[str, Any], whole: dict[str, Any]) -> Iterator[str]:
    yield _text(section.get("description", ""))
    rows = []
    for key, value in section["properties"].items():
        default = "required" if key in section.get("required", ()) else _value(value.get("default"))
        rows.append(f"| `{key}` | {_type(value, whole)} | {default} | {_cell(value.get('description'))} |")
    yield "\n".join(["| key | value | default | |", "| --- | --- | --- | --- |", *rows])


def _type(value: dict[str, Any], whole: dict[str, Any]) -> str:
    """Return what a key takes, in words, with links to the sections."""
    if "$ref" in value:
        name = value["$ref"].rpartition("/")[2]
        target = whole["$defs"][name]
        return f"[{name}](#{_anchor(name)})" if target.get("properties") else _type(target, whole)
    for union in ("anyOf", "oneOf"):
        if union in value:
            return " or ".join(dict.fromkeys(_type(one, whole) for one in value[union]))
    if "const" in value:
        return f"`{value['const']}`"
    if "enum" in value:
        return ", ".join(f"`{one}`" for one in value["enum"])
    kind = value.get("type", "anything")
    if kind == "array":
        return f"list of {_type(value['items'], whole)}" if "items" in value else "list"
    if kind == "object" and isinstance(value.get("additionalProperties"), dict):
        return f"mapping to {_type(value['additionalProperties'], whole)}"
    words = {"integer": "whole number", "string": "text", "boolean": "true or false", "object": "mapping"}
    limits = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    bounds = [f"{sign} {value[key]}" for key, sign in limits.items() if key in value]
    return " ".join([words.get(kind, kind), *([", ".join(bounds)] if bounds else [])])


def api() -> str:
    """Return the public names of `weft` with their docstrings, as MyST."""
    import weft

    names = [name for name in weft.__all__ if callable(getattr(weft, name))]
    kinds = ["autoclass" if isinstance(getattr(weft, name), type) else "autofunction" for name in names]
    order = sorted(zip(kinds, names, strict=True), key=lambda one: (one[0] == "autoclass", one[1]))
    return "```{eval-rst}\n" + "\n".join(f".. {kind}:: weft.{name}" for kind, name in order) + "\n```"


def presets() -> str:
    """Return the presets and the recipes that weft brings, each with its first line, as MyST."""
    from importlib.resources import files

    parts = []
    for title, folder in (("Experiments", "presets"), ("Recipes of `compress`", "recipes")):
        rows = []
        for one in sorted((files("weft.config") / folder).iterdir(), key=lambda one: one.name):
            words = re.findall(r"^# ?(.*)$", one.read_text(), re.M)
            rows.append(f"| `{one.name.removesuffix('.yaml')}` | {_cell(words[0] if words else '')} |")
        parts += [f"## {title}", "\n".join(["| name | |", "| --- | --- |", *rows])]
    return "\n\n".join(parts)


def parts() -> str:
    """Return the FPGAs that weft knows, as MyST."""
    from weft.config import PARTS

    found = PARTS.values() if isinstance(PARTS, dict) else PARTS
    rows = [f"| `{p.device}` | {p.lut:,} | {p.ff:,} | {p.dsp:,} | {p.bram_18k:,} |" for p in found]
    return "\n".join(["| device | LUT | FF | DSP | BRAM (18 kbit) |", "| --- | ---: | ---: | ---: | ---: |", *rows])


def _anchor(name: str) -> str:
    return "key-" + re.sub(r"\W+", "-", name).strip("-").lower()


def _value(value: Any) -> str:
    if value is None:
        return ""
    text = json.dumps(value, ensure_ascii=False)
    return f"`{text}`" if len(text) <= 60 else "as below"


def _text(words: str) -> str:
    return re.sub(r"(?<!`)<(\w+)>", r"`<\1>`", words)


def _cell(words: str | None) -> str:
    return _text((words or "").replace("\n", " ").replace("|", r"\|"))


class Generated(SphinxDirective):
    """`{generated} NAME`: the text that the function of that name in this module returns."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the parsed text."""
        made = {"api": api, "commands": commands, "experiment": experiment, "presets": presets, "parts": parts}
        return self.parse_text_to_nodes(made[self.arguments[0]](), allow_section_headings=True)


def others(docs: Path) -> list[str]:
    """Return the pages that no index names: those of `docs`, and of folders, whose index stands for them."""
    indices = [docs / "index.md", *docs.glob("*/index.md")]
    named = set(re.findall(r"^(?:\.\./)?([\w/-]+)$", "\n".join(one.read_text() for one in indices), re.M)) | {"index"}
    pages = [*docs.glob("*.md"), *(one for one in docs.glob("[!_]*/*.md") if not (one.parent / "index.md").exists())]
    names = [str(one.relative_to(docs).with_suffix("")) for one in (*pages, *indices)]
    return sorted({name for name in names if name not in named})


def _fill_in(app: Any, docname: str, source: list[str]) -> None:
    """Put the pages that no index names where the first page says `<migration>` and `<others>`."""
    if docname == "index":
        found = [name for name in others(Path(app.srcdir)) if name in app.project.docnames]
        moving = [name for name in found if name.startswith("migrat")]
        for place, names in (("<migration>", moving), ("<others>", [name for name in found if name not in moving])):
            source[0] = source[0].replace(place, "\n".join(names))


def setup(app: Any) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("generated", Generated)
    app.connect("source-read", _fill_in)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

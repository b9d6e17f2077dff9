"""A YAML text as data that remembers the line of every key.

YAML 1.2 rules for plain words, so that `1e-3` is a number, `no` and `on` are words, and `010` is ten. A number such as
`1e5`, whole and without a point, is a whole number. Tags are refused: a file cannot make Python objects.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, cast

import yaml
from yaml.constructor import ConstructorError
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from weft.section import KeyPath

_WORDS = (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9][0-9_]*|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+0123456789."),
    ),
    ("merge", r"<<", ["<"]),
)
"""Plain words that are no text: tag, pattern, first characters. The first match counts."""


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own way to have other rules in a subclass

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = cast(Any, self).peek_event()
        if getattr(event, "tag", None) is not None:
            raise ConstructorError(None, None, f"YAML tags are not accepted, found '{event.tag}'", event.start_mark)
        return super().compose_node(parent, index)


class _Dumper(yaml.SafeDumper):
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - as above: text that would read as a number is quoted


for _tag, _pattern, _first in _WORDS:
    for _class in (_Loader, _Dumper):
        cast(Any, _class).add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), _first)


def _number(loader: _Loader, node: ScalarNode) -> int | float:
    text = loader.construct_scalar(node).replace("_", "").lower()
    try:
        if re.fullmatch(r"0[ox].*", text):
            return int(text, 0)
        if re.fullmatch(r"[-+]?\d+", text):
            return int(text)
    except ValueError as error:  # Python refuses to read thousands of digits
        raise ConstructorError(None, None, f"the number has {len(text)} digits", node.start_mark) from error
    value = float(text.replace(".inf", "inf").replace(".nan", "nan"))
    return int(value) if "." not in text and value.is_integer() else value


_Loader.add_constructor("tag:yaml.org,2002:int", _number)
_Loader.add_constructor("tag:yaml.org,2002:float", _number)


class DocumentError(Exception):
    """The text is no usable YAML: `found` holds (line, message) pairs, lines counted from 1."""

    def __init__(self, found: list[tuple[int, str]]) -> None:
        super().__init__("; ".join(message for _, message in found))
        self.found = found


class Document:
    """The data of a YAML text, and the line of each of its keys and list entries."""

    def __init__(self, data: Any, root: Node | None) -> None:
        self.data = data
        self._root = root

    def line(self, path: KeyPath) -> int:
        """Return the line, from 1, of the longest part of `path` that the text contains."""
        node, line = self._root, 1
        for part in path:
            step = _step(node, part)
            if step is None:
                break
            line, node = step
        return line


def parse(text: str) -> Document:
    """Read one YAML document.

    Raises:
        DocumentError: the text is no YAML, repeats a key, or uses a tag.
    """
    try:
        loader = cast(Any, _Loader(text))
        root: Node | None = loader.get_single_node()
        repeated = list(_repeated_keys(root, set()))
        if repeated:
            raise DocumentError(repeated)
        return Document(loader.construct_document(root) if root else None, root)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = ", ".join(filter(None, [error.context, error.problem]))
        raise DocumentError([(mark.line + 1 if mark else 1, f"cannot be read as YAML: {what}")]) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise DocumentError(
            [(line, f"cannot be read as YAML: it holds the character U+{error.character:04X}")]
        ) from error
    except RecursionError as error:
        raise DocumentError([(1, "cannot be read as YAML: it is nested too deeply")]) from error


def write(data: Any) -> str:
    """Return `data` as YAML that `parse` reads back as the same data."""
    return yaml.dump(data, Dumper=_Dumper, default_flow_style=None, sort_keys=False, allow_unicode=True, width=120)


def _step(node: Node | None, part: str | int) -> tuple[int, Node] | None:
    if isinstance(node, MappingNode):
        for key, value in reversed(cast(list[tuple[Node, Node]], node.value)):  # the last one counts, after a merge
            if key.value == str(part):
                return key.start_mark.line + 1, value
    if isinstance(node, SequenceNode) and isinstance(part, int) and 0 <= part < len(node.value):
        return node.value[part].start_mark.line + 1, node.value[part]
    return None


def _repeated_keys(node: Node | None, seen: set[int]) -> Iterator[tuple[int, str]]:
    if node is None or id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, SequenceNode):
        for item in node.value:
            yield from _repeated_keys(item, seen)
    if isinstance(node, MappingNode):
        lines: dict[tuple[str, str], int] = {}
        for key, value in cast(list[tuple[Node, Node]], node.value):
            if isinstance(key, ScalarNode):
                line, name = key.start_mark.line + 1, (key.tag, key.value)
                if name in lines:
                    yield line, f"the key '{key.value}' is already on line {lines[name]}; keep one of them"
                lines.setdefault(name, line)
            yield from _repeated_keys(value, seen)

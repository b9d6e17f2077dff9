"""Write docs/errors.md: every message that weft raises, and the tests that match it.

Messages are read from the source: what is raised as an error of `weft.errors`, or as a `ValueError` of a validator,
and the problems that sections of the configuration refuse. Tests are read for what they match: `match=` of
`pytest.raises` and `pytest.warns`, and texts that they look for, also in tables and helpers of their file. A test
belongs to a message if a piece that it matches literally stands in the message, of at least 10 characters and more than
one word.

    python tools/errors.py           # writes the page, prints how many messages there are and which no test matches
    python tools/errors.py --check   # exit code 1 if the page is not current
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCE, TESTS, PAGE = ROOT / "src" / "weft", ROOT / "tests", ROOT / "docs" / "errors.md"
HOLE = "\0"
SHORTEST = 10

HEAD = """\
# Error messages

Written by `tools/errors.py` from the source and the tests; do not edit. What weft says when something is wrong: what
was attempted, what was found, what to do next. A word in braces stands for a value. The last column names the first
test that matches the message.

Exit codes of the command line: 2 usage, configuration or data, 3 a tool is missing or failed, 4 verification failed,
5 no design meets the budget.
"""


@dataclass
class Message:
    """A message of the source: `pieces` are its texts between values."""

    text: str
    pieces: list[str]
    kind: str
    room: str
    tests: list[str] = field(default_factory=list)


def kinds() -> set[str]:
    """Return the names of the classes of `weft.errors`, and `ValueError`."""
    tree = ast.parse((SOURCE / "errors.py").read_text("utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.ClassDef)} | {"ValueError"}


def messages() -> list[Message]:
    """Return every message, in the order of the files."""
    known, found = kinds(), []
    for path in sorted(SOURCE.rglob("*.py")):
        room = path.relative_to(SOURCE).parts[0].removesuffix(".py")
        for kind, node in _raised(ast.parse(path.read_text("utf-8")), known):
            template = _template(node)
            pieces = [piece for text in re.split(f"{HOLE}[^{HOLE}]*{HOLE}", template) for piece in _plain(text)]
            if max(map(len, pieces), default=0) >= SHORTEST:
                text = re.sub(f"{HOLE}([^{HOLE}]*){HOLE}", r"{\1}", template)
                found.append(Message(text, pieces, kind, room))
    return found


def _raised(tree: ast.AST, known: set[str]) -> Iterator[tuple[str, ast.expr]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and node.exc.args:
            name = getattr(node.exc.func, "id", "")
            if name in known:
                yield ("ConfigError" if name == "ValueError" else name), node.exc.args[0]
        if isinstance(node, ast.Tuple) and len(node.elts) == 2 and isinstance(node.elts[0], ast.Tuple):
            if isinstance(node.elts[1], ast.JoinedStr | ast.Constant | ast.BinOp):
                yield "ConfigError", node.elts[1]  # a problem of a section: (path, message)


def _template(node: ast.AST) -> str:
    """Return a text with each value between two `HOLE`s; an expression that is no text is one value."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.JoinedStr):
        return "".join(map(_template, node.values))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _template(node.left) + _template(node.right)
    if isinstance(node, ast.FormattedValue):
        return _value(node.value)
    return _value(node)


def _value(node: ast.AST) -> str:
    names = [one.attr if isinstance(one, ast.Attribute) else one.id for one in ast.walk(node)
             if isinstance(one, ast.Attribute | ast.Name)]  # fmt: skip
    words = [name.strip("_") for name in names if name not in ("str", "len", "join", "map", "got", "repr", "self")]
    return f"{HOLE}{words[0] if words else '...'}{HOLE}"


def matched() -> Iterator[tuple[str, list[str]]]:
    """Yield each test with the literal pieces of the texts that it, or what it names of its file, looks for."""
    for path in sorted(TESTS.rglob("test_*.py")):
        body = ast.parse(path.read_text("utf-8")).body
        named = {name: node for node in body for name in _names(node)}
        for name, node in named.items():
            if isinstance(node, ast.FunctionDef) and name.startswith("test"):
                pieces = [piece for text in _texts(node, named) for piece in _literals(text)]
                yield f"{path.relative_to(ROOT)}::{name}", pieces


def _names(node: ast.stmt) -> list[str]:
    """Return the names that a statement of a file makes."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else []
    return [one.id for target in targets for one in ast.walk(target) if isinstance(one, ast.Name)]


def _texts(test: ast.stmt, named: dict[str, ast.stmt]) -> list[str]:
    """Return the texts of a test and of its file's tables and helpers that it reaches by name; no docstrings."""
    seen, waiting, texts = {test}, [test], []
    while waiting:
        inside = list(ast.walk(waiting.pop()))
        loose = {id(one.value) for one in inside if isinstance(one, ast.Expr)}
        for one in inside:
            if isinstance(one, ast.Name) and one.id in named and named[one.id] not in seen:
                seen.add(named[one.id])
                waiting.append(named[one.id])
            if isinstance(one, ast.Constant) and isinstance(one.value, str) and id(one) not in loose:
                texts.append(one.value)
    return [text for text in texts if len(text) >= SHORTEST]


@cache
def _literals(text: str) -> tuple[str, ...]:
    """Return the pieces that a regular expression, or a plain text, matches letter by letter."""
    pattern = re.sub(r"\\[wdsbSDW][+*?]?|\.[*+]\??|\[[^\]]*\][+*?]?", HOLE, text)
    return tuple(piece for one in pattern.split(HOLE) for piece in _plain(one.replace("\\", ""))) + tuple(_plain(text))


def _plain(text: str) -> list[str]:
    """Return the pieces of a text between the characters of regular expressions; one word alone says too little."""
    pieces = (piece.strip(" :;,'") for piece in re.split(r"[()|^$*+?\[\]{}.]", text))
    return [piece for piece in pieces if len(piece) >= SHORTEST and " " in piece]


def _meet(mine: str, piece: str) -> bool:
    """Say whether one holds the other, or one begins with at least `SHORTEST` characters that the other ends with."""
    if piece[:SHORTEST] not in mine and mine[:SHORTEST] not in piece:
        return False
    lengths = range(SHORTEST, min(len(mine), len(piece)))
    return mine in piece or piece in mine or any(mine.endswith(piece[:n]) or piece.endswith(mine[:n]) for n in lengths)


def collect() -> list[Message]:
    """Return the messages with their tests."""
    found = messages()
    for test, pieces in matched():
        for message in found:
            if any(_meet(mine, piece) for mine in message.pieces for piece in pieces):
                message.tests.append(test)
    return found


def page(found: list[Message]) -> str:
    """Return the page."""
    lines = [HEAD]
    for room in sorted({message.room for message in found}):
        rows = {(m.kind, m.text): m for m in found if m.room == room}
        lines += [f"\n## {room}\n", "| message | error | matched by |", "| --- | --- | --- |"]
        for (kind, text), message in sorted(rows.items()):
            first = f"`{message.tests[0].rpartition('::')[2]}`" if message.tests else "none"
            shown = " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
            lines.append(f"| {shown} | {kind} | {first} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Write or check the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    found = collect()
    text = page(found)
    if parser.parse_args().check:
        current = PAGE.exists() and PAGE.read_text("utf-8") == text
        print("current" if current else "docs/errors.md is old; run 'python tools/errors.py'")
        return 0 if current else 1
    PAGE.write_text(text, "utf-8")
    bare = [message for message in found if not message.tests]
    print(f"{len(found)} messages, {len(found) - len(bare)} of them matched by a test; not matched:")
    for message in bare:
        print(f"  {message.room}: {message.kind}: {' '.join(message.text.split())}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The house rules: imports point one way, the surface loads no framework, the library never prints."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "weft"

LEVELS = [
    {"errors", "_cache", "naming"},
    {"user_code", "plugins"},
    {"_backend", "types", "atomic", "objectives", "section"},
    {"ops", "lock", "_tracing", "_interpreter"},
    {"prune", "choice"},
    {"conditions"},
    {"blocks"},
    {"config"},
    {"data", "adder_graph"},
    {"quantize", "draft", "migration"},
    {"torch_loop"},
    {"layers", "pytorch"},
    {"space", "train"},
    {"cost"},
    {"testing"},
    {"compression"},
    {"firmware", "onnx"},
    {"search", "surrogate"},
    {"run", "report"},
    {"tune"},
    {"cli", "mcp"},
]
"""From the bottom to the top: a room imports from rooms below it, or from itself."""

SIDE_BY_SIDE = {"run", "report", "cli", "mcp"}
"""A run writes its report at the end, and the report reads the run: these two rooms have a door between them. So have
the two surfaces: a command starts the server, which shows what commands show."""

FRAMEWORKS = ("jax", "keras", "torch", "tensorflow", "matplotlib", "onnx", "optuna", "pandas", "pyarrow", "distributed")


def level(room: str) -> int:
    return next(i for i, rooms in enumerate(LEVELS) if room in rooms)


def imports(path: Path) -> list[tuple[int, str]]:
    """Return (line, room) of every import of weft, also inside functions; those for type checkers only are left out."""
    tree = ast.parse(path.read_text())
    checked_only = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and getattr(block.test, "id", "") == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    found = []
    for node in ast.walk(tree):
        if id(node) in checked_only:
            continue
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"weft.{alias.name}" for alias in node.names] if node.module == "weft" else [node.module]
        found += [(node.lineno, name.split(".")[1]) for name in names if name.startswith("weft.")]
    return found


def test_imports_point_one_way():
    wrong = []
    for path in SOURCE.rglob("*.py"):
        room = path.relative_to(SOURCE).parts[0].removesuffix(".py")
        if room in ("__init__", "__main__"):
            continue
        for line, other in imports(path):
            if other not in ("__version__", room) and level(other) > level(room) - (other not in SIDE_BY_SIDE):
                wrong.append(f"{path.relative_to(SOURCE)}:{line} imports {other}")
    assert wrong == []


def loaded_by(code: str) -> set[str]:
    script = f"{code}\nimport sys; print('\\n'.join(sys.modules))"
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
    return {name.split(".")[0] for name in out.stdout.split()}


@pytest.mark.parametrize(
    "code",
    [
        "import weft",
        "import weft.config, weft.data, weft.search, weft.run, weft.report",
        "import sys; sys.argv = ['weft', '--help']\nimport contextlib, weft.cli\n"
        "with contextlib.suppress(SystemExit): weft.cli.main()",
    ],
    ids=["import weft", "rooms", "weft --help"],
)
def test_no_framework_is_loaded_before_it_is_needed(code):
    assert loaded_by(code).isdisjoint(FRAMEWORKS)


def test_help_answers_in_half_a_second_of_processor_time():
    import resource

    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    for _ in range(3):
        subprocess.run([sys.executable, "-m", "weft", "--help"], check=True, capture_output=True, timeout=60)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)
    assert spent / 3 < 0.5


def test_weft_chooses_jax_and_respects_another_choice():
    code = "import os, weft; print(os.environ['KERAS_BACKEND'])"
    for given, expected in ((None, "jax"), ("torch", "torch")):
        environment = {"PATH": "/usr/bin"} | ({"KERAS_BACKEND": given} if given else {})
        out = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        assert out.stdout.strip() == expected


def test_every_module_begins_with_its_idea():
    bare = [
        str(path.relative_to(SOURCE))
        for path in SOURCE.rglob("*.py")
        if ast.get_docstring(ast.parse(path.read_text())) is None
    ]
    assert bare == []

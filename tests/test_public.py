"""What is public: few names, each documented and typed, and the marker that tells type checkers so."""

from __future__ import annotations

import inspect
import re
import subprocess
from pathlib import Path

import pytest

import weft

ROOT = Path(__file__).parents[1]


def test_the_names_are_few_and_there():
    assert len(weft.__all__) <= 16
    assert sorted(weft.__all__) == weft.__all__
    for name in weft.__all__:
        assert getattr(weft, name) is not None
    with pytest.raises(AttributeError, match="module 'weft' has no attribute 'nothing'"):
        weft.nothing  # noqa: B018


@pytest.mark.parametrize("name", [name for name in weft.__all__ if name not in ("__version__", "layers")])
def test_a_name_is_documented_and_typed(name):
    item = getattr(weft, name)
    assert (item.__doc__ or "").strip(), name
    function = item.__init__ if inspect.isclass(item) else item
    parameters = list(inspect.signature(function).parameters.values())
    untyped = [p.name for p in parameters if p.name != "self" and p.annotation is p.empty]
    assert untyped == []


def test_the_rooms_that_are_stable_say_what_is_public():
    import importlib

    rooms = set(re.findall(r"`(weft\.[a-z]+)`", (ROOT / "docs" / "stability.md").read_text()))
    assert len(rooms) >= 8
    for room in rooms:
        module = importlib.import_module(room)
        for name in getattr(module, "__all__", ()):
            assert hasattr(module, name), f"{room}.{name}"


def test_the_marker_of_typed_packages_is_shipped():
    """hatchling packs all of src/weft: the marker is in it, and nothing excludes it."""
    assert (ROOT / "src" / "weft" / "py.typed").exists()
    assert 'packages = ["src/weft"]' in (ROOT / "pyproject.toml").read_text()
    ignored = subprocess.run(["git", "check-ignore", "-q", "src/weft/py.typed"], cwd=ROOT)
    assert ignored.returncode != 0  # hatchling leaves out what git ignores

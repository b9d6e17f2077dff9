"""A run whose objective is a function of the user: looked at from anywhere, resumed only where the function is."""

from __future__ import annotations

import sys

import pytest

from weft import user_code
from weft.cli.run import open_run
from weft.config import load
from weft.errors import ConfigError
from weft.run import Run

TEXT = """version: 1
name: mine
data: {name: jets-hlf}
search: {objectives: [accuracy, user_cost_of_a_test:cost], constraints: {"user_cost_of_a_test:cost": "<= 3"}}
tune: {objectives: [accuracy, user_cost_of_a_test:cost], parameters: {compress.epochs: [1, 2]}}
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run that was begun where the module is, seen from another directory."""
    (tmp_path / "user_cost_of_a_test.py").write_text("def cost(design, target): return 1.0\n")
    (tmp_path / "experiment.yaml").write_text(TEXT)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    Run.create(tmp_path / "run", load("experiment.yaml"), TEXT)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    monkeypatch.setattr(sys, "path", [one for one in sys.path if one != str(tmp_path)])
    monkeypatch.delitem(sys.modules, "user_cost_of_a_test")
    return tmp_path / "run"


def test_a_run_is_read_without_the_users_code(run, monkeypatch):
    monkeypatch.setattr(user_code, "load", lambda *arguments: pytest.fail("imported the user's code"))
    experiment = Run(run).experiment
    assert experiment.search.objectives == ["accuracy", "user_cost_of_a_test:cost"]
    from weft.run.summary import state_of

    assert state_of(Run(run))["name"] == "mine"


def test_a_run_goes_on_only_where_the_function_is(run):
    with pytest.raises(ConfigError, match=r"cannot import 'user_cost_of_a_test' for the objective .*put its folder on"):
        open_run(str(run), None, [])


def test_a_new_run_is_refused_at_once(run):
    with pytest.raises(ConfigError, match=r"experiment.yaml:4: search\.objectives\.1: cannot import"):
        load(run.parent / "experiment.yaml")

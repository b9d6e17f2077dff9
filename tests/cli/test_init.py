"""`weft init`: from the user's own file, flags, a sentence or answers to an experiment file that is valid."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys

import numpy as np
import pytest
import uproot
from typer.testing import CliRunner

from tests.draft.test_look import KINDS, events, write
from tests.run.conftest import environment
from weft.cli import app
from weft.cli import init as _registered  # noqa: F401 - the command
from weft.config import load


@pytest.fixture
def table(tmp_path, monkeypatch):
    """A table of events in the working directory."""
    monkeypatch.chdir(tmp_path)
    x, y = events()
    return write(
        tmp_path / "events.csv", ["pt", "eta", "phi", "particle"], [[*r, KINDS[k]] for r, k in zip(x, y, strict=True)]
    )


def init(*arguments):
    return CliRunner().invoke(app, ["init", *map(str, arguments)])


def test_a_file_becomes_a_commented_experiment(table):
    done = init("events.csv", "--part", "zcu216", "--lut", "5000", "--latency-ns", "60", "--quick")
    assert done.exit_code == 0, done.output
    assert "wrote experiment.yaml; next: weft run experiment.yaml" in done.output
    text = table.with_name("experiment.yaml").read_text()
    assert "# The label is 'particle', the only column of few words: 3 classes: electron, muon, pion.\n" in text
    experiment = load("experiment.yaml")
    assert experiment.data.files.all == table
    assert experiment.target.budget.limits() == {"lut": 5000, "latency_ns": 60.0}
    assert experiment.target.part.startswith("xczu49dr")


def test_a_sentence_with_a_file_is_read_and_flags_count_more(table):
    done = init(
        "classify events.csv on zcu216 fast, under 60 ns", "--part", "pynq-z2", "--out", "deep/er.yaml", "--json"
    )
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert said["not_understood"] == ["fast"]
    experiment = load("deep/er.yaml")
    assert experiment.data.files.all.resolve() == table
    assert experiment.target.part == "xc7z020clg400-1"
    assert experiment.target.budget.latency_ns == 60.0


def test_what_was_not_understood_is_said_on_stderr_and_in_the_file(table):
    done = init("fast jet tagging on zcu216")
    assert done.exit_code == 0
    assert "not understood: fast" in done.stderr
    assert "# NOT UNDERSTOOD, and not in here: fast" in table.with_name("experiment.yaml").read_text()


def test_nothing_is_written_over_without_force(table):
    mine = table.with_name("experiment.yaml")
    mine.write_text("mine")
    done = init("events.csv")
    assert done.exit_code == 2
    assert "will not write over experiment.yaml, which may be yours; add --force" in done.stderr
    assert mine.read_text() == "mine"
    assert init("events.csv", "--force").exit_code == 0
    assert load(mine).name == "events"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to begin with: give a data file or a sentence, as in: weft init events.csv"),
        (["event.csv"], "cannot read event.csv: there is no such file"),
        (["."], "is a folder; name a data file in it: events.csv"),
        (["events.csv", "--label", "partcle"], "has no column 'partcle'; did you mean 'particle'?"),
        (["events.csv", "--part", "zcu217"], "unknown part 'zcu217'; did you mean 'zcu216'?"),
        (["events.csv", "--task", "clasify"], "--task: Input should be 'classification', 'binary' or 'regression'"),
        (["events.csv", "--accuracy", "72"], "--accuracy: Input should be less than or equal to 1"),
        (["fast and cheap"], "a draft needs data"),
        (["events.csv", "--latency-ns", "1"], "no design can meet 1 ns, less than one clock period"),
    ],
)
def test_a_message_leads_on(table, arguments, message):
    done = init(*arguments)
    assert done.exit_code == 2
    assert message in done.stderr
    assert not table.with_name("experiment.yaml").exists()


def test_a_label_that_cannot_be_told_is_asked_for_by_a_flag(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "a.csv", ["u", "v", "w"], events()[0])
    done = init("a.csv")
    assert done.exit_code == 2
    assert "cannot tell which column of a.csv is the label" in done.stderr
    assert "say --label NAME; it has u (numbers, " in done.stderr
    assert init("a.csv", "--label", "w").exit_code == 0
    assert load("experiment.yaml").search.objectives[0] == "mse"


def test_on_a_terminal_it_asks(tmp_path):
    write(tmp_path / "a.csv", ["u", "v", "w"], events()[0])
    answers = [b"a.csv", b"w", b"zcu216", b"", b"40", b"5k"]
    terminal, theirs = pty.openpty()
    command = [sys.executable, "-m", "weft", "init"]
    process = subprocess.Popen(command, cwd=tmp_path, env=environment(), stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    said = b""
    while True:
        try:
            part = os.read(terminal, 4096)
        except OSError:  # the terminal is gone with the process
            break
        said += part
        if part.rstrip().endswith((b":", b"]:")) and answers:
            os.write(terminal, answers.pop(0) + b"\n")
    assert process.wait() == 0, said.decode()
    os.close(terminal)
    assert b"Which column is the label" in said
    experiment = load(tmp_path / "experiment.yaml")
    assert experiment.data.label == "w"
    assert experiment.target.budget.limits() == {"lut": 5000, "latency_ns": 40.0}
    assert experiment.target.part.startswith("xczu49dr")


def test_a_tree_of_a_root_file_is_named_by_a_flag(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    n = np.arange(200)
    with uproot.recreate("events.root") as file:
        for name in ("Events", "Runs"):
            file[name] = {"a": n / 7.0, "b": n % 3 * 1.5, "kind": n % 2}
    refused = CliRunner().invoke(app, ["init", "events.root"])
    assert refused.exit_code == 2
    assert "holds 2 trees (Events, Runs); say which one with data.tree (weft init --tree)" in refused.stderr
    done = CliRunner().invoke(app, ["init", "events.root", "--tree", "Events"])
    assert done.exit_code == 0, done.stderr
    assert load("experiment.yaml").data.tree == "Events"

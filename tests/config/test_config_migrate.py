"""Old files are brought to the present version, and files of unknown versions are refused."""

import pytest

from weft.config import MIGRATIONS, loads, migrate
from weft.config.migrate import RENAMED, renamed
from weft.errors import ConfigError, RenamedWarning


def test_a_present_file_is_left_alone():
    raw = {"version": 1, "name": "a"}
    assert migrate(raw) is raw
    assert MIGRATIONS == {}


def test_an_old_file_takes_every_step():
    old = {"version": -1, "steps": ()}
    steps = {v: lambda raw, v=v: {**raw, "steps": (*raw["steps"], v)} for v in (-1, 0)}
    assert migrate(old, steps) == {"version": 1, "steps": (-1, 0)}
    assert old == {"version": -1, "steps": ()}


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({}, "is missing; write 'version: 1' as the first line"),
        ({"version": "1"}, "must be a whole number; got '1'; this weft writes version 1"),
        ({"version": True}, "must be a whole number; got true; this weft writes version 1"),
        ({"version": 2}, "this weft reads files up to version 1; got 2; upgrade weft"),
        ({"version": 0}, "this weft cannot read version 0; write 'version: 1'"),
    ],
)
def test_what_is_no_known_version_is_refused(raw, message):
    with pytest.raises(ConfigError, match=message):
        migrate(raw)


NAMES = {"search.n_trials": "search.trials", "part": "target.part"}


def test_an_old_name_works_and_says_the_new_one():
    raw = {"version": 1, "search": {"n_trials": 5, "epochs": 2}, "part": "zcu216"}
    with pytest.warns(RenamedWarning) as caught:
        found = renamed(raw, NAMES)
    assert found == {"version": 1, "search": {"trials": 5, "epochs": 2}, "target": {"part": "zcu216"}}
    assert raw["search"] == {"n_trials": 5, "epochs": 2}
    assert (
        str(caught[0].message)
        == "'search.n_trials' is called 'search.trials' now; write that, the old name will not work for ever"
    )


def test_a_file_without_old_names_is_left_alone():
    raw = {"version": 1, "search": {"trials": 5}}
    assert renamed(raw, NAMES) is raw
    assert renamed({"search": None, "version": 1}, NAMES)["search"] is None


def test_both_names_are_refused():
    with pytest.raises(
        ConfigError, match=r"'search\.n_trials' is the old name of 'search\.trials', and both are given"
    ):
        renamed({"search": {"n_trials": 5, "trials": 6}}, NAMES)


def test_an_experiment_with_an_old_name_is_read(monkeypatch):
    monkeypatch.setitem(RENAMED, "search.n_trials", "search.trials")
    with pytest.warns(RenamedWarning, match=r"'search\.n_trials' is called 'search\.trials' now"):
        assert loads("version: 1\nname: a\ndata: {name: jets-hlf}\nsearch: {n_trials: 7}").search.trials == 7


def test_every_new_name_is_a_field():
    from weft.config.experiment import Experiment

    for new in RENAMED.values():
        kind = Experiment
        for part in new.split("."):
            kind = kind.model_fields[part].annotation

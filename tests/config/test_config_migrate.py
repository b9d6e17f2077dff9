"""Old files are brought to the present version, and files of unknown versions are refused."""

import pytest

from weft.config import MIGRATIONS, migrate
from weft.errors import ConfigError


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

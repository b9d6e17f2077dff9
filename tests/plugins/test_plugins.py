"""Plug-ins that cannot be used: named with their package, and out of the way of the others."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest

from weft import blocks, plugins, prune
from weft.config import loads
from weft.data import load as load_data
from weft.data.files import read
from weft.errors import ConfigError, DataError, PluginWarning


@pytest.fixture
def offer(monkeypatch):
    """Offer objects of this module, by group and name."""

    def offer(*points: tuple[str, str, str]):
        found = [EntryPoint(name, value, group) for group, name, value in points]
        monkeypatch.setattr(plugins, "entry_points", lambda group: [point for point in found if point.group == group])
        plugins.offered.cache_clear()

    yield offer
    monkeypatch.undo()
    plugins.offered.cache_clear()


def no_source(config):
    return "rows"


def read_nothing(path):
    raise DataError(f"{path}: nothing here")


HERE = "tests.plugins.test_plugins"


def test_a_plug_in_that_cannot_be_imported_is_named(offer):
    offer(("weft.firmware", "lost", "no_such_module:thing"))
    whose = r"export target 'lost' of an unknown package \(no_such_module:thing\)"
    with pytest.raises(ConfigError, match=whose + " cannot be loaded: ModuleNotFoundError.*repair that package"):
        plugins.load("weft.firmware", "lost")


def test_it_does_not_stand_in_the_way_of_the_others(offer):
    offer(("weft.prune", "lost", "no_such_module:thing"), ("weft.prune", "dst", f"{HERE}:no_source"),
          ("weft.prune", "fine", f"{HERE}:no_source"))  # fmt: skip
    with pytest.warns(PluginWarning) as caught:
        assert list(plugins.usable("weft.prune", {"dst"})) == ["fine"]
    texts = [str(one.message) for one in caught]
    assert any("left out: pruning method 'lost'" in text for text in texts)
    assert any(
        "offers a pruning method 'dst', which is weft's own; it is left out: rename it" in text for text in texts
    )


def test_two_packages_with_one_name_are_refused(offer):
    offer(("weft.data", "a", "x:y"), ("weft.data", "a", "z:y"))
    with pytest.raises(ConfigError, match="offers a data set 'a', and so does an unknown package; uninstall one"):
        plugins.offered("weft.data")


def test_an_object_of_another_kind_is_refused(offer):
    offer(("weft.prune", "odd", f"{HERE}:no_source"), ("weft.blocks", "odd", f"{HERE}:no_source"))
    with pytest.raises(
        ConfigError, match=r"pruning method 'odd' of an unknown package must be a subclass of weft\.prune"
    ):
        prune.methods.__wrapped__()
    with pytest.raises(
        ConfigError, match=r"block 'odd' of an unknown package must be a subclass of weft\.blocks\.Block"
    ):
        blocks._blocks()


def test_a_data_set_that_returns_something_else_is_refused(offer):
    offer(("weft.data", "odd", f"{HERE}:no_source"))
    data = loads("version: 1\nname: a\ndata: {name: odd}").data
    with pytest.raises(DataError, match=r"'odd' of an unknown package must be a function .* it returned str"):
        load_data(data)
    with pytest.raises(ConfigError, match=r"unknown data set 'odder'.*known: .*qubit-readout, odd, openml"):
        loads("version: 1\nname: a\ndata: {name: odder}")


def test_a_reader_is_asked_for_files_of_its_suffix(offer, tmp_path):
    offer(("weft.readers", "evt", f"{HERE}:read_nothing"))
    (tmp_path / "a.evt").write_text("x")
    with pytest.raises(DataError, match=r"a\.evt: nothing here"):
        read(tmp_path / "a.evt")
    with pytest.raises(DataError, match="there is no such file"):
        read(tmp_path / "b.evt")

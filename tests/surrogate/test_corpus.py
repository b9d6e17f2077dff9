"""Building a corpus: by families, with real synthesis, and what is there is not made again."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tests.firmware.models import mlp, randomised
from weft.errors import DataError
from weft.surrogate import corpus


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Return the directory of a corpus of one drawn family of one design."""
    place = tmp_path_factory.mktemp("corpus")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corpus, "BATCH", 1)
        corpus.build(place, 1, 0, 10)
    return place


def test_a_design_holds_what_was_counted_and_what_synthesis_found(built):
    records = corpus.read(sorted(built.glob("*.jsonl")))
    assert [file.name for file in built.iterdir()] == ["drawn-000.jsonl"] and len(records) == 1
    for record in records:
        assert 0.6 < record.measured["lut"] / record.features["solver"] < 1.3
        assert 0.6 < record.measured["ff"] / record.features["registers"] <= 1.0
        assert record.tools["compiler"].startswith("alkaid") and record.tools["synthesis"].startswith("yosys")
        assert record.bits >= 1 and record.ebops > 0


def test_what_is_there_is_not_made_again(built, monkeypatch):
    monkeypatch.setattr(corpus, "BATCH", 1)
    monkeypatch.setattr(corpus, "measured", lambda *_: pytest.fail("a family was made again"))
    told = []
    found = corpus.build(built, 1, 0, 10, progress=lambda done, total, note="": told.append((done, total, note)))
    assert found == corpus.read(sorted(built.glob("*.jsonl")))
    assert told == [(0, 1, "drawn-000"), (1, 1, "done")]


def test_a_family_that_was_not_finished_leaves_no_file(tmp_path, monkeypatch):
    def broken(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(corpus, "measured", broken)
    with pytest.raises(KeyboardInterrupt):
        corpus.build(tmp_path, 1, 0, 10)
    assert list(tmp_path.iterdir()) == []


def test_a_design_that_is_too_small_is_left_out_and_said(caplog):
    caplog.set_level("INFO", logger="weft")
    assert corpus.measured("mine", "00", randomised(mlp(2, (1,)))) is None
    assert "mine 00 is left out: " in caplog.text and "LUT, and a corpus has 50 to 10000" in caplog.text


def test_damaged_lines_and_other_features_are_named(built, tmp_path):
    line = next(text for file in sorted(built.glob("*.jsonl")) if (text := file.read_text()))
    file = tmp_path / "one.jsonl"
    file.write_text(line + line[:40])
    with pytest.raises(DataError, match=rf"line 2 of the corpus {file} is damaged: Invalid JSON"):
        corpus.read([file])
    file.write_text(line.replace('"narrow"', '"thin"'))
    with pytest.raises(DataError, match=r"line 1 of the corpus .* has features of another version; build it again"):
        corpus.read([file])
    with pytest.raises(DataError, match=r"cannot read the corpus .*none.jsonl .No such file or directory.; make it by"):
        corpus.read([tmp_path / "none.jsonl"])


def test_points_are_chosen_over_the_whole_range_of_sizes():
    class Point:
        def __init__(self, ebops):
            self.log = {"ebops": ebops}

    points = [Point(float(e)) for e in range(20_000, 100, -100)]
    chosen = [point.log["ebops"] for point in corpus._spread_over_size(points, 6)]
    assert len(chosen) == 6 and chosen[0] == 20_000 and chosen[-1] == 200
    ratios = [a / b for a, b in pairwise(chosen)]
    assert max(ratios) < 1.5 * min(ratios)

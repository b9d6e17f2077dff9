"""Notes of people in the report, and figures in the styles of mplhep."""

from __future__ import annotations

import json
import re
import sys

import pytest
from typer.testing import CliRunner

from weft.errors import ConfigError, ToolNotFoundError
from weft.report import write_report
from weft.report.html import report_of
from weft.report.style import STYLES, style_of
from weft.run.directory import NOTES

from . import fake
from .test_report_content import Page, plain

HOSTILE = """# Chosen for run 4

**Why**: fewer LUT. <script>alert(1)</script> <img src=x onerror=alert(2)>

![logo](https://example.org/a.png) [bad](javascript:alert(3)) [log](https://example.org/log)

| a | b |
| --- | --- |
| 1 | <b>2</b> |
"""


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    return fake.make_run(tmp_path_factory.mktemp("searched"), trials=8, upto="search")


def test_notes_are_rendered_as_markdown_and_nothing_in_them_runs_or_loads(searched):
    (searched.path / NOTES).write_text(HOSTILE)
    html = write_report(searched).read_text()
    (searched.path / NOTES).unlink()
    said = html[html.index('<div class="said">') : html.index("The networks end in logits")]
    assert "<strong>Why</strong>" in said and "<h3>Chosen for run 4</h3>" in said and "<td>1</td>" in said
    assert '<a href="https://example.org/log">log</a>' in said
    assert not {"script", "img", "b"} & set(Page(said).tags)
    assert set(re.findall(r'href="(.*?)"', said)) <= {"https://example.org/log", "https://example.org/a.png"}
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in said


def test_a_note_is_added_to_those_before_it_with_the_day(searched):
    searched.note("first")
    searched.note("second,\n\nwith two paragraphs")
    text = (searched.path / NOTES).read_text()
    assert text.index("first") < text.index("second") and text.count(" UTC**") == 2
    text = plain(write_report(searched).read_text())
    assert "first" in text and "with two paragraphs" in text
    with pytest.raises(ConfigError, match="the note is empty; write something, as in weft report RUN --note"):
        searched.note("  \n")


@pytest.mark.parametrize("name", [*STYLES, "atlas"])
def test_each_style_of_mplhep_gives_its_font_and_ticks(name):
    settings = style_of(name)
    assert settings["xtick.direction"] == settings["ytick.direction"] == "in"
    assert settings["xtick.minor.visible"] and settings["xtick.top"] and settings["ytick.right"]
    assert settings["font.family"][0].lower().startswith("tex gyre")
    assert (settings["font.size"], settings["xaxis.labellocation"]) == (9, "right")


def test_figures_follow_the_style_and_stay_in_the_colours_of_the_page(searched):
    plain_html, plain_figures = report_of(searched)
    html, figures = report_of(searched, "CMS")
    assert figures.keys() == plain_figures.keys() and figures
    for name, (png, svg) in figures.items():
        assert 'id="TeXGyreHeros-Regular-' in svg.decode()  # as outlines: few machines have the font
        assert png != plain_figures[name][0]
    assert "var(--series-0)" in html and "var(--ink)" in html and "-TeXGyreHeros-Regular-" in html
    assert html != plain_html


def test_a_style_that_is_not_there_is_named_with_those_that_are():
    with pytest.raises(ConfigError, match="there is no plot style 'ams'; there are weft, mplhep, ROOT, ATLAS, CMS"):
        style_of("ams")


def test_without_mplhep_a_style_says_how_to_get_it_and_the_own_one_works(monkeypatch):
    monkeypatch.setitem(sys.modules, "mplhep", None)
    with pytest.raises(ToolNotFoundError, match=r"style 'ATLAS' is one of mplhep.*pip install 'weft\[hep\]'"):
        style_of("ATLAS")
    assert style_of(None) == style_of("weft")


def weft(*arguments: object):
    """Run a command in this process."""
    from weft.cli import app, compare, report  # noqa: F401 - importing a command registers it

    return CliRunner().invoke(app, [str(one) for one in arguments])


def test_the_command_line_takes_notes_and_names_what_cannot_be(searched):
    done = weft("report", searched.path, "--note", "seen by all", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == {"report": str(searched.path / "report.html")}
    assert "seen by all" in plain((searched.path / "report.html").read_text())
    done = weft("report", searched.path, "--style", "ams")
    assert done.exit_code == 2 and "there is no plot style 'ams'" in done.output
    done = weft("compare", searched.path, "--html", "x.html")
    assert done.exit_code == 2
    assert "--html and --style are for several runs; 'weft report RUN' writes the report of one" in done.output

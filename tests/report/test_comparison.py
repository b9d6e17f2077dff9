"""Several runs on one page."""

from __future__ import annotations

import json
import re

import pytest

from weft.report import write_comparison
from weft.run.compare_runs import compare_runs
from weft.search.results import read
from weft.search.seeds import spread

from . import fake
from .conftest import Reported
from .looks import COLLISIONS, CONTRAST, DESKTOP, PHONE, SMALL
from .test_report_browser import opened, tab_through
from .test_report_content import Page, plain


@pytest.fixture(scope="module")
def compared(full, tmp_path_factory) -> Reported:
    """The complete run beside a smaller search of another seed, whose name looks like markup."""
    place = tmp_path_factory.mktemp("compared")
    other = fake.make_run(place / "<b>other", trials=12, upto="search", settings=["search.seed=5"])
    return Reported(full.run, write_comparison([full.run, other], place / "comparison.html"))


def test_the_page_has_every_trial_of_every_run_and_its_fronts(compared, full):
    other = compared.path.parent / "<b>other"
    found = compare_runs([full.run, type(full.run)(other)])
    plot = json.loads(re.search(r'<script type="application/json">(.*?)</script>', compared.html, re.S)[1])
    assert plot["series"] == [one.run for one in found.runs]
    for series, path in enumerate((full.run.path, other)):
        mine = [point for point in plot["points"] if point["series"] == series]
        assert len(mine) == len(read(path).evaluated)
        assert sum(point["front"] for point in mine) == len(found.runs[series].front)
        assert sum(point["picked"] for point in mine) == sum(point.joint for point in found.runs[series].front)
    text = plain(compared.html)
    best = max(found.runs, key=lambda one: one.hypervolume)
    assert f"{best.run} dominates {best.hypervolume:.3f} of the common box" in text
    for one in found.runs:
        assert f"{one.hypervolume:.4f}" in text
    assert "search.seed 0 5" in text
    assert all(design.id in text for design in full.run.designs())
    assert "b" not in Page(compared.html).tags


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_and_reads_in_a_browser_without_a_network(browser, compared, viewport, scheme):
    with opened(browser, compared, viewport, scheme) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
        assert page.evaluate(CONTRAST) == page.evaluate(COLLISIONS) == page.evaluate(SMALL, 9) == []
        assert page.locator("#fronts .stair").count() == 2
        page.locator("#fronts .point[tabindex='0']").focus()
        first = page.locator("#fronts .tip").inner_text()
        page.keyboard.press("ArrowRight")
        assert page.locator("#fronts .tip").inner_text() != first


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_the_tab_key_goes_through_the_page_in_order_and_shows_where_it_is(browser, compared, viewport):
    with opened(browser, compared, viewport) as page:
        names = tab_through(page)
        sections = [name for name in names if name.startswith("#")]
        assert sections == ["#s-runs", "#s-fronts", "#s-designs", "#s-settings"]
        order = [
            "#s-settings",
            "Runs side by side",
            "Hypervolume",
            '{"axis":"x"}',
            '{"log":"y"}',
            "Settings that differ",
        ]
        at = [next(i for i, name in enumerate(names) if name.endswith(one)) for one in order if one[0] != "{"]
        assert at == sorted(at)
        assert sum("trial" in name and ";" in name for name in names) == 1  # arrow keys go from point to point


def test_without_scripts_the_fronts_are_drawn_as_they_are(browser, compared):
    context = browser.new_context(java_script_enabled=False, offline=True)
    page = context.new_page()
    page.goto(compared.path.as_uri())
    assert page.locator("#s-fronts svg[role=img]").count() == 3
    context.close()


@pytest.fixture(scope="module")
def seeds(tmp_path_factory) -> Reported:
    """The same search from three seeds, of which one is shorter."""
    place = tmp_path_factory.mktemp("seeds")
    runs = {
        seed: fake.make_run(place / f"seed-{seed}", trials=30 - seed, upto="search", settings=[f"search.seed={seed}"])
        for seed in (0, 1, 12)
    }
    found = spread({seed: read(run.path) for seed, run in runs.items()})
    return Reported(runs[0], write_comparison(list(runs.values()), place / "seeds.html", spread=found))


def test_a_page_of_seeds_says_how_far_they_lie_apart(seeds, compared):
    place = seeds.path.parent
    found = spread({seed: read(place / f"seed-{seed}") for seed in (0, 1, 12)})
    said = plain(seeds.html)
    last = found.volumes[:, -1]
    assert f"have a hypervolume of {last.mean():.3f} ± {found.std[-1]:.3f} of the common box" in said
    assert f"from {last.min():.3f} to {last.max():.3f}" in said
    assert "Hypervolume against evaluated designs" in seeds.html
    assert 'id="s-spread"' not in compared.html


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_page_of_seeds_fits_and_reads(browser, seeds, viewport, scheme):
    with opened(browser, seeds, viewport, scheme) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
        assert page.evaluate(CONTRAST) == page.evaluate(COLLISIONS) == page.evaluate(SMALL, 9) == []
        assert page.locator("#s-spread svg").is_visible()

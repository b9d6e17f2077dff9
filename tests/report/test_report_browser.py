"""The report in a real browser, offline: it runs without an error, asks for nothing, and fits the screen."""

from __future__ import annotations

from contextlib import contextmanager

import pytest

from .looks import COLLISIONS, CONTRAST, DESKTOP, FOCUSED, PHONE, SMALL


@contextmanager
def opened(browser, report, viewport=DESKTOP, scheme="light", **options):
    """Open a report; what went wrong on the way is in the list `page.trouble`."""
    context = browser.new_context(viewport=viewport, color_scheme=scheme, offline=True, **options)
    page = context.new_page()
    page.trouble = []
    page.on("console", lambda message: page.trouble.append(message.text))
    page.on("pageerror", lambda error: page.trouble.append(str(error)))
    page.on("request", lambda request: None if request.url == uri else page.trouble.append(request.url))
    uri = report.path.as_uri()
    page.goto(uri)
    page.wait_for_function("document.querySelectorAll('.plot .canvas svg').length > 0")
    try:
        yield page
        assert page.trouble == []
    finally:
        context.close()


def tab_through(page):
    """Press Tab until the page is left; see that each stop is seen, and return their names."""
    names = []
    for _ in range(400):
        page.keyboard.press("Tab")
        found = page.evaluate(FOCUSED)
        if found is None:
            break
        assert found["seen"], found
        names.append(found["name"])
    stops = "[...document.querySelectorAll('a, button, select, input, summary, [tabindex]')]"
    reached = "(e) => e.tabIndex >= 0 && !e.disabled && e.checkVisibility({ visibilityProperty: true })"
    assert len(names) == page.evaluate(f"{stops}.filter({reached}).length")
    return names


def column(page, label):
    """Return what stands in one column of the main table, the numbers first in each cell."""
    heads = page.locator("#designs thead th").all_inner_texts()
    index = next(i for i, head in enumerate(heads) if head.split("\n")[0] == label)
    cells = page.locator(f"#designs tbody tr > :nth-child({index + 1})").all_inner_texts()
    return [cell.split("\n")[0] for cell in cells]


def number(text):
    return float(text.split("±")[0].replace("\u202f", ""))


def test_the_main_table_shows_the_numbers_of_the_run_best_first(browser, full):
    with opened(browser, full) as page:
        designs = {design.id: design for design in full.run.designs()}
        ids = column(page, "Design")
        assert set(ids) == set(designs)
        shown = [number(text) for text in column(page, "LUT")]
        assert shown == [designs[name].read("synthesis.json")["lut"]["value"] for name in ids]
        accuracy = [designs[name].read("metrics.json")["test"]["accuracy"]["value"] for name in ids]
        assert accuracy == sorted(accuracy, reverse=True)
        assert [number(text) for text in column(page, "Accuracy")] == [round(100 * a, 1) for a in accuracy]


def test_a_click_on_a_header_sorts_and_a_second_one_turns_round(browser, full):
    with opened(browser, full) as page:
        head = page.locator("#designs th", has=page.get_by_role("button", name="LUT", exact=True))
        button = head.get_by_role("button")
        button.click()
        falling = [number(text) for text in column(page, "LUT")]
        assert falling == sorted(falling, reverse=True)
        assert head.get_attribute("aria-sort") == "descending"
        button.focus()
        page.keyboard.press("Enter")
        assert [number(text) for text in column(page, "LUT")] == sorted(falling)
        assert page.locator("#designs th[aria-sort]").count() == 1


def test_a_point_of_the_front_tells_what_it_is_to_mouse_and_keyboard(browser, full):
    with opened(browser, full) as page:
        tip, points = page.locator("#front .tip"), page.locator("#front .point")
        assert points.count() > 10
        assert tip.is_hidden()
        page.locator("#front").scroll_into_view_if_needed()
        box = points.last.bounding_box()
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        assert points.last.get_attribute("data-id").capitalize() in tip.inner_text()
        assert "alkaid 0.8.2" in tip.inner_text()
        page.mouse.move(2, 2)
        assert tip.is_hidden()
        page.locator("#front .point[tabindex='0']").focus()
        first = tip.inner_text()
        page.keyboard.press("ArrowRight")
        assert tip.is_visible() and tip.inner_text() != first
        page.keyboard.press("Escape")
        assert tip.is_hidden()
        page.locator("#finals .point[tabindex='0']").focus()
        assert "Verification\texact" in page.locator("#finals .tip").inner_text()


def test_axes_and_scales_of_the_front_can_be_chosen(browser, full):
    with opened(browser, full) as page:
        choice = page.locator("#front [data-axis='x']")
        assert choice.locator("option").all_inner_texts() == ["Accuracy (%)", "LUT", "Latency (cycles)", "Trial number"]
        place = "e => e.querySelector('.dot').getAttribute('cx')"
        point = page.locator("#front .point[data-id='trial 0']")
        seen = [point.evaluate(place)]
        page.locator("#front [data-log='x']").set_checked(not page.locator("#front [data-log='x']").is_checked())
        seen.append(point.evaluate(place))
        choice.select_option("latency_cycles")
        seen.append(point.evaluate(place))
        assert len(set(seen)) == 3
        assert page.locator("#front .stair").count() == 1
        choice.select_option("trial")
        assert page.locator("#front .stair").count() == 0


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("name", ["full", "mixed", "regression"])
def test_the_page_never_scrolls_sideways(browser, request, name, viewport):
    with opened(browser, request.getfixturevalue(name), viewport) as page:
        page.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")
        assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
        assert page.evaluate(COLLISIONS) == page.evaluate(SMALL, 9) == []
        view = page.locator("#replay [data-do=view]")
        if view.locator("option").count() == 2:
            view.select_option("3")
            assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]


def on_front(page):
    return {
        int(e.get_attribute("data-trial")) for e in page.locator("#replay .step:has(.front)").all() if e.is_visible()
    }


def test_the_search_is_played_by_hand_trial_by_trial(browser, full):
    with opened(browser, full) as page:
        seek, now = page.get_by_label("Trials", exact=True), page.locator("#replay .now")
        trials = page.locator("#replay .step").count()
        last = set(page.evaluate(
            "JSON.parse(document.querySelector('#front script').textContent).points.filter(p => p.front)"
            ".map(p => p.values.trial)"
        ))  # fmt: skip
        assert on_front(page) == last
        seek.focus()
        page.keyboard.press("Home")
        assert f"1 of {trials} evaluated" in now.inner_text()
        assert page.locator("#replay .step[visibility=visible]").count() == 1
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowRight")
        assert f"3 of {trials} evaluated" in now.inner_text()
        assert page.locator("#replay .step[visibility=visible]").count() == 3


def test_the_search_plays_by_itself_only_when_asked_and_stops_at_the_end(browser, full):
    with opened(browser, full) as page:
        now, button = page.locator("#replay .now"), page.locator("#replay [data-do=play]")
        still = now.inner_text()
        page.wait_for_timeout(600)
        assert now.inner_text() == still
        button.focus()
        page.keyboard.press("Enter")
        assert button.inner_text() == "Pause"
        page.wait_for_function("() => document.querySelector('#replay [data-do=seek]').value > 2")
        page.keyboard.press("Enter")
        paused = now.inner_text()
        page.wait_for_timeout(600)
        assert now.inner_text() == paused and button.inner_text() == "Play"
        page.keyboard.press("Enter")
        page.wait_for_function("() => document.querySelector('#replay [data-do=play]').textContent === 'Play'")
        assert now.inner_text() == still


def test_where_motion_is_unwanted_a_button_goes_one_trial_on(browser, full):
    with opened(browser, full, reduced_motion="reduce") as page:
        button = page.get_by_role("button", name="Next", exact=True)
        button.click()
        first = page.locator("#replay .now").inner_text()
        assert ": 1 of " in first
        page.wait_for_timeout(600)
        assert page.locator("#replay .now").inner_text() == first
        button.click()
        assert ": 2 of " in page.locator("#replay .now").inner_text()


def test_the_box_of_three_objectives_turns_by_key_and_by_hand(browser, full):
    with opened(browser, full) as page:
        page.get_by_label("View").select_option("3")
        place = "[...document.querySelectorAll('#replay .dot')].map((e) => e.getAttribute('cx')).join()"
        seen = [page.evaluate(place)]
        page.get_by_label("Turn").focus()
        page.keyboard.press("ArrowRight")
        seen.append(page.evaluate(place))
        page.locator("#replay .canvas").first.scroll_into_view_if_needed()
        box = page.locator("#replay .canvas").first.bounding_box()
        page.mouse.move(box["x"] + 200, box["y"] + 150)
        page.mouse.down()
        page.mouse.move(box["x"] + 260, box["y"] + 150)
        page.mouse.up()
        seen.append(page.evaluate(place))
        page.mouse.move(box["x"] + 300, box["y"] + 150)
        assert page.evaluate(place) == seen[-1]
        assert len(set(seen)) == 3
        inside = "(e => [...e.querySelectorAll('.dot, text')].every((d) => { const [a, b] = [d, e].map((x) => "
        inside += "x.getBoundingClientRect()); return a.left >= b.left - 1 && a.right <= b.right + 1; }))"
        assert page.evaluate(f"{inside}(document.querySelector('#replay svg'))")


def test_the_main_table_fits_a_desktop(browser, full):
    with opened(browser, full) as page:
        assert (
            page.evaluate("(e => e.scrollWidth - e.clientWidth)(document.querySelector('#designs').parentElement)") == 0
        )


def test_the_tab_key_goes_through_the_report_in_order_and_shows_where_it_is(browser, full):
    with opened(browser, full, PHONE) as page:
        names = tab_through(page)
        sections = [name for name in names if name.startswith("#s-")]
        assert sections == page.evaluate("[...document.querySelectorAll('section')].map((one) => `#${one.id}`)")
        assert "Designs, by test accuracy" in names and len(set(names)) > 60


def test_the_measures_of_looks_find_what_they_are_for(browser):
    page = browser.new_context(viewport=PHONE).new_page()
    spots = "".join(f'<p style="position:absolute;top:{top}px;color:{color}">{text}</p>' for top, color, text in (
        (10, "#888", "grey"), (14, "#000", "above"), (60, "rgb(0 0 0 / 0.4)", "pale"), (90, "#000", "good"),
    ))  # fmt: skip
    drawing = '<text x="190" y="20">sticks out</text><text x="5" y="50" font-size="6">tiny</text>'
    page.set_content(
        f'<main style="background:#fff">{spots}</main><svg style="position:absolute;top:200px" width="200" '
        f'height="60">{drawing}</svg><button style="outline:none">plain</button>'
    )
    assert [line.split()[1] for line in page.evaluate(CONTRAST)] == ["grey", "pale"]
    assert page.evaluate(COLLISIONS) == ["grey | above", "cut: sticks out"]
    assert page.evaluate(SMALL, 9) == ["tiny 6.0"]
    page.keyboard.press("Tab")
    assert page.evaluate(FOCUSED) == {"tag": "BUTTON", "name": "plain", "seen": False}
    page.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_background(browser, mixed, scheme):
    with opened(browser, mixed, scheme=scheme) as page:
        dark = page.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
        assert dark == (scheme == "dark")
        assert page.evaluate(CONTRAST) == []


def test_a_link_to_a_design_opens_it_and_printing_opens_all(browser, full):
    with opened(browser, full) as page:
        last = page.locator("#designs tbody a").last
        target = page.locator(last.get_attribute("href"))
        assert target.get_attribute("open") is None
        last.click()
        assert target.get_attribute("open") is not None
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert page.locator("details:not([open])").count() == 0
        page.evaluate("dispatchEvent(new Event('afterprint'))")
        assert page.locator("details:not([open])").count() > 0


def test_without_scripts_the_fronts_are_drawn_as_they_are(browser, full):
    context = browser.new_context(java_script_enabled=False, offline=True)
    page = context.new_page()
    page.goto(full.path.as_uri())
    assert page.locator("#s-front svg[role=img]").count() == 4
    assert page.locator("#s-front .controls").first.is_hidden()
    context.close()


def test_markup_in_names_does_not_run(browser, mixed):
    with opened(browser, mixed) as page:
        page.on("dialog", lambda dialog: page.trouble.append(dialog.message))
        assert page.locator(".confusion th").filter(has_text="<script>alert(1)</script>").count() == 2

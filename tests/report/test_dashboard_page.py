"""The page of `weft dashboard` in a browser: it follows a run to its end, keeps what a reader set, and is legible."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager, nullcontext
from wsgiref.simple_server import make_server

import pytest

from tests.run.conftest import EXPERIMENT, environment, write_experiment
from weft.errors import RunError
from weft.report.dashboard import Dashboard, _Quiet, _Server
from weft.run import Run
from weft.run.stages import execute
from weft.run.summary import summarize

from . import fake
from .looks import COLLISIONS, CONTRAST, DESKTOP, FOCUSED, PHONE
from .test_dashboard import dashboard, until

TWO = ["search.objectives=[accuracy, lut]"]
HOLD = (
    "import sys, time; from weft.lock import RunLock; from weft.run import Run\n"
    "with RunLock(sys.argv[1]):\n"
    "    Run(sys.argv[1]).log('stage', name='compress', state='begins'); print('holds', flush=True); time.sleep(60)"
)


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A run whose search is over."""
    run = fake.make_run(tmp_path_factory.mktemp("over") / "run", trials=8, upto="search", settings=TWO)
    summarize(run, "finished", 12.0)
    return run


@contextmanager
def served(run):
    """Serve a dashboard by threads of this process, as `weft dashboard` does in one of its own."""
    application, stop = Dashboard(run), threading.Event()
    with make_server("127.0.0.1", 0, application, _Server, _Quiet) as server:
        threads = [
            threading.Thread(target=application.watch, args=(stop,)),
            threading.Thread(target=server.serve_forever),
        ]
        for thread in threads:
            thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            stop.set()
            server.shutdown()
            for thread in threads:
                thread.join()


@pytest.fixture(scope="module")
def shown(searched):
    with served(searched) as url:
        yield url


@contextmanager
def visited(browser, url, viewport=DESKTOP, scheme="light"):
    """Open a dashboard and wait for the first report."""
    context = browser.new_context(viewport=viewport, color_scheme=scheme)
    context.set_default_timeout(120_000)  # a busy machine took more than the usual 30 s to write the first report
    page = context.new_page()
    page.goto(url)
    page.frame_locator("#report").locator("#verdict").wait_for()
    page.locator("#status:not([hidden])").wait_for()
    try:
        yield page
    finally:
        context.close()


def inside(page):
    """Return the frame of the report."""
    return next(frame for frame in page.frames if frame.url.endswith("/report"))


def fits(page):
    """See that nothing of the bar lies on anything else or sticks out, and that the report has most of the window."""
    width, height = page.viewport_size["width"], page.viewport_size["height"]
    for frame in (page.main_frame, inside(page)):
        assert frame.evaluate("document.documentElement.scrollWidth") <= width
        assert frame.evaluate(COLLISIONS) == []
    boxes = [one.bounding_box() for one in page.locator(".top > *").all()]
    for i, a in enumerate(boxes):
        assert 0 <= a["x"] and a["x"] + a["width"] <= width
        for b in boxes[i + 1 :]:
            beside = a["x"] + a["width"] <= b["x"] or b["x"] + b["width"] <= a["x"]
            assert beside or a["y"] + a["height"] <= b["y"] or b["y"] + b["height"] <= a["y"]
    assert page.locator("#report").bounding_box()["height"] > 0.75 * height


def count(page) -> int:
    return int(page.locator("#trials").inner_text().split()[0] or 0)


@pytest.mark.slow
def test_a_real_search_is_followed_without_a_reload_until_it_is_interrupted(tmp_path, browser):
    small = EXPERIMENT.replace("trials: 4, population: 2, epochs: 2", "trials: 400, population: 2, epochs: 1")
    experiment, run = write_experiment(tmp_path, small.replace("workers: 2", "workers: 1")), tmp_path / "run"
    command = [sys.executable, "-m", "weft", "search", str(experiment), "--out", str(run)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": environment()}
    process = subprocess.Popen(command, **quiet)
    try:
        until(lambda: (run / "config.resolved.yaml").exists() or process.poll() is not None)
        with dashboard(run) as url, visited(browser, url, PHONE) as page:
            page.evaluate("window.loaded = 'once'")
            status, said = page.locator("#status"), page.locator("#said")
            until(lambda: status.inner_text() == "running" and said.inner_text() == "stage search")
            before = until(lambda: page.locator("#trials").inner_text() and count(page))
            points = page.frame_locator("#report").locator("#front .point")
            few = until(points.count)
            until(lambda: count(page) > before and points.count() > few)
            assert page.locator("#trials").inner_text().endswith("of 400 trials")
            process.send_signal(signal.SIGINT)
            assert process.wait(60) != 0
            until(lambda: status.inner_text() == "interrupted")
            assert said.inner_text() == "in stage search; the same command goes on"
            pill = page.frame_locator("#report").locator("h1 .status")
            until(lambda: pill.inner_text() == "interrupted")
            assert page.evaluate("window.loaded") == "once"
    finally:
        process.kill()
        process.wait()


def test_it_says_that_a_run_goes_on_was_killed_was_interrupted_failed_and_is_finished(tmp_path, searched, browser):
    run = Run(shutil.copytree(searched.path, tmp_path / "run"))
    summarize(run, "running", 3.0)

    def ctrl_c(title):
        raise KeyboardInterrupt

    with subprocess.Popen([sys.executable, "-c", HOLD, str(run.path)], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "holds\n"
            with served(run) as url, visited(browser, url, PHONE) as page:
                status, said = page.locator("#status"), page.locator("#said")
                assert (status.inner_text(), said.inner_text()) == ("running", "stage compress")
                process.kill()
                until(lambda: status.inner_text() == "interrupted")
                assert said.inner_text() == "in stage compress; the same command goes on"
                with pytest.raises(KeyboardInterrupt):
                    execute(run, ["data"], ctrl_c)
                until(lambda: said.inner_text() == "in stage data; the same command goes on")
                assert status.inner_text() == "interrupted"
                with pytest.raises(RunError) as caught:
                    execute(run, ["data"], lambda title: nullcontext())
                until(lambda: status.inner_text() == "failed")
                assert "changed since it was begun" in str(caught.value)
                assert said.inner_text() == f"in stage data: RunError: {caught.value}"
                fits(page)
                summarize(run, "finished", 3.0)
                until(lambda: status.inner_text() == "finished")
                assert said.inner_text() == ""
                pill = page.frame_locator("#report").locator("h1 .status")
                until(lambda: pill.inner_text() == "finished")
        finally:
            process.kill()


def test_a_report_that_was_rendered_before_the_page_first_asked_is_shown(searched, browser):
    """The frame had the page that says to wait, and the first answer already told of the report."""
    application = Dashboard(searched)
    with make_server("127.0.0.1", 0, application, _Server, _Quiet) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        context = browser.new_context()
        try:
            page = context.new_page()

            def render_first(route):
                application.refresh()
                route.continue_()

            page.route("**/state", render_first)
            page.goto(f"http://127.0.0.1:{server.server_port}/")
            page.frame_locator("#report").locator("#verdict").wait_for()
        finally:
            context.close()
            server.shutdown()
            thread.join()


def test_files_that_vanish_while_a_run_is_looked_at_are_left_out(searched, monkeypatch):
    import os

    from weft.report import dashboard

    stamp = dashboard.stamp_of(searched.path)
    gone = searched.path / "summary.json.new"

    def listed(place, _scandir=os.scandir):
        gone.touch()
        with _scandir(place) as found:
            entries = list(found)
        gone.unlink()
        return nullcontext(entries)

    monkeypatch.setattr(dashboard.os, "scandir", listed)
    assert dashboard.stamp_of(searched.path) == stamp
    assert dashboard.stamp_of(searched.path / "not there yet") == frozenset()


def test_what_a_reader_has_set_stays_when_the_report_is_loaded_anew(tmp_path, searched, browser):
    run = Run(shutil.copytree(searched.path, tmp_path / "run"))
    with served(run) as url, visited(browser, url) as page:
        report = page.frame_locator("#report")
        report.locator("#front .point").first.wait_for()
        label = "document.querySelector('#front .canvas svg').getAttribute('aria-label')"
        report.locator("#front [data-axis=x]").select_option("trial")
        report.locator("#front [data-log=y]").check()
        report.locator("#all-trials summary").click()
        head = report.locator("#trials th", has=page.get_by_role("button", name="Trial", exact=True))
        head.get_by_role("button").click()
        order = head.get_attribute("aria-sort")
        report.locator("#replay [data-do=seek]").focus()
        page.keyboard.press("Home")
        page.keyboard.press("ArrowRight")
        at = inside(page).evaluate("scrollY")
        was = inside(page).evaluate(label)
        assert order and at > 0 and "against Trial number" in was
        run.note("The second trial is the one.")
        report.get_by_text("The second trial is the one.").wait_for()
        until(lambda: inside(page).evaluate("scrollY") == at)
        assert inside(page).evaluate(label) == was
        assert report.locator("#front [data-axis=x]").input_value() == "trial"
        assert report.locator("#front [data-log=y]").is_checked()
        assert report.locator("#all-trials").get_attribute("open") is not None
        assert report.locator("#resolved").get_attribute("open") is None
        assert head.get_attribute("aria-sort") == order
        assert ": 2 of " in report.locator("#replay .now").inner_text()
        assert inside(page).evaluate("document.activeElement.dataset.do") == "seek"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_the_page_fits_and_its_text_stands_out(browser, shown, viewport, scheme):
    with visited(browser, shown, viewport, scheme) as page:
        fits(page)
        for frame in (page.main_frame, inside(page)):
            assert frame.evaluate(CONTRAST) == []
        for state in ("running", "failed", "interrupted"):
            page.evaluate(f"document.getElementById('status').className = 'status {state}'")
            assert page.evaluate(CONTRAST) == []


def test_the_tab_key_reaches_bar_and_report_and_shows_where_it_is(browser, shown):
    with visited(browser, shown) as page:
        found = []
        for _ in range(2):
            page.keyboard.press("Tab")
            found.append(page.evaluate(FOCUSED))
        assert [one["name"] for one in found] == ["tab-report", "follow"]
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == "report"
        found.append(inside(page).evaluate(FOCUSED))
        assert found[-1]["name"] == "#s-designs"
        page.keyboard.press("Shift+Tab")
        page.keyboard.press("Shift+Tab")
        page.keyboard.press("ArrowRight")
        found.append(page.evaluate(FOCUSED))
        assert found[-1]["name"] == "tab-study"
        assert all(one["seen"] for one in found)
        page.keyboard.press("ArrowLeft")
        assert page.locator("#report").is_visible()


def test_it_says_that_the_server_has_ended(browser, searched):
    with served(searched) as url:
        context = browser.new_context()
        page = context.new_page()
        page.goto(url)
        page.locator("#status:not([hidden])").wait_for()
    until(lambda: page.locator("#said").inner_text() == "The server has ended.")
    assert page.locator("#status").is_hidden() and page.locator("#trials").inner_text() == ""
    context.close()

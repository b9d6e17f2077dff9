"""`weft dashboard` as a process: it shows a finished run and one that is searching, and changes neither."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from weft.errors import ToolNotFoundError
from weft.report.dashboard import Dashboard

from . import fake


@contextlib.contextmanager
def dashboard(run: Path, *options: str):
    """Start a dashboard on any free port; give its address, and see that Ctrl-C ends it."""
    command = [sys.executable, "-m", "weft", "dashboard", str(run), "--port", "0", "--no-browser", "--json", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline()
            assert line, process.stderr.read()
            yield json.loads(line)["url"]
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 0
        finally:
            process.kill()


def get(url: str, **headers: str) -> str:
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=60) as answer:
        return answer.read().decode()


def refused(request: urllib.request.Request) -> tuple[int, str]:
    """Return the status of an answer that is an error, and what it says."""
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=60)
    with caught.value as answer:
        return answer.code, answer.read().decode()


def until(true, seconds: float = 120.0):
    """Wait until a function gives something true, and return it."""
    end = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < end, "this did not happen in time"
        time.sleep(0.2)
    return found


def contents(directory: Path) -> dict[str, str]:
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in directory.rglob("*") if path.is_file()}


def trials(url: str) -> int:
    found = json.loads(get(f"{url}api/studies/0"))["trials"]
    return sum(trial["state"] == "Complete" for trial in found)


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A run whose search is over, and whose report was written by an older program."""
    run = fake.make_run(tmp_path_factory.mktemp("finished") / "run", trials=8, upto="search")
    (run.path / "report.html").write_text("old")
    return run


@pytest.fixture(scope="module")
def shown(searched):
    before = contents(searched.path)
    with dashboard(searched.path) as url:
        until(lambda: json.loads(get(f"{url}state"))["version"])
        yield url
    assert contents(searched.path) == before


def test_the_report_and_the_study_of_a_finished_run_are_served(shown, searched):
    html = get(f"{shown}report")
    assert "weft report" in html and 'id="front"' in html and "old" != html
    assert get(f"{shown}figures/front_lut_accuracy.svg").lstrip().startswith("<?xml")
    studies = json.loads(get(f"{shown}api/studies"))["study_summaries"]
    assert studies[0]["study_name"] == "search"
    detail = json.loads(get(f"{shown}api/studies/0"))
    assert detail["objective_names"] == list(searched.experiment.search.objectives)
    assert len(detail["trials"]) == 8


def test_both_are_on_one_page_that_asks_for_nothing_else(browser, shown):
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page, trouble = context.new_page(), []
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("console", lambda message: trouble.append(message.text) if message.type == "error" else None)
    page.on("request", lambda one: None if one.url.startswith((shown, "data:", "blob:")) else trouble.append(one.url))
    page.goto(shown)
    report = page.frame_locator("#report")
    report.locator("#front .point").first.wait_for()
    page.get_by_role("tab", name="Report").focus()
    page.keyboard.press("ArrowRight")
    assert page.get_by_role("tab", name="Study").get_attribute("aria-selected") == "true"
    assert page.locator("#report").is_hidden()
    study = page.frame_locator("#study")
    study.get_by_text("Pareto Front").first.wait_for(timeout=120_000)
    assert trouble == []
    context.close()


@pytest.mark.parametrize("viewport", [{"width": 390, "height": 844}, {"width": 1280, "height": 900}])
def test_the_frame_fits_the_screen(browser, shown, viewport):
    context = browser.new_context(viewport=viewport, color_scheme="dark")
    page = context.new_page()
    page.goto(shown)
    assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
    context.close()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "api/studies"),
        ("DELETE", "api/studies/0"),
        ("PUT", "api/studies/0/note"),
        ("POST", "api/trials/0/tell"),
    ],
)
def test_nothing_can_be_changed_through_it(shown, method, path):
    code, said = refused(urllib.request.Request(f"{shown}{path}", data=b"{}", method=method))
    assert code == 405
    assert json.loads(said) == {"reason": "this dashboard only shows a run; it changes nothing in it"}


@pytest.mark.parametrize(
    ("path", "host", "code"),
    [
        ("state", "evil.example", 421),
        ("report", "127.0.0.1.evil.example:80", 421),
        ("figures/../../config.yaml", "localhost", 404),
        ("figures/%2e%2e/config.yaml", "localhost", 404),
        ("figures/front_lut_accuracy.json", "localhost", 404),
        ("config.yaml", "localhost", 404),
        ("static/../../../../etc/passwd", "localhost", (403, 404)),
    ],
)
def test_it_answers_to_this_machine_alone_and_gives_no_other_file(shown, path, host, code):
    found, _ = refused(urllib.request.Request(f"{shown}{path}", headers={"Host": host}))
    assert found in (code if isinstance(code, tuple) else (code,))


def test_a_search_that_runs_is_followed_and_not_disturbed(tmp_path, browser):
    """The search waits for `go`; so what is seen in between is known."""
    run, go = tmp_path / "run", tmp_path / "go"
    go.write_text("2")
    process = subprocess.Popen([sys.executable, "-m", "tests.report.slow_search", str(run)], env=dict(os.environ))
    try:
        until(lambda: (run / "config.resolved.yaml").exists() or process.poll() is not None)
        with dashboard(run) as url:
            until(lambda: (run / "study.journal").exists() and json.loads(get(f"{url}state"))["study"] == 0)
            few = until(lambda: trials(url))
            page = browser.new_context().new_page()
            page.goto(url)
            points = page.frame_locator("#report").locator("#front .point")
            until(lambda: points.count() > 0)
            before = points.count()
            go.write_text("100")
            until(lambda: trials(url) > few)
            assert process.wait(120) == 0
            until(lambda: points.count() > before)
            assert trials(url) >= points.count() > before
            page.context.close()
        assert not (run / "report.html").exists() and not (run / "figures").exists()
    finally:
        process.kill()
        process.wait()
    from weft.search.results import read

    alone = fake.begin(tmp_path / "alone", trials=12)
    fake.write_data(alone, "classification", fake.JETS)
    fake.run_search(alone, "classification")
    watched, quiet = read(run), read(alone.path)
    assert len(watched.trials) == len(quiet.trials) >= 12


def test_a_port_that_is_taken_is_named(shown, searched):
    port = shown.rstrip("/").rpartition(":")[2]
    command = [sys.executable, "-m", "weft", "dashboard", str(searched.path), "--port", port, "--no-browser"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert f"cannot listen on 127.0.0.1:{port}: " in done.stderr
    assert "give another port with --port, 0 for any that is free" in done.stderr


def test_without_optuna_dashboard_it_says_how_to_get_it(searched, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna_dashboard", None)
    said = r"weft dashboard needs optuna-dashboard.*pip install 'weft\[dashboard\]'; 'weft report .*' writes the report"
    with pytest.raises(ToolNotFoundError, match=said):
        Dashboard(searched)

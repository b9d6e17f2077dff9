"""Runs with a report, made once: a complete one and those that miss something; and a browser to open them in."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from weft.report import write_report
from weft.run import Run

from . import fake


@dataclass
class Reported:
    """A run and the text of its report."""

    run: Run
    path: Path

    @property
    def html(self) -> str:
        return self.path.read_text()


def reported(run: Run) -> Reported:
    return Reported(run, write_report(run))


@pytest.fixture(scope="session")
def full(tmp_path_factory) -> Reported:
    """Three designs of two trials, through every stage."""
    points = (("epoch-30", 2), ("epoch-80", 1))
    return reported(fake.make_run(tmp_path_factory.mktemp("full"), points=points))


@pytest.fixture(scope="session")
def binary(tmp_path_factory) -> Reported:
    return reported(fake.make_run(tmp_path_factory.mktemp("binary"), "binary", trials=10, points=(("epoch-40", 1),)))


@pytest.fixture(scope="session")
def regression(tmp_path_factory) -> Reported:
    points = (("epoch-40", 1),)
    return reported(fake.make_run(tmp_path_factory.mktemp("regression"), "regression", trials=10, points=points))


@pytest.fixture(scope="session")
def mixed(tmp_path_factory) -> Reported:
    """One design that is not exact, and one that is only built; names that look like markup; a failed run."""
    run = fake.begin(tmp_path_factory.mktemp("mixed"), trials=10, source=f"# {fake.HOSTILE[0]} </pre></script>\n")
    fake.write_data(run, "classification", fake.HOSTILE)
    fake.run_search(run, "classification")
    (number,) = fake.select(run, 1)
    fake.write_design(run, "classification", number, "epoch-40", mismatches=12)
    fake.write_design(run, "classification", number, "epoch-90", upto="build", seed=1)
    run.log("failed", stage="verify", error=f"VerificationError: {fake.HOSTILE[0]}")
    return reported(fake.finish(run, "failed"))


@pytest.fixture(scope="session")
def browser():
    """A headless Chromium."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no chromium and no google-chrome on PATH: the report cannot be opened in a browser")
    from playwright.sync_api import sync_playwright

    quiet = ["--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu", *quiet])
        yield opened
        opened.close()

"""Write docs/img/*.png: the report of a run and its dashboard as they look in Chromium, wide and on a phone.

python tools/screenshots.py RUN
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "img"
WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
SETTLED_MS, RENDERED_MS = 1500, 180_000


def main() -> None:
    from playwright.sync_api import sync_playwright

    run = Path(sys.argv[1])
    report = (run / "report.html").resolve().as_uri()
    program = shutil.which("chromium") or shutil.which("google-chrome")
    command = [sys.executable, "-m", "weft", "dashboard", str(run), "--port", "0", "--no-browser", "--json"]
    with sync_playwright() as playwright, subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        url = json.loads(server.stdout.readline())["url"]
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        try:
            shoot(browser, report, "report", WIDE, "light")
            shoot(browser, report, "report-dark", WIDE, "dark", at="Search")
            shoot(browser, report, "report-phone", PHONE, "light")
            shoot(browser, url, "dashboard", WIDE, "light", inside="#report")
        finally:
            browser.close()
            server.terminate()


def shoot(
    browser: Any, url: str, name: str, size: dict[str, int], scheme: str, at: str | None = None, inside: str = ""
) -> None:
    """Write one picture of what a window shows: of the top of a page, or of what a heading begins."""
    page = browser.new_page(viewport=size, color_scheme=scheme)
    page.goto(url)
    report = page.frame_locator(inside) if inside else page
    report.get_by_role("heading", name="Designs", exact=True).first.wait_for(timeout=RENDERED_MS)
    page.wait_for_timeout(SETTLED_MS)
    if at is not None:
        page.get_by_role("heading", name=at, exact=True).first.evaluate("one => one.scrollIntoView()")
        page.wait_for_timeout(SETTLED_MS)
    page.screenshot(path=IMAGES / f"{name}.png")
    page.close()


if __name__ == "__main__":
    main()

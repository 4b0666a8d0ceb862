"""A real browser for tests: Debian's Chromium, driven by Playwright. Skips by name where either is absent."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

_QUIET = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser that asks nobody for anything by itself."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: no page is tried in a browser")
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("chromium is absent: no page is tried in a browser")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=path, args=list(_QUIET))
        try:
            yield browser
        finally:
            browser.close()


def check(page: Any) -> None:
    """Nothing lies beside the screen, and axe finds nothing."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")
    assert not page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
    found = axe.Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def fits_and_is_accessible(file: Path, width: int, scheme: str) -> None:
    """Open a page of ours and `check` it.

    Args:
        file: of the page.
        width: of the screen, in pixels.
        scheme: light or dark.
    """
    with chromium() as browser:
        page = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme).new_page()
        wrong: list[str] = []
        page.on("console", lambda message: wrong.append(message.text) if message.type in {"error", "warning"} else None)
        page.goto(file.as_uri())
        check(page)
        assert not wrong

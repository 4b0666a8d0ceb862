"""Make docs/pictures/*.png: the console's pages in Chromium, with the six example photographs alone.

    python scripts/console_pictures.py BUNDLE [REPORT.html]

BUNDLE is one that shows evidence maps; REPORT.html an evaluation of generated data. Needs `foveal[http,store]`, Playwright and
Debian's chromium.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ROOT / "docs" / "pictures"
PHOTOGRAPHS = ROOT / "examples" / "photographs"
FOVEAL = (sys.executable, "-m", "foveal_runtime.cli.main")
COLOURS = 160
DESK: Any = {"width": 1280, "height": 800}
TELEPHONE: Any = {"width": 390, "height": 844}


def main() -> int:
    """Take them all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("report", type=Path, nargs="?")
    given = parser.parse_args()
    from playwright.sync_api import sync_playwright

    with served(given.bundle) as url, sync_playwright() as started:
        browser = started.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"])
        take_graded(page_of(browser, url, DESK, "light"), "console-grade", "grade-2-right.jpg")
        take_graded(page_of(browser, url, TELEPHONE, "dark"), "console-visit", "grade-2-right.jpg", "grade-4-left.jpg")
        take_graded(page_of(browser, url, TELEPHONE, "light"), "console-ungradable", "blurred.jpg")
        take_search(page_of(browser, url, DESK, "dark"), "console-search")
        take_system(page_of(browser, url, DESK, "light"), "console-system")
        if given.report is not None:
            page = browser.new_context(viewport=TELEPHONE, color_scheme="dark").new_page()
            page.goto(given.report.resolve().as_uri())
            save(page, "report-telephone", whole=False)
        browser.close()
    return 0


@contextmanager
def served(bundle: Path) -> Iterator[str]:
    """A server of the bundle with the example photographs in its archive; the address of its pages."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        flags = ("--address", "127.0.0.1:0", "--http", "127.0.0.1:0", "--store", f"{folder}/store")
        counted = ("--drift", f"{folder}/drift", "--workers", "1")
        server = subprocess.Popen(
            [*FOVEAL, "serve", str(bundle), *flags, *counted], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        try:
            url = address = ""
            assert server.stdout is not None
            for line in server.stdout:
                if "HTTP on " in line:
                    url = line.split("HTTP on ")[1].split()[0]
                if line.startswith("serving ") or " serving " in line:
                    address = line.split(" on ")[1].split(",")[0].strip()
                    break
            subprocess.run([*FOVEAL, "index", str(PHOTOGRAPHS / "labels.csv"), "--address", address], check=False)
            yield url
        finally:
            server.terminate()
            server.wait(60)


def page_of(browser: Any, url: str, size: Any, scheme: str) -> Any:
    """The console, opened."""
    page = browser.new_context(viewport=size, color_scheme=scheme).new_page()
    page.set_default_timeout(90_000)
    page.goto(url)
    page.wait_for_selector("footer >> text=bundle")
    return page


def take_graded(page: Any, name: str, *photographs: str) -> None:
    """The page of grades, with the map of a lone photograph that has one."""
    page.set_input_files("#photographs", [str(PHOTOGRAPHS / each) for each in photographs])
    for place, each in enumerate(photographs):
        eye = "right" if "right" in each else "left" if "left" in each else ""
        page.locator(".chosen select").nth(place).select_option(eye)
    page.click("button[type=submit]")
    page.wait_for_selector(".verdict")
    maps = page.locator("text=Show where the evidence lies")
    if len(photographs) == 1 and maps.count():
        maps.click()
        page.wait_for_selector("input[type=range]")
        page.wait_for_selector(".similar table, .similar p")
    save(page, name)


def take_search(page: Any, name: str) -> None:
    """The page of searches, with pictures."""
    page.click("nav >> text=Search")
    page.click("label >> text=photograph")
    page.set_input_files("input[type=file][accept*=image]", str(PHOTOGRAPHS / "grade-3.jpg"))
    page.set_input_files("input[webkitdirectory]", str(PHOTOGRAPHS))
    page.click("button[type=submit]")
    page.wait_for_selector(".sheet img")
    page.wait_for_timeout(1500)
    save(page, name)


def take_system(page: Any, name: str) -> None:
    """The page of the server."""
    page.click("nav >> text=System")
    page.wait_for_selector("text=Trained for")
    page.click("text=Run the self-test")
    page.wait_for_selector("p >> text=golden studies:")
    page.wait_for_timeout(2500)
    save(page, name)


def save(page: Any, name: str, *, whole: bool = True) -> None:
    """Few colours: a page is flat, and a photograph in it is small."""
    path = PICTURES / f"{name}.png"
    page.screenshot(path=path, full_page=whole)
    Image.open(path).convert("RGB").quantize(COLOURS, dither=Image.Dither.FLOYDSTEINBERG).save(path, optimize=True)


if __name__ == "__main__":
    raise SystemExit(main())

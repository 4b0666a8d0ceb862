"""What a server counts of its cameras, tells of them, and keeps."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from bundles import write_bundle

from foveal_runtime.bundle.bundle import Bundle
from foveal_runtime.bundle.calibration import HeldOutPhotographs
from foveal_runtime.bundle.manifest import Manifest
from foveal_runtime.drift.folder import forget, path_of, read
from foveal_runtime.drift.monitor import MOST_CAMERAS, OTHERS, DriftMonitor
from foveal_runtime.drift.signals import GRID, NAMES, steps
from foveal_runtime.drift.stream import ALL, BUNDLE, OWN, camera_of
from foveal_runtime.drift.watch import QUIET, counts_of, sparse
from foveal_runtime.engine.answers import Outcome
from foveal_runtime.engine.grading import Grades, SchemeGrade
from foveal_runtime.errors import ConfigError, InputError
from foveal_runtime.photo.quality import Quality
from foveal_runtime.study.labels import ICDR
from foveal_runtime.study.record import FEATURES
from foveal_runtime.study.study import Modality

NOW = datetime(2026, 11, 2, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return Bundle.open(write_bundle(tmp_path_factory.mktemp("bundle") / "b")).manifest


def bundle(manifest: Manifest, *, sha256: str = "a" * 64, held_out: bool = True) -> Any:
    rng = np.random.default_rng(7)
    counts = sparse(counts_of([steps(quality=Quality.GRADABLE, appearance=appearance(rng)) for _ in range(200)]))
    found = HeldOutPhotographs(grid=GRID, photographs=200, counts=counts) if held_out else None
    return SimpleNamespace(sha256=sha256, manifest=manifest.model_copy(update={"held_out": found}))


def appearance(rng: np.random.Generator, dark: float = 0.0) -> tuple[float, ...]:
    return (float(rng.normal(0.3 - dark, 0.03)), *rng.normal(0.8, 0.05, 4).tolist())


def outcome(rng: np.random.Generator, *, dark: float = 0.0, device: str = "", record: bool = True) -> Outcome:
    return Outcome(
        subset=frozenset({Modality.IMAGE, Modality.STRUCTURED} if record else {Modality.IMAGE}),
        logits={},
        vectors={},
        imputed=("insulin",) if record else (),
        truncated=False,
        quality=Quality.GRADABLE,
        eye=None,
        prepare_ms=0.0,
        compute_ms=0.0,
        batch_size=1,
        appearance=appearance(rng, dark),
        device=device,
        novelty=float(np.exp(rng.normal(-0.5, 0.1))),
    )


def grades(icdr: int) -> Grades:
    return Grades(schemes={ICDR: SchemeGrade(grade=icdr, name="", names=(), probabilities=(0.2,) * 5)}, referable=None)


@pytest.fixture
def monitor(tmp_path: Path) -> Iterator[DriftMonitor]:
    yield from opened(tmp_path / "drift")


def opened(folder: Path) -> Iterator[DriftMonitor]:
    import asyncio

    found = DriftMonitor(folder, rng=np.random.default_rng(0), clock=lambda: NOW)
    yield found
    asyncio.run(found.close())


def feed(monitor: DriftMonitor, served: Any, count: int, *, seed: int, **of: Any) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(count):
        monitor.graded(served, outcome(rng, **of), grades(int(rng.integers(0, 3))))


def test_an_alarm_is_told_once_when_it_starts_and_once_when_it_ends(
    monitor: DriftMonitor, manifest: Manifest, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    served = bundle(manifest)
    feed(monitor, served, 250, seed=1)
    assert not caplog.records
    feed(monitor, served, 400, seed=2, dark=0.12)
    told = [(r.event, r.levelname, r.facts["reference"]) for r in caplog.records]  # type: ignore[attr-defined]
    assert sorted(told) == [("drift_started", "WARNING", BUNDLE), ("drift_started", "WARNING", OWN)]
    assert all("brightness" in r.getMessage() for r in caplog.records)
    caplog.clear()
    feed(monitor, served, 2 * QUIET, seed=3)
    assert sorted(r.facts["reference"] for r in caplog.records) == [BUNDLE, OWN]  # type: ignore[attr-defined]
    assert {r.event for r in caplog.records} == {"drift_ended"}  # type: ignore[attr-defined]


def test_a_clinic_s_camera_differs_from_the_bundle_s_and_not_from_itself(monitor: DriftMonitor, manifest: Manifest) -> None:
    feed(monitor, bundle(manifest), 400, seed=4, dark=0.12)
    watches = monitor.streams[ALL].watches
    assert watches[BUNDLE].alarm is not None
    assert watches[OWN].alarm is None


async def test_counts_survive_a_restart_and_hold_nothing_else(tmp_path: Path, manifest: Manifest) -> None:
    folder, served = tmp_path / "drift", bundle(manifest)
    first = DriftMonitor(folder, rng=np.random.default_rng(0), clock=lambda: NOW)
    feed(first, served, 250, seed=5)
    feed(first, served, 200, seed=6, dark=0.12)
    before = first.streams[ALL].document()
    await first.close()
    again = DriftMonitor(folder, rng=np.random.default_rng(0), clock=lambda: NOW + timedelta(days=7))
    assert again.streams[ALL].document() == before
    assert again.streams[ALL].watches[OWN].alarm is not None
    feed(again, served, 3, seed=7, record=False)
    weeks = again.streams[ALL].weeks
    assert [weeks[name].photographs for name in ("2026-W45", "2026-W46")] == [450, 3]
    assert weeks["2026-W45"].missing == {"insulin": 450}
    assert weeks["2026-W46"].missing == dict.fromkeys(FEATURES, 3)
    assert sum(weeks["2026-W45"].grades) == 450
    await again.close()
    assert sum(path.stat().st_size for path in folder.iterdir()) < 64 << 10
    assert folder.stat().st_mode & 0o077 == 0


def test_devices_are_cameras_of_their_own_by_a_hash_alone(monitor: DriftMonitor, manifest: Manifest) -> None:
    served = bundle(manifest)
    for device in ("TRC-NW8#0a1b2c3d", "TRC-NW8#ffffffff", ""):
        feed(monitor, served, 1, seed=1, device=device)
    assert sorted(monitor.streams) == [ALL, "device:0a1b2c3d", "device:ffffffff"]
    assert monitor.streams["device:0a1b2c3d"].device == "TRC-NW8#0a1b2c3d"
    assert camera_of("", "camera-1") == "token:camera-1"


def test_cameras_beyond_the_most_are_counted_together(monitor: DriftMonitor, manifest: Manifest) -> None:
    served = bundle(manifest, held_out=False)
    for i in range(MOST_CAMERAS + 3):
        feed(monitor, served, 1, seed=i, device=f"X#{i:08x}")
    assert len(monitor.streams) == MOST_CAMERAS + 1
    assert monitor.streams[OTHERS].photographs == 3


def test_another_bundle_begins_anew_with_what_depends_on_it(monitor: DriftMonitor, manifest: Manifest) -> None:
    feed(monitor, bundle(manifest), 50, seed=1)
    feed(monitor, bundle(manifest, sha256="b" * 64, held_out=False), 1, seed=2)
    stream = monitor.streams[ALL]
    counts = {name: sum(row.values()) for name, row in stream.watches[OWN].document()["counts"].items()}
    assert (counts["brightness"], counts["image"], counts["grade"]) == (51, 1, 1)
    assert BUNDLE not in stream.watches
    assert stream.photographs == 51


async def test_a_camera_that_is_forgotten_is_a_new_one_to_a_server_that_runs(tmp_path: Path, manifest: Manifest) -> None:
    folder, served = tmp_path / "drift", bundle(manifest)
    running = DriftMonitor(folder, rng=np.random.default_rng(0), clock=lambda: NOW)
    feed(running, served, 20, seed=1)
    await running.save()
    assert [stream.photographs for stream in read(folder)] == [20]
    assert forget(folder, ALL)
    assert not forget(folder, ALL)
    await running.save()
    assert not running.streams
    feed(running, served, 2, seed=2)
    await running.close()
    assert [stream.photographs for stream in read(folder)] == [2]


async def test_what_can_not_be_kept_is_told_once_and_kept_in_memory(
    tmp_path: Path, manifest: Manifest, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = DriftMonitor(tmp_path / "drift", rng=np.random.default_rng(0), clock=lambda: NOW)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("foveal_runtime.drift.folder.write", full)
    feed(running, bundle(manifest), 5, seed=1)
    await running.save()
    await running.save()
    assert [record.getMessage() for record in caplog.records] == ["counts of drift can't be kept: No space left on device"]
    monkeypatch.undo()
    await running.close()
    assert [stream.photographs for stream in read(tmp_path / "drift")] == [5]


def test_a_folder_has_one_writer_and_what_is_damaged_is_named(tmp_path: Path, manifest: Manifest) -> None:
    for running in opened(tmp_path / "drift"):
        feed(running, bundle(manifest), 5, seed=1)
        with pytest.raises(ConfigError, match="written by another server"):
            DriftMonitor(tmp_path / "drift")
    path = path_of(tmp_path / "drift", ALL)
    whole = path.read_text()
    far = json.loads(whole)
    far["references"][OWN]["counts"]["brightness"]["9999"] = 1
    for text in (whole[:100], "[]", json.dumps(far), whole.replace("references", "reference")):
        path.write_text(text)
        with pytest.raises(InputError, match=f"{path.name} can't be read"):
            DriftMonitor(tmp_path / "drift")
    path.write_text(json.dumps({**json.loads(whole), "grid": GRID + 1}))
    for running in opened(tmp_path / "drift"):
        assert not running.streams, "counts of another version's bins mean nothing here"


def test_photographs_alone_are_counted(monitor: DriftMonitor, manifest: Manifest) -> None:
    rng = np.random.default_rng(0)
    from dataclasses import replace

    monitor.graded(bundle(manifest), replace(outcome(rng), quality=None), None)
    assert not monitor.streams
    monitor.graded(bundle(manifest), replace(outcome(rng), quality=Quality.TOO_DARK), None)
    week = monitor.streams[ALL].weeks["2026-W45"]
    assert week.quality == {"TOO_DARK": 1}
    assert sum(week.grades) == 0
    assert set(NAMES) - {"grade"} == set(week.counted)

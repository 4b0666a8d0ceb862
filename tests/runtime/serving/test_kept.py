"""Which of the measured settings is served with, and how many workers where nothing was measured."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from foveal_runtime.bundle.bundle import Bundle
from foveal_runtime.engine.compiled import entry_folder
from foveal_runtime.engine.ort import usable_cores
from foveal_runtime.errors import ConfigError
from foveal_runtime.serving.kept import Measurement, ServePlan, planned, write_plan
from foveal_runtime.serving.memory import free_bytes, megabytes, proportional_bytes
from foveal_runtime.serving.request import BatchLimits
from foveal_runtime.serving.spec import CPU_ROWS, ModelSpec


def of(workers: int, batch: int, rate: float, memory_mb: float = 100) -> Measurement:
    return Measurement(workers=workers, threads=1, max_batch=batch, studies_per_s=rate, memory_mb=memory_mb)


def chosen(*measured: Measurement, memory_mb: float = 1e6) -> tuple[int, int]:
    setting, _ = ServePlan(measured=measured).choose(memory_mb)
    return setting.workers, setting.max_batch


def test_the_fastest_is_taken_and_of_its_batches_the_smallest_that_is_about_as_fast() -> None:
    assert chosen(of(1, 16, 70), of(2, 2, 80), of(2, 4, 92), of(2, 16, 100)) == (2, 4)


def test_where_two_settings_are_about_as_fast_the_one_with_more_workers_is_taken() -> None:
    assert chosen(of(1, 2, 80.4), of(2, 2, 79.1)) == (2, 2)
    assert chosen(of(1, 2, 80.4), of(2, 2, 71)) == (1, 2)


def test_what_does_not_fit_into_the_memory_is_not_taken() -> None:
    settings = of(1, 4, 70, 90), of(2, 4, 100, 180)
    assert chosen(*settings, memory_mb=200) == (2, 4)
    assert chosen(*settings, memory_mb=179) == (1, 4)


def test_where_nothing_fits_the_least_is_taken_and_said() -> None:
    setting, why = ServePlan(measured=(of(1, 4, 70, 90), of(2, 4, 100, 180))).choose(50)
    assert setting.workers == 1
    assert "none fits into 50 MB" in why


def test_without_a_plan_there_is_a_worker_a_core_as_far_as_the_memory_holds_them(
    bundle_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOVEAL_CACHE", str(tmp_path))
    bundle, spec = Bundle.open(bundle_path), ModelSpec(bundle=bundle_path)
    roomy = planned(dataclasses.replace(spec, memory_mb=10_000), bundle)
    assert (roomy.workers, roomy.threads_each) == (usable_cores(), 1)
    narrow = planned(dataclasses.replace(spec, memory_mb=80), bundle)
    assert (narrow.workers, narrow.threads_each) == (1, usable_cores())
    asked = planned(dataclasses.replace(spec, workers=3, chosen=True, memory_mb=80), bundle)
    assert asked.workers == 3
    assert planned(dataclasses.replace(spec, threads=4, chosen=True), bundle).workers == 1


@pytest.mark.parametrize(
    ("provider", "asked", "measured", "expected"),
    [
        ("cpu", 0, None, CPU_ROWS),
        ("cpu", 0, 16, CPU_ROWS),
        ("openvino", 0, 4, CPU_ROWS),
        ("cpu", 8, None, 8),
        ("cuda", 0, None, 16),
        ("cuda", 0, 4, 4),
        ("cuda", 2, None, 2),
    ],
)
def test_a_batch_on_a_cpu_is_one_graph_call_and_on_a_gpu_what_was_measured(
    bundle_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    provider: str,
    asked: int,
    measured: int | None,
    expected: int,
) -> None:
    monkeypatch.setenv("FOVEAL_CACHE", str(tmp_path))
    bundle = Bundle.open(bundle_path)
    if measured is not None:
        folder = entry_folder(bundle.sha256, provider)
        folder.mkdir(mode=0o700, parents=True)
        write_plan(folder, ServePlan(measured=(of(2, measured, 50),)))
    spec = ModelSpec(bundle=bundle_path, provider=provider, chosen=bool(asked), batch=BatchLimits(max_studies=asked))
    found = planned(spec, bundle)
    assert (found.batch.max_studies, found.max_rows) == (expected, min(expected, CPU_ROWS) if provider != "cuda" else expected)


def test_free_memory_is_what_the_machine_and_the_control_group_both_allow(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable: 4000 kB\n")
    assert free_bytes(proc=tmp_path, cgroup=tmp_path) == 4000 * 1024
    (tmp_path / "memory.max").write_text("3000000\n")
    (tmp_path / "memory.current").write_text("1000000\n")
    assert free_bytes(proc=tmp_path, cgroup=tmp_path) == 2_000_000
    (tmp_path / "memory.max").write_text("max\n")
    assert free_bytes(proc=tmp_path, cgroup=tmp_path) == 4000 * 1024
    assert free_bytes(proc=tmp_path / "none", cgroup=tmp_path) is None


@pytest.mark.parametrize(
    ("text", "expected"), [("512MB", 512), ("2 GB", 2000), ("1.5GiB", 1610.612736), ("300", 300), ("64m", 64), ("1e9b", None)]
)
def test_sizes_are_read_as_people_write_them(text: str, expected: float | None) -> None:
    if expected is None:
        with pytest.raises(ConfigError, match="512MB"):
            megabytes(text)
    else:
        assert megabytes(text) == pytest.approx(expected)


def test_a_process_has_memory_and_one_that_is_gone_has_none() -> None:
    import os

    assert proportional_bytes(os.getpid()) > 1_000_000
    assert proportional_bytes(0) == 0

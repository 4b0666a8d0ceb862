"""`foveal gpu-check`: it refuses politely without a GPU, its CPU half runs, and no step takes the report with it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from bundles import write_bundle

from foveal_export.gpucheck import check as check_module
from foveal_export.gpucheck import machine, page
from foveal_export.gpucheck.check import DOCUMENT, PAGE, Check
from foveal_export.gpucheck.command import gpu_check
from foveal_export.gpucheck.speed import of_bundle
from foveal_runtime.bundle.bundle import Bundle
from foveal_runtime.engine.choice import unusable
from foveal_runtime.engine.providers import Provider, on_processor
from foveal_runtime.errors import ConfigError

NO_GPU = {
    "cpu": "",
    "openvino": "its package is not installed",
    "cuda": "no NVIDIA driver",
    "tensorrt": "none",
    "tensorrt-rtx": "none",
}
PASSED = {"min_cosine": 0.999, "max_abs_probability": 0.01, "icdr_flips": 0, "referable_flips": 0}


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Check:
    """A check that has begun on a machine without a GPU."""
    monkeypatch.setattr(machine, "providers", lambda: dict(NO_GPU))
    made = Check(folder=tmp_path, recipe="tiny", patients=4, batches=(1, 2), seconds=0.01, say=lambda line: None)
    made.begin()
    return made


def _answers(monkeypatch: pytest.MonkeyPatch, check: Check, code: int, stdout: str = "", stderr: str = "") -> list[list[str]]:
    """Answer every command so; the commands."""
    asked: list[list[str]] = []

    def run(command: list[str]) -> subprocess.CompletedProcess[str]:
        asked.append(command)
        return subprocess.CompletedProcess(command, code, stdout, stderr)

    monkeypatch.setattr(check, "_run", run)
    return asked


def test_what_is_missing_is_written_before_anything_runs(check: Check) -> None:
    document = json.loads((check.folder / DOCUMENT).read_text())
    assert document["gpu"] is False
    assert [line for line in document["missing"] if line.startswith("cuda: no NVIDIA driver")]
    assert not [line for line in document["missing"] if line.startswith(("cpu", "openvino"))]
    text = (check.folder / PAGE).read_text()
    assert "cuda: no NVIDIA driver" in text
    assert "not run" in text


def test_one_usable_provider_of_the_gpu_is_a_gpu() -> None:
    assert machine.has_gpu({**NO_GPU, "cuda": ""})
    assert not machine.has_gpu({**NO_GPU, "openvino": ""})


def test_every_bundle_meets_every_provider_that_is_there_and_takes_it(
    check: Check, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    check.document["providers"] = dict.fromkeys(NO_GPU, "")
    made = json.dumps({"seconds": 1.0, "bytes": 2000, "self_test": PASSED, "ms_per_study": {"1": 3.0, "2": 2.0}})
    asked = _answers(monkeypatch, check, 0, made)
    check.compare([write_bundle(tmp_path / "bundle")])
    assert [row["provider"] for row in check.document["rows"]] == ["cpu", "cuda", "openvino"]
    assert [row["status"] for row in check.document["rows"]] == ["passed"] * 3
    assert len(asked) == 6
    assert "0.99900" in (check.folder / PAGE).read_text()


def test_what_one_provider_breaks_is_a_row_and_the_rest_goes_on(
    check: Check, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    check.document["providers"] = {**NO_GPU, "cuda": ""}
    _answers(monkeypatch, check, -11, stderr="Traceback\nerror: <graph> does not load\n")
    check.compare([tmp_path / "nothing", write_bundle(tmp_path / "bundle")])
    assert [(row["provider"], row["status"]) for row in check.document["rows"]] == [
        ("", "failed"),
        ("cpu", "failed"),
        ("cuda", "failed"),
    ]
    assert check.document["rows"][1]["why"] == "<graph> does not load"
    assert "&lt;graph&gt; does not load" in (check.folder / PAGE).read_text()


def test_a_step_that_never_ends_is_ended(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_module, "_STEP_S", 0.2)
    done = check._run(["sleep", "60"])
    assert done.returncode == 1
    assert "no end" in done.stderr


def test_an_export_that_misses_its_budget_is_mended_by_the_command_it_names(
    check: Check, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for target, precision in check_module.EXPORTS:
        report = tmp_path / f"bundle-{target.value}-{precision.value}.parity.json"
        report.write_text(json.dumps({"mend": {"command": ["export", "mended"], "why": ""}}))
    asked = _answers(monkeypatch, check, 1, stderr="error: out of budget")
    assert check.export(tmp_path / "run") == []
    assert [command[-1] for command in asked[1::2]] == ["mended"] * len(check_module.EXPORTS)
    assert {row["result"] for row in check.document["exports"]} == {"not exported: out of budget"}


def test_speed_of_a_bundle_is_by_batch(bundle_path: Path) -> None:
    ms = of_bundle(Bundle.open(bundle_path), "cpu", (1, 4), 0.01)
    assert set(ms) == {1, 4}
    assert min(ms.values()) > 0


@pytest.mark.parametrize("batches", ["", "0", "1,x", "-1"])
def test_batches_that_are_no_numbers_are_refused(tmp_path: Path, batches: str) -> None:
    with pytest.raises(ConfigError, match="--batches"):
        gpu_check(tmp_path / "check", batches=batches)
    assert not (tmp_path / "check").exists()


def test_page_of_a_result_without_training_or_rows_is_a_page(check: Check) -> None:
    assert page.html(check.document).startswith("<!doctype html>")


@pytest.mark.slow
def test_on_a_machine_without_a_gpu_the_cpu_half_runs_and_the_exit_code_says_so(tmp_path: Path) -> None:
    if [p for p in Provider if not on_processor(p) and not unusable(p)]:
        pytest.skip("this machine has a GPU")
    with pytest.raises(ConfigError, match=r"no GPU can be used here: .*cuda") as refused:
        gpu_check(tmp_path, recipe="tiny", patients=24, batches="1,2", seconds=0.1)
    assert "failed" not in str(refused.value)
    document: dict[str, Any] = json.loads((tmp_path / DOCUMENT).read_text())
    assert document["training"]["passed"]
    rows = [row for row in document["rows"] if row["provider"] == "cpu"]
    assert len(rows) == len(check_module.EXPORTS)
    assert {row["status"] for row in rows} == {"passed"}
    assert all(set(row["ms_per_study"]) == {"1", "2"} for row in rows)
    assert document["pytorch"][0]["device"] == "cpu"

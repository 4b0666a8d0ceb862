"""The table of what was executed says what the results say, and a stale one is noticed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from scripts_of import load_script

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def executed() -> ModuleType:
    return load_script("executed")


def result(**changes: Any) -> dict[str, Any]:
    """A result of an L4 that ran two bundles with CUDA, one of them out of tolerance."""
    return {
        "schema_version": 1,
        "date": "2026-11-26",
        "machine": {"gpus": ["NVIDIA L4"], "processor": {"class": "x86-64-v3"}, "torch": {"sees_gpu": True}},
        "training": {"what": "one epoch", "result": "12 s", "passed": True},
        "rows": [
            {"bundle": "bundle-onnx-fp32", "provider": "cuda", "status": "passed"},
            {"bundle": "bundle-onnx-int8", "provider": "cuda", "status": "failed"},
        ],
        **changes,
    }


def test_a_provider_without_a_result_was_never_executed(executed: ModuleType) -> None:
    lines = executed.table([]).splitlines()
    assert len(lines) == 2 + len(executed.PROVIDERS) + 1
    assert all("**never executed**" in line for line in lines[2:])


def test_rows_name_the_card_the_date_and_what_failed(executed: ModuleType) -> None:
    table = executed.table([result()])
    (cuda,) = [line for line in table.splitlines() if line.startswith("| `cuda`")]
    assert "NVIDIA L4, 2026-11-26: 1 of 2 bundles compiled and within tolerance; not bundle-onnx-int8" in cuda
    (training,) = [line for line in table.splitlines() if line.startswith("| training")]
    assert "NVIDIA L4, 2026-11-26: one epoch, 12 s" in training
    assert table.count("**never executed**") == 4


def test_training_on_a_processor_is_no_training_on_a_gpu(executed: ModuleType) -> None:
    table = executed.table([result(machine={"gpus": [], "processor": {"class": "x"}, "torch": {"sees_gpu": False}}, rows=[])])
    assert "| training on a GPU | **never executed**" in table


def test_a_result_of_another_format_is_refused(executed: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(result(schema_version=2)))
    with pytest.raises(SystemExit, match="measure again"):
        executed.read(tmp_path)


def test_only_what_lies_between_the_marks_is_replaced(executed: ModuleType) -> None:
    page = f"before\n{executed.BEGIN}old\n{executed.END}after\n"
    assert executed.replaced(page, "new\n") == f"before\n{executed.BEGIN}new\n{executed.END}after\n"
    with pytest.raises(SystemExit, match="has no"):
        executed.replaced("no marks", "new\n")


def test_the_table_in_the_documentation_is_fresh_and_a_stale_one_fails_the_check(tmp_path: Path) -> None:
    command = [sys.executable, "scripts/executed.py", "--check"]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == 0
    for part in ("scripts/executed.py", "docs/operations.md"):
        (tmp_path / part).parent.mkdir(exist_ok=True)
        (tmp_path / part).write_text((ROOT / part).read_text())
    folder = tmp_path / "benchmarks" / "results" / "gpu"
    folder.mkdir(parents=True)
    (folder / "l4.json").write_text(json.dumps(result()))
    assert subprocess.run(command, cwd=tmp_path, check=False, capture_output=True).returncode == 1
    subprocess.run(command[:2], cwd=tmp_path, check=True)
    assert "NVIDIA L4" in (tmp_path / "docs" / "operations.md").read_text()
    assert subprocess.run(command, cwd=tmp_path, check=False).returncode == 0

"""The runner of the benchmarks: what it lists, runs, skips and tells."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def runner(*words: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *words], capture_output=True, text=True, check=False, cwd=cwd, timeout=300
    )


def test_the_plan_names_scripts_that_there_are_and_what_each_is() -> None:
    done = runner("list")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) > 10
    assert all(line.split(" min  ", 1)[1].strip().endswith((".", ":")) or " " in line for line in lines)
    assert any(line.startswith("several_servers") for line in lines)


def test_a_run_leaves_its_figures_its_log_and_the_machine(tmp_path: Path) -> None:
    done = runner("run", "worker_memory", "--results", str(tmp_path), "--work", str(tmp_path / "work"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads((tmp_path / "worker_memory.json").read_text())
    assert (tmp_path / "worker_memory.log").exists()
    assert json.loads((tmp_path / "machine.json").read_text())["cores"] >= 1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("run",), "name benchmarks, or give --all"),
        (("run", "teleport"), "no benchmark teleport"),
    ],
)
def test_what_can_not_be_run_is_said(tmp_path: Path, words: tuple[str, ...], says: str) -> None:
    done = runner(*words, *(("--results", str(tmp_path)) if len(words) > 1 else ()))
    assert done.returncode == 1
    assert says in done.stderr


def test_what_lacks_its_data_is_skipped_by_name_and_what_fails_is_told(tmp_path: Path) -> None:
    done = runner("run", "drift", "--results", str(tmp_path), "--work", str(tmp_path / "work"))
    assert done.returncode == 0
    assert "drift: skipped, give --idrid" in done.stdout
    done = runner(
        "run", "worker_memory", "--bundle", str(tmp_path), "--results", str(tmp_path), "--work", str(tmp_path / "work")
    )
    assert done.returncode == 1
    assert "worker_memory.py ended with exit code" in done.stdout
    assert "failed: worker_memory" in done.stderr

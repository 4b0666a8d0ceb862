"""The progress line of `make install`: what it says of a pip that runs, and of one that fails."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from scripts_of import load_script

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "quiet_pip.py"


@pytest.fixture(scope="module")
def quiet_pip() -> ModuleType:
    return load_script("quiet_pip")


def test_the_line_names_the_phase_and_counts_packages(quiet_pip: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "there_before-1.0.dist-info").mkdir()
    pip = quiet_pip.Pip(tmp_path, started=(tmp_path / "there_before-1.0.dist-info").stat().st_mtime + 60)
    assert pip.progress_text() == "starting"
    for line in (
        "Collecting grpcio>=1.85 (from foveal)",
        "Collecting Jinja2==3.1",
        "Requirement already satisfied: numpy in /x",
    ):
        pip.hear(line + "\n")
    assert pip.progress_text() == "collecting 3 packages"
    pip.hear("  Downloading torch-2.9.1-cp311-manylinux_2_28_x86_64.whl (899.8 MB)\n")
    assert pip.progress_text() == "collecting 3 packages, torch 899.8 MB"
    pip.hear("  Created wheel for foveal: filename=foveal-0.1.0-py3-none-any.whl\n")
    assert pip.summary() == "1 wheel(s)"
    pip.hear("Installing collected packages: grpcio, Jinja2, there-before\n")
    assert pip.progress_text() == "installing 0 of 3 packages"
    assert pip.summary() == "3 packages installed"


def test_a_package_that_arrived_is_counted_by_its_normal_name(quiet_pip: ModuleType, tmp_path: Path) -> None:
    pip = quiet_pip.Pip(tmp_path, started=0)
    pip.hear("Installing collected packages: Jinja2, ruamel.yaml, typing-extensions\n")
    for folder in ("jinja2-3.1.6.dist-info", "ruamel.yaml-0.18.dist-info", "unasked-1.0.dist-info"):
        (tmp_path / folder).mkdir()
    assert pip.progress_text() == "installing 2 of 3 packages"


def test_a_pip_that_fails_shows_its_last_lines_and_its_log(tmp_path: Path) -> None:
    log = tmp_path / "pip.log"
    words = [
        sys.executable,
        str(SCRIPT),
        "the runtime",
        "--log",
        str(log),
        "--",
        "install",
        "--no-index",
        "foveal-is-not-there",
    ]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1
    assert "No matching distribution found for foveal-is-not-there" in done.stderr
    assert str(log) in done.stderr
    assert "No matching distribution" in log.read_text()

"""What a clinic installs: by hash, in the versions that the tests run with, with every licence named."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CLINIC = (ROOT / "requirements" / "clinic.txt").read_text()


def _pinned() -> dict[str, tuple[str, list[str]]]:
    """Version and hashes by name."""
    found: dict[str, tuple[str, list[str]]] = {}
    for line in CLINIC.splitlines():
        if pin := re.match(r"([A-Za-z0-9._-]+)==(\S+)", line):
            name = pin[1].lower().replace("_", "-")
            found[name] = (pin[2], [])
        elif digest := re.match(r"\s+--hash=(sha256:[0-9a-f]{64})", line):
            found[name][1].append(digest[1])
    return found


PINNED = _pinned()


def test_every_package_is_pinned_by_hash_to_the_version_of_the_tests() -> None:
    constraints = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    tested = {name.lower().replace("_", "-"): version for name, version in constraints.items()}
    assert len(PINNED) > 30
    for name, (version, hashes) in PINNED.items():
        assert hashes, name
        assert tested.get(name, version) == version, f"{name}; run `make requirements`"


def test_everything_that_serving_asks_for_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    for wanted in [*project["dependencies"], *extras["cpu"], *extras["store"], *extras["dicom"]]:
        name = re.match(r"[A-Za-z0-9._-]+", wanted)
        assert name is not None
        assert name[0].lower() in PINNED, f"{wanted}; run `make requirements`"


def test_the_licences_page_is_fresh_and_marks_what_has_conditions() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "licences.py", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    page = (ROOT / "docs" / "licences.md").read_text()
    assert re.search(r"\| psycopg \| \S+ \| \*\*LGPL", page)
    assert "**proprietary**: NVIDIA's" in page


@pytest.mark.slow
def test_a_doubtful_line_fails_the_security_check_and_reviewed_ones_do_not(tmp_path: Path) -> None:
    if shutil.which("bandit") is None:
        pytest.skip("bandit is not installed")
    (tmp_path / "planted.py").write_text("import subprocess\nsubprocess.run('ls ' + input(), shell=True)\n")
    command = [sys.executable, str(ROOT / "scripts" / "check_security.py"), "--bom", str(tmp_path / "bom.json")]
    clean = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "ok: bandit, 0 new" in clean.stdout, clean.stderr
    planted = subprocess.run([*command, "--rooms", str(tmp_path)], capture_output=True, text=True, check=False)
    assert planted.returncode == 1
    assert "B602" in planted.stderr

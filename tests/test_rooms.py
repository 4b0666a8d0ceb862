"""What keeps the rooms apart: import-linter's contracts fail on a planted circle, and the lengths on what has grown."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The three packages and pyproject.toml, to plant things in."""
    folder = tmp_path_factory.mktemp("rooms")
    for room in ("runtime", "train", "export"):
        shutil.copytree(ROOT / room, folder / room, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "scripts", "docs"):
        whole = ROOT / name
        (shutil.copytree if whole.is_dir() else shutil.copy)(whole, folder / name)
    return folder


def _lint(folder: Path) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join(str(folder / room) for room in ("runtime", "train", "export"))
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(no_cache=True))"]
    env = {**os.environ, "PYTHONPATH": paths}
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, env=env, timeout=120)


@pytest.mark.parametrize(
    ("module", "imported"),
    [
        ("runtime/foveal_runtime/study/labels.py", "foveal_runtime.study.record"),  # a circle inside a room
        ("runtime/foveal_runtime/study/study.py", "foveal_runtime.engine.engine"),  # an arrow that runs up
        pytest.param("export/foveal_export/judge.py", "foveal_export.search", marks=pytest.mark.slow),
        pytest.param("train/foveal_train/runs/run.py", "foveal_train.pipeline", marks=pytest.mark.slow),
    ],
)
def test_a_planted_circle_breaks_a_contract(copy: Path, module: str, imported: str) -> None:
    path = copy / module
    before = path.read_text()
    back = copy / imported.split(".")[0].removeprefix("foveal_") / (imported.replace(".", "/") + ".py")
    kept = back.read_text()
    own = module.removesuffix(".py").split("/", 1)[1].replace("/", ".")
    try:
        path.write_text(before + f"\nimport {imported}\n")
        back.write_text(kept + f"\nimport {own}\n")
        done = _lint(copy)
    finally:
        path.write_text(before)
        back.write_text(kept)
    assert done.returncode != 0
    assert "BROKEN" in done.stdout


def test_the_contracts_hold_as_they_are(copy: Path) -> None:
    done = _lint(copy)
    assert done.returncode == 0, done.stdout


def test_a_module_or_function_that_grows_is_named(copy: Path) -> None:
    path = copy / "runtime" / "foveal_runtime" / "study" / "exam.py"
    before = path.read_text()
    body = "".join(f"    x{i} = {i}\n" for i in range(61))
    path.write_text(before + "\n\ndef long() -> None:\n" + body + "\n" * 300)
    done = subprocess.run([sys.executable, "scripts/sizes.py"], capture_output=True, text=True, check=False, cwd=copy)
    path.write_text(before)
    assert done.returncode == 1
    assert "exam.py has" in done.stderr
    assert "exam.py:long has 62 lines" in done.stderr


def test_an_exception_that_grows_beyond_its_figure_is_named(copy: Path) -> None:
    path = copy / "runtime" / "foveal_runtime" / "cli" / "serve.py"
    before = path.read_text()
    head, body = before.split("    import os\n", 1)
    path.write_text(head + "    import os\n" + "\n" * 5 + body)
    done = subprocess.run([sys.executable, "scripts/sizes.py"], capture_output=True, text=True, check=False, cwd=copy)
    path.write_text(before)
    assert done.returncode == 1
    assert re.search(r"serve\.py:serve has \d+ lines, docs/decisions.md excepts it up to \d+", done.stderr)

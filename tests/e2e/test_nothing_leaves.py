"""No library that foveal loads keeps an identifier of this machine or an account of what was done, to be sent somewhere."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from bundles import write_bundle
from servers import RunningServer

_SESSION = (
    "import sys; from pathlib import Path; from foveal_runtime.bundle.bundle import Bundle; "
    "from foveal_runtime.engine.engine import Engine; Engine(Bundle.open(Path(sys.argv[1])))"
)
_OBSERVER = (
    "import sys, onnx; from pathlib import Path; from foveal_export.graphs import observers; "
    "observers.session(onnx.load(Path(sys.argv[1]) / 'structured.onnx'))"
)


def _environment(home: Path) -> dict[str, str]:
    silenced = ("TELEMETRY", "XDG_CACHE_HOME", "CI", "GITHUB_ACTIONS")  # the last two would silence them too
    return {k: v for k, v in os.environ.items() if not any(name in k for name in silenced)} | {"HOME": str(home)}


def _kept(home: Path) -> list[str]:
    return [str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()]


@pytest.mark.parametrize("code", [_SESSION, _OBSERVER], ids=["runtime", "export"])
def test_onnx_runtime_keeps_no_device_id_and_no_events(code: str, tmp_path: Path) -> None:
    bundle, home = write_bundle(tmp_path / "bundle"), tmp_path / "home"
    home.mkdir()
    subprocess.run([sys.executable, "-c", code, str(bundle)], env=_environment(home), check=True, timeout=120)
    assert _kept(home) == []


def test_a_server_and_its_workers_keep_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle, home = write_bundle(tmp_path / "bundle"), tmp_path / "home"
    home.mkdir()
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)
    with RunningServer(bundle, env={"HOME": str(home), "XDG_CACHE_HOME": str(home)}) as server:
        for pid in (server.process.pid, *server.workers()):
            values = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            maps = Path(f"/proc/{pid}/maps").read_text()
            assert "onnxruntime_pybind" not in maps or b"ORT_DISABLE_TELEMETRY=1" in values or pid == server.process.pid
    assert _kept(home) == []

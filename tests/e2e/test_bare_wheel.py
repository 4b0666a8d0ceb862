"""The wheel with `[cpu]` alone, in a bare environment: no torch, small, and it serves."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest
from bundles import photograph, write_bundle
from servers import RunningServer

ROOT = Path(__file__).resolve().parents[2]
RUNTIME_MB = 280
"""What `foveal[cpu]` and all it needs may take on disk (DESIGN, section 2)."""
SHARED = re.compile(r"((?:grpcio|protobuf|googleapis)[\w-]*)>=([\d.]+)")
"""Dependencies that gRPC's other programs in one environment have a say in: name and oldest version."""
FORBIDDEN = ("torch", "torchvision", "timm", "transformers", "onnx", "sklearn", "scipy")


def _run(*command: str | Path, **kwargs: object) -> str:
    environment = {**os.environ, "PYTHONPATH": ""}
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python of an environment that holds the built wheel with [cpu] and nothing else."""
    folder = tmp_path_factory.mktemp("bare")
    _run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder / "dist", ROOT)
    wheel = next((folder / "dist").glob("foveal-*.whl"))
    venv.create(folder / "venv")
    python = folder / "venv" / "bin" / "python"
    _pip(python, "install", "--quiet", "--no-compile", "-c", ROOT / "constraints.txt", f"{wheel}[cpu]")
    return python


def _pip(python: Path, *words: str | Path) -> str:
    """This environment's pip, at work in another."""
    return _run(sys.executable, "-m", "pip", "--python", python, *words)


def test_the_runtime_brings_no_training_library_and_stays_small(bare: Path) -> None:
    installed = {entry["name"].lower() for entry in json.loads(_pip(bare, "list", "--format", "json"))}
    assert not installed & set(FORBIDDEN)
    packages = next((bare.parents[1] / "lib").glob("python*/site-packages"))
    tools = ("pip", "setuptools")  # what a bare environment holds before anything is installed
    files = [f for f in packages.rglob("*") if f.is_file() and not f.relative_to(packages).parts[0].startswith(tools)]
    compiled = [f for f in files if f.suffix == ".pyc"]
    megabytes = sum(f.stat().st_size for f in set(files) - set(compiled)) / 1e6
    assert megabytes <= RUNTIME_MB, f"{megabytes:.0f} MB"


def test_every_runtime_module_imports_without_training_libraries(bare: Path) -> None:
    script = (
        "import importlib, pkgutil, sys, foveal_runtime\n"
        "optional = ('foveal_runtime.store', 'foveal_runtime.cli.store', 'foveal_runtime.photo.dicom', 'foveal_runtime.http')\n"
        "for module in pkgutil.walk_packages(foveal_runtime.__path__, 'foveal_runtime.'):\n"
        "    if not module.name.startswith(optional):\n"
        "        importlib.import_module(module.name)\n"
        f"assert not set({FORBIDDEN!r}) & set(sys.modules)\n"
    )
    _run(bare, "-c", script)


def test_a_command_of_another_room_names_its_extra(bare: Path) -> None:
    done = subprocess.run(
        [str(bare.parent / "foveal"), "train", "--data", "idrid:nowhere"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 2
    assert "foveal[train]" in done.stderr
    assert "Traceback" not in done.stderr


def test_http_asked_for_without_its_libraries_names_its_extra(bare: Path, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle")
    words = [str(bare.parent / "foveal"), "serve", str(bundle), "--http", "127.0.0.1:0"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert "foveal[http]" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_bare_environment_serves_a_bundle_and_grades_over_grpc(bare: Path, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle")
    (tmp_path / "eye.jpg").write_bytes(photograph())
    with RunningServer(bundle, python=bare) as server:
        answered = json.loads(
            _run(bare.parent / "foveal", "grade", tmp_path / "eye.jpg", "--address", server.address, "--json")
        )
    assert answered[0]["status"] == "OK"
    assert sum(answered[0]["icdr"]["probabilities"]) == pytest.approx(1.0, abs=1e-5)


def _oldest() -> list[str]:
    """gRPC's and protobuf's packages, each in the oldest version that pyproject.toml allows."""
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    return [f"{found[1]}=={found[2]}" for line in wanted if (found := SHARED.match(line))]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("packages", "protobuf"), [(_oldest(), "6.33.0"), (["protobuf>=7,<8"], "7.")], ids=["oldest allowed", "protobuf 7"]
)
def test_the_wheel_serves_and_grades_with_other_protobufs(
    packages: list[str], protobuf: str, bare: Path, tmp_path: Path
) -> None:
    others = tmp_path / "others"
    _pip(bare, "install", "--quiet", "--no-deps", "--target", others, *packages)
    beside = {"PYTHONPATH": str(others)}
    found = subprocess.check_output([bare, "-c", "import google.protobuf as p; print(p.__version__)"], env=beside, text=True)
    assert found.startswith(protobuf)
    bundle = write_bundle(tmp_path / "bundle")
    (tmp_path / "eye.jpg").write_bytes(photograph())
    with RunningServer(bundle, python=bare, env=beside) as server:
        command = [bare.parent / "foveal", "grade", tmp_path / "eye.jpg", "--address", server.address, "--json"]
        answered = json.loads(subprocess.check_output(command, env={**os.environ, **beside}, text=True, timeout=60))
    assert answered[0]["status"] == "OK"

"""The wheel and the source archive carry the whole contract, and the wheel's is enough for protoc."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from protoc import generate

from foveal_runtime.errors import InputError
from foveal_runtime.rpc.contract import RELEASED, find_contract

ROOT = Path(__file__).resolve().parents[2]


def _contract(folder: Path) -> dict[str, bytes]:
    """The contract's files by their path below `folder`."""
    files = [path for path in folder.rglob("*") if path.suffix == ".proto" or path.name == RELEASED]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the unpacked wheel and the unpacked source archive."""
    folder = tmp_path_factory.mktemp("built")
    command = [sys.executable, "-m", "build", "--wheel", "--sdist", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        wheel.extractall(folder / "wheel")
    with tarfile.open(next(folder.glob("*.tar.gz"))) as source:
        source.extractall(folder / "source", filter="data")
    return folder


def test_wheel_and_source_archive_carry_the_contract(unpacked: Path) -> None:
    ours = _contract(ROOT / "proto")
    assert {"foveal/v1/screening.proto", "google/rpc/status.proto", RELEASED} <= ours.keys()
    assert _contract(unpacked / "wheel" / "foveal_runtime" / "proto") == ours
    (source,) = (unpacked / "source").iterdir()
    assert _contract(source / "proto") == ours


def test_the_wheel_says_where_its_contract_lies_and_protoc_needs_nothing_else(unpacked: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "foveal_runtime.cli.main", "proto"]
    environment = {**os.environ, "PYTHONPATH": str(unpacked / "wheel")}
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, env=environment, cwd=tmp_path)
    folder = Path(done.stdout.strip())
    assert folder == unpacked / "wheel" / "foveal_runtime" / "proto"
    generate("python", folder, tmp_path / "out")
    assert (tmp_path / "out" / "foveal" / "v1" / "screening_pb2.py").is_file()


def test_a_checkout_says_proto_and_a_lost_contract_is_an_error(tmp_path: Path) -> None:
    assert find_contract() == ROOT / "proto"
    with pytest.raises(InputError, match="install foveal again"):
        find_contract((tmp_path,))

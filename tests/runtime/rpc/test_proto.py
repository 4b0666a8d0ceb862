"""The contract: formatted, linted, compatible with the last release, its stubs fresh and no newer than what is promised."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
from scripts_of import load_script

ROOT = Path(__file__).resolve().parents[3]
STUBS = ROOT / "runtime" / "foveal_runtime" / "_proto"
Version = tuple[int, ...]


@pytest.fixture
def script() -> ModuleType:
    """scripts/proto.py."""
    return load_script("proto")


def _version(text: str) -> Version:
    return tuple(int(part) for part in text.split("."))


def _allowed(package: str) -> tuple[Version, Version]:
    """The oldest version of a package that pyproject.toml allows, and the first that it does not; () for none."""
    for line in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]:
        found = re.fullmatch(rf"{package}>=([\d.]+)(?:,<([\d.]+))?", line)
        if found:
            return _version(found[1]), _version(found[2]) if found[2] else ()
    raise AssertionError(f"pyproject.toml does not ask for {package}")


def test_proto_is_clean_and_its_stubs_are_fresh() -> None:
    pytest.importorskip("grpc_tools")
    command = [sys.executable, str(ROOT / "scripts" / "proto.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_stubs_run_with_every_protobuf_that_is_allowed_and_6_33_is(script: ModuleType) -> None:
    oldest, refused = _allowed("protobuf")
    assert oldest <= (6, 33)
    stubs = sorted(STUBS.glob("*_pb2.py"))
    assert stubs
    for stub in stubs:
        found = script.GENCODE.search(stub.read_text())
        written = tuple(map(int, found.groups()))
        assert written <= (*oldest, 0), f"{stub.name} refuses a protobuf older than {written}"
        # protobuf's guarantee: generated code runs with its own major version and the next.
        assert refused == (written[0] + 2,)


def test_grpc_stubs_run_with_every_grpcio_that_is_allowed() -> None:
    oldest, _ = _allowed("grpcio")
    stubs = sorted(STUBS.glob("*_pb2_grpc.py"))
    assert stubs
    for stub in stubs:
        found = re.search(r"GRPC_GENERATED_VERSION = '([\d.]+)'", stub.read_text())
        assert found is not None
        assert _version(found[1]) <= oldest, stub.name


def test_a_protoc_that_is_newer_than_the_promise_is_refused_with_the_mend(script: ModuleType, tmp_path: Path) -> None:
    stub = (STUBS / "study_pb2.py").read_text()
    (tmp_path / "study_pb2.py").write_text(stub)
    script.refuse_too_new(tmp_path)
    newer = script.GENCODE.sub("ValidateProtobufRuntimeVersion(_runtime_version.Domain.PUBLIC, 7, 35, 1,", stub)
    (tmp_path / "study_pb2.py").write_text(newer)
    with pytest.raises(SystemExit, match=r"stubs for protobuf 7\.35\.1, newer than the 6\.33.*constraints\.txt"):
        script.refuse_too_new(tmp_path)


def test_a_copy_of_googles_files_that_was_edited_is_stale(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = Path(shutil.copytree(ROOT / "proto", tmp_path / "proto"))
    monkeypatch.setattr(script, "PROTO", copied)
    assert script.stale_shared() == []
    edited = copied / "google" / "rpc" / "status.proto"
    edited.write_text(edited.read_text().replace("string message = 2", "string message = 4"))
    assert script.stale_shared() == ["google/rpc/status.proto"]

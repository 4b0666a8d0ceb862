"""Run a protoc for tests: Python's own comes with grpcio-tools, the other languages' with Debian's protobuf-compiler."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def generate(language: str, proto: Path, out: Path, *flags: str) -> None:
    """Code of every .proto below `proto`, found through that folder alone; a test without the generator is skipped by name."""
    done = run_protoc(language, proto, out, *flags)
    assert done.returncode == 0, done.stderr


def run_protoc(language: str, proto: Path, out: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """The same, whatever it ends with."""
    out.mkdir(parents=True, exist_ok=True)
    # Go's library of google/rpc is the only home of its descriptors, as in Python.
    folder = proto / "foveal" if language == "go" else proto
    sources = sorted(str(path.relative_to(proto)) for path in folder.rglob("*.proto"))
    command = [*_protoc(language), f"-I{proto}", f"--{language}_out={out}", *flags, *sources]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def _protoc(language: str) -> list[str]:
    if language == "python":
        pytest.importorskip("grpc_tools")
        return [sys.executable, "-m", "grpc_tools.protoc"]
    needed = {"go": ("protoc", "protoc-gen-go")}.get(language, ("protoc",))
    for program in needed:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed, which generates {language}")
    return ["protoc"]

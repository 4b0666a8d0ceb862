"""The contract compiles by itself: each language's generator is given proto/ and nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from protoc import generate, run_protoc

ROOT = Path(__file__).resolve().parents[3]
EXPECTED = {
    "python": ("foveal/v1/screening_pb2.py", "google/rpc/status_pb2.py", "foveal/v1/screening.proto"),
    "java": ("dev/foveal/v1/GradeResult.java", "com/google/rpc/Status.java", "package dev.foveal.v1;"),
    "csharp": ("Foveal/V1/Screening.cs", "Google/Rpc/Status.cs", "namespace Foveal.V1 {"),
    "cpp": ("foveal/v1/screening.pb.h", "google/rpc/status.pb.h", "namespace v1 {"),
    "go": ("foveal.dev/proto/foveal/v1/screening.pb.go", None, "package fovealv1"),
}
"""By language: a file of foveal's, one of Google's, and the former's name for the package."""
FLAGS = {"csharp": ("--csharp_opt=base_namespace=",)}
"""Folders by namespace: without, C# would write two files of one name."""


@pytest.fixture
def proto(tmp_path: Path) -> Path:
    """A copy of proto/ where nothing else lies beside it."""
    return Path(shutil.copytree(ROOT / "proto", tmp_path / "proto"))


@pytest.mark.parametrize("language", EXPECTED)
def test_the_contract_generates_from_its_own_folder_alone(language: str, proto: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    generate(language, proto, out, *FLAGS.get(language, ()))
    ours, googles, package = EXPECTED[language]
    assert package in (out / ours).read_text()
    assert googles is None or (out / googles).is_file()


def test_every_message_of_java_has_a_file_of_its_own(proto: Path, tmp_path: Path) -> None:
    generate("java", proto, tmp_path / "out")
    made = {path.stem for path in (tmp_path / "out" / "dev" / "foveal" / "v1").iterdir()}
    assert {"ArchiveProto", "ModelProto", "ScreeningProto", "StudyProto"} <= made
    assert {"Study", "Graded", "Referral", "SearchRequest"} <= made


def test_without_googles_files_nothing_is_generated(proto: Path, tmp_path: Path) -> None:
    shutil.rmtree(proto / "google")
    done = run_protoc("python", proto, tmp_path / "out")
    assert done.returncode != 0
    assert "google/rpc/status.proto" in done.stderr

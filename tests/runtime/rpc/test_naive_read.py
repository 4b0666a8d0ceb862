"""An answer without a grade, read by a client that never asks which verdict there is: in JSON, and in Java.

tests/runtime/rpc/test_verdict.py does the same in Python, with a server's own answers.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from google.protobuf.message import Message
from google.rpc import status_pb2
from protoc import generate

from foveal_runtime._proto import screening_pb2 as pb

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = ROOT / "tests" / "java" / "NaiveRead.java"
JAR = Path("/usr/share/java/protobuf.jar")
"""Debian's libprotobuf-java."""
CLEARED = "REFERRAL_NOT_REFERABLE"
WITHOUT_A_GRADE: dict[str, Message] = {
    "failed.result": pb.GradeResult(id="a", error=status_pb2.Status(code=3, message="not an image")),
    "ungradable.result": pb.GradeResult(
        grade=pb.Grade(ungradable=pb.Ungradable(reason="QUALITY_STATUS_TOO_DARK"), quality=pb.ImageQuality())
    ),
    "abstained.result": pb.GradeResult(grade=pb.Grade(abstained=pb.Abstained(reason="UNLIKE"))),
    "unverified.result": pb.GradeResult(grade=pb.Grade(graded=pb.Graded(), unverified_heads=["icdr"])),
    "absent.result": pb.GradeResult(),
    "absent.exam": pb.GradeExamResponse(),
    "ungraded.exam": pb.GradeExamResponse(
        eyes=[pb.EyeGrade(eye="EYE_LEFT")], patient=pb.PatientGrade(), results=[pb.GradeResult()]
    ),
}
HEALTHY: dict[str, Message] = {
    "healthy.result": pb.GradeResult(
        grade=pb.Grade(graded=pb.Graded(icdr="ICDR_GRADE_NO_RETINOPATHY", referral=CLEARED))  # type: ignore[arg-type]
    ),
    "healthy.exam": pb.GradeExamResponse(
        patient=pb.PatientGrade(icdr="ICDR_GRADE_NO_RETINOPATHY", referral=CLEARED, complete=True)  # type: ignore[arg-type]
    ),
}


def _values(document: object) -> Iterator[tuple[str, Any]]:
    """Every key with a scalar, at any depth."""
    if isinstance(document, list):
        for each in document:
            yield from _values(each)
    elif isinstance(document, dict):
        for key, value in document.items():
            if isinstance(value, dict | list):
                yield from _values(value)
            else:
                yield key, value


@pytest.mark.parametrize("zeros", [False, True], ids=["as written", "with zeros"])
@pytest.mark.parametrize("name", WITHOUT_A_GRADE)
def test_json_without_a_grade_shows_no_grade_and_clears_nobody(name: str, zeros: bool) -> None:
    document = json_format.MessageToDict(WITHOUT_A_GRADE[name], always_print_fields_with_no_presence=zeros)
    found = [(key, value) for key, value in _values(document) if key in ("icdr", "sdrg", "referral")]
    assert all(str(value).endswith("_UNSPECIFIED") for _, value in found), found
    assert zeros or not found, "an unspecified grade is not written at all"
    assert "grade" not in dict(_values(document)), "a grade as a number of the scale"


@pytest.mark.parametrize("name", HEALTHY)
def test_json_writes_grade_0_and_not_referable_out(name: str) -> None:
    values = dict(_values(json_format.MessageToDict(HEALTHY[name])))
    assert (values["icdr"], values["referral"]) == ("ICDR_GRADE_NO_RETINOPATHY", CLEARED)


@pytest.mark.parametrize("name", list(WITHOUT_A_GRADE))
def test_json_with_enums_as_numbers_shows_no_number_of_a_grade(name: str) -> None:
    document = json_format.MessageToDict(
        WITHOUT_A_GRADE[name], always_print_fields_with_no_presence=True, use_integers_for_enums=True
    )
    values = [value for key, value in _values(document) if key in ("icdr", "referral")]
    assert set(values) <= {0}, "0 is unspecified, in every enum of the contract"


@pytest.fixture(scope="module")
def java_reads(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What tests/java/NaiveRead.java prints of each message: the enum's number, its name, the referral."""
    for program in ("javac", "java", "protoc"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    version = _output("protoc", "--version").split()[-1]
    if not JAR.is_file() or JAR.resolve().name != f"protobuf-{version}.jar":
        pytest.skip(f"{JAR} (libprotobuf-java) of protoc's version {version} is not installed")
    folder = tmp_path_factory.mktemp("java")
    generate("java", ROOT / "proto", folder / "source")
    # Compiles what the program needs of the generated files alone; one compiler tier, since it runs for seconds.
    fast = ("-J-XX:TieredStopAtLevel=1", "-J-XX:+UseSerialGC", "-proc:none", "-nowarn")
    _output("javac", *fast, "-cp", str(JAR), "-sourcepath", str(folder / "source"), "-d", str(folder), str(PROGRAM))
    messages = WITHOUT_A_GRADE | HEALTHY
    for name, message in messages.items():
        (folder / name).write_bytes(message.SerializeToString())
    printed = _output("java", "-cp", f"{folder}:{JAR}", PROGRAM.stem, *(str(folder / name) for name in messages))
    return {name: line.split() for name, line in zip(messages, printed.splitlines(), strict=True)}


def _output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", WITHOUT_A_GRADE)
def test_a_careless_java_client_reads_no_grade_and_clears_nobody(name: str, java_reads: dict[str, list[str]]) -> None:
    number, icdr, referral = java_reads[name]
    assert int(number) not in set(pb.IcdrGrade.values()) - {pb.ICDR_GRADE_UNSPECIFIED}
    assert (icdr, referral) == ("ICDR_GRADE_UNSPECIFIED", "REFERRAL_UNSPECIFIED")


@pytest.mark.parametrize("name", HEALTHY)
def test_a_java_client_reads_grade_0_as_no_number_that_could_be_missing(name: str, java_reads: dict[str, list[str]]) -> None:
    number, icdr, referral = java_reads[name]
    assert int(number) not in range(5)
    assert (icdr, referral) == ("ICDR_GRADE_NO_RETINOPATHY", CLEARED)

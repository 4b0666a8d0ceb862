"""`foveal exam`: per photograph, per eye and for the patient, so that nobody is taken for cleared who is not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bundles import photograph
from commands import foveal, one_line
from servers import RunningServer

from foveal_runtime._proto import screening_pb2
from foveal_runtime.cli.exam_text import exam_document, exam_text

LEFT, RIGHT = Path("l.jpg"), Path("r.jpg")
BOTH = [("left", LEFT), ("right", RIGHT)]
_QUALITY = {"status": "QUALITY_STATUS_GRADABLE"}
_BLURRED = {"reason": "QUALITY_STATUS_OUT_OF_FOCUS", "message": "out of focus"}


@pytest.fixture
def eyes(tmp_path: Path) -> tuple[str, str]:
    """Photographs of a left and a right eye."""
    for i, name in enumerate(("left.jpg", "right.jpg")):
        (tmp_path / name).write_bytes(photograph(i))
    return str(tmp_path / "left.jpg"), str(tmp_path / "right.jpg")


def answer(*, right: dict[str, object] | None, results: list[dict[str, object]], **patient: object) -> object:
    """A server's answer for two photographs, the left eye's graded 0."""
    left = {
        "eye": "EYE_LEFT",
        "gradable": True,
        "icdr": "ICDR_GRADE_NO_RETINOPATHY",
        "referral": "REFERRAL_NOT_REFERABLE",
        "referable_probability": 0.1,
        "deciding_result": 0,
    }
    eyes = [left] if right is None else [{"eye": "EYE_RIGHT", **right}, left]
    return screening_pb2.GradeExamResponse(id="v", results=results, eyes=eyes, patient=patient)


def test_an_exam_of_two_eyes_says_what_the_server_decided(server: RunningServer, eyes: tuple[str, str]) -> None:
    done = foveal("exam", *eyes, "--id", "visit-7", "--json", "--address", server.address)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["id"] == "visit-7"
    assert [(row["eye"], row["file"]) for row in document["photographs"]] == [("left", eyes[0]), ("right", eyes[1])]
    assert {eye["eye"]: eye["deciding_file"] for eye in document["eyes"]} == {"left": eyes[0], "right": eyes[1]}
    worst = max(eye["icdr"] for eye in document["eyes"])
    assert document["patient"]["icdr"] == worst
    assert document["patient"]["complete"] is True
    assert document["patient"]["cleared"] is (document["patient"]["referral"] == "not_referable")
    text = foveal("exam", *eyes, "--address", server.address).stdout.splitlines()
    assert text[0].startswith(f"left {eyes[0]}: ICDR ")
    assert text[1].startswith(f"right {eyes[1]}: ICDR ")
    assert text[-1] == f"patient: {document['patient']['says']}"


def test_an_eye_may_have_several_photographs_and_the_other_none(server: RunningServer, eyes: tuple[str, str]) -> None:
    done = foveal("exam", "--left", eyes[0], "--left", eyes[1], "--json", "--address", server.address)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert [row["eye"] for row in document["photographs"]] == ["left", "left"]
    assert [eye["eye"] for eye in document["eyes"]] == ["left"]
    assert document["patient"]["cleared"] is False
    assert document["patient"]["referral"] in ("refer", "undecided")
    assert "no photograph of the right eye was given" in document["patient"]["says"]


def test_an_operating_point_decides_an_exam(server: RunningServer, eyes: tuple[str, str]) -> None:
    done = foveal("exam", *eyes, "--operating-point", "nosuch", "--address", server.address)
    assert done.returncode == 2
    assert "nosuch" in one_line(done.stderr)


def test_a_photograph_that_the_server_refuses_is_named_and_makes_the_exit_code_2(
    server: RunningServer, eyes: tuple[str, str]
) -> None:
    Path(eyes[1]).write_text("no photograph")
    done = foveal("exam", *eyes, "--address", server.address)
    assert done.returncode == 2
    assert f"right {eyes[1]}: FAILED: " in done.stdout
    assert "right eye: NOT GRADED" in done.stdout
    assert "no photograph of the right eye could be graded" in done.stdout.splitlines()[-1]
    assert eyes[1] in one_line(done.stderr)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "an exam needs photographs"),
        (("l.jpg",), "does not say which eye"),
        (("l.jpg", "r.jpg"), "no such file"),
        (("--right", "absent.jpg"), "absent.jpg: there is no such file"),
        (("l.jpg", "r.jpg", "--eye", "left"), "--eye"),
        (("l.jpg", "r.jpg", "x.jpg"), "x.jpg"),
    ],
)
def test_a_mistake_is_one_line_before_anything_is_sent(arguments: tuple[str, ...], words: str) -> None:
    done = foveal("exam", *arguments, "--address", "127.0.0.1:1")
    assert done.returncode == 2
    assert words in one_line(done.stderr)


def test_one_photograph_for_both_eyes_is_refused(eyes: tuple[str, str]) -> None:
    """It would clear a patient of whom one eye was seen."""
    Path(eyes[1]).write_bytes(Path(eyes[0]).read_bytes())
    done = foveal("exam", *eyes, "--address", "127.0.0.1:1")
    assert done.returncode == 2
    assert "are the same photograph" in one_line(done.stderr)


def _graded() -> dict[str, object]:
    return {"grade": {"quality": _QUALITY, "graded": {"heads": [], "icdr": "ICDR_GRADE_NO_RETINOPATHY"}}}


def _ungradable() -> dict[str, object]:
    return {"grade": {"ungradable": _BLURRED}}


def test_an_undecided_patient_is_not_cleared_and_it_is_said_why() -> None:
    response = answer(
        right={"gradable": False},
        results=[_graded(), _ungradable()],
        icdr="ICDR_GRADE_NO_RETINOPATHY",
        referral="REFERRAL_UNDECIDED",
        deciding_eye="EYE_LEFT",
    )
    text, document = exam_text(BOTH, response), exam_document(BOTH, response)
    assert "patient: UNDECIDED, not cleared: " in text
    assert "no photograph of the right eye could be graded (take it again)" in text.splitlines()[-1]
    assert "right eye: NOT GRADED" in text
    assert "left eye: ICDR 0, not referable (p 0.100); decided by l.jpg" in text
    assert document["patient"]["cleared"] is False
    assert (document["patient"]["referral"], document["patient"]["icdr"]) == ("undecided", 0)
    right = next(eye for eye in document["eyes"] if eye["eye"] == "right")
    assert (right["icdr"], right["referral"], right["probability"], right["deciding_file"]) == (None, None, None, None)


def test_a_patient_without_a_gradable_eye_has_no_verdict() -> None:
    response = screening_pb2.GradeExamResponse(
        results=[_ungradable(), _ungradable()],
        eyes=[{"eye": "EYE_RIGHT", "gradable": False}, {"eye": "EYE_LEFT", "gradable": False}],
        patient={},
    )
    document = exam_document(BOTH, response)
    assert "patient: NO VERDICT, not cleared: no photograph of the right eye could be graded" in exam_text(BOTH, response)
    assert (document["patient"]["icdr"], document["patient"]["referral"]) == (None, None)
    assert document["patient"]["deciding_eye"] is None


def test_an_answer_that_says_not_referable_of_half_a_visit_clears_nobody() -> None:
    """No server of ours says so; an older or another one may."""
    response = answer(
        right=None,
        results=[_graded(), _graded()],
        icdr="ICDR_GRADE_NO_RETINOPATHY",
        referral="REFERRAL_NOT_REFERABLE",
        deciding_eye="EYE_LEFT",
    )
    assert "patient: NO VERDICT, not cleared" in exam_text(BOTH, response)
    assert exam_document(BOTH, response)["patient"]["cleared"] is False


def test_a_cleared_patient_is_said_to_be_so_and_which_photographs_failed() -> None:
    response = answer(
        right={"gradable": True, "icdr": "ICDR_GRADE_MILD", "referral": "REFERRAL_NOT_REFERABLE", "deciding_result": 1},
        results=[_graded(), _graded(), {"error": {"code": 3, "message": "cut"}}],
        icdr="ICDR_GRADE_MILD",
        referral="REFERRAL_NOT_REFERABLE",
        deciding_eye="EYE_RIGHT",
        complete=True,
    )
    said = exam_document([*BOTH, ("left", Path("cut.jpg"))], response)["patient"]["says"]
    assert said.startswith("not referable: nothing referable was found in either eye (worst ICDR 1, right eye)")
    assert "1 of 3 photographs failed" in said
    assert "right eye: ICDR 1, not referable; decided by r.jpg" in exam_text([*BOTH, ("left", Path("cut.jpg"))], response)

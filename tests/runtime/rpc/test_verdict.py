"""What is said of a study and of a patient: grades, the referral, and that nothing can be misread as healthy."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundles import add_occlusion, add_trust, open_engine, photograph, write_bundle
from dicoms import dicom
from google.protobuf import json_format
from PIL import Image
from servers import RunningServer

from foveal_runtime._proto import screening_pb2, study_pb2
from foveal_runtime.bundle.bundle import Bundle
from foveal_runtime.cli.grade_text import grade_line
from foveal_runtime.client import Client
from foveal_runtime.engine.grading import grade as calibrated
from foveal_runtime.errors import (
    CheckFailed,
    InputError,
    UntrainedError,
)
from foveal_runtime.rpc.grade_messages import exam_to, icdr_from
from foveal_runtime.study.exam import Finding, judge
from foveal_runtime.study.labels import ICDR
from foveal_runtime.study.study import Eye, Study


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[Client]:
    with server.client() as opened:
        yield opened


def test_grades_are_those_of_the_engine_calibrated(client: Client, bundle_path: Path) -> None:
    engine = open_engine(bundle_path)
    study = Study(id="mine", image=photograph(3))
    expected = calibrated(engine.run([engine.prepare(study)])[0], engine.manifest)
    response = client.grade([study])
    (result,) = response.results
    assert result.id == "mine"
    graded = result.grade.graded
    assert icdr_from(graded.icdr) == expected.schemes[ICDR].grade
    icdr = next(head for head in graded.heads if head.head == "icdr")
    assert icdr.likeliest == expected.schemes[ICDR].name
    found = [each.probability for each in icdr.classes]
    np.testing.assert_allclose(found, expected.schemes[ICDR].probabilities, atol=1e-5)
    assert expected.referable is not None
    assert graded.referral_basis.probability == pytest.approx(expected.referable.probability, abs=1e-5)
    assert graded.referral_basis.operating_point.name == "screening"
    assert graded.referral_basis.operating_point.threshold == 0.3
    assert (graded.referral == screening_pb2.REFERRAL_REFER) == expected.referable.decision
    assert response.model.space_id == engine.manifest.space_id
    assert response.model.bundle_sha256 == engine.bundle.sha256


def test_an_ungradable_photograph_has_a_typed_status_and_no_grade(client: Client) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (600, 600), (120, 120, 120)).save(buffer, "JPEG")
    (result,) = client.grade([Study(image=buffer.getvalue(), note="macula")]).results
    assert result.grade.quality.status == screening_pb2.QUALITY_STATUS_NOT_FUNDUS
    assert result.grade.quality.message
    assert result.grade.WhichOneof("verdict") == "ungradable"
    assert result.grade.ungradable.reason == screening_pb2.QUALITY_STATUS_NOT_FUNDUS


def _naive(grade: screening_pb2.Grade) -> dict[str, Any]:
    """What a careless client reads, without asking which verdict there is."""
    document = json_format.MessageToDict(grade, always_print_fields_with_no_presence=True)
    graded = document.get("graded", {})
    by_name = {"icdr": graded.get("icdr"), "referral": graded.get("referral")}
    return {**by_name, "number": grade.graded.icdr, "refer": grade.graded.referral}


def test_a_careless_reader_never_finds_grade_0_or_not_referable_where_there_is_no_answer(client: Client) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (600, 600), (120, 120, 120)).save(buffer, "JPEG")
    ungradable, failed = client.grade([Study(image=buffer.getvalue()), Study(image=b"junk")]).results
    for missing in (ungradable.grade, failed.grade, screening_pb2.Grade()):
        read = _naive(missing)
        assert (read["icdr"], read["referral"]) == (None, None)
        assert screening_pb2.IcdrGrade.Name(read["number"]) == "ICDR_GRADE_UNSPECIFIED"
        assert screening_pb2.Referral.Name(read["refer"]) == "REFERRAL_UNSPECIFIED"
    (graded,) = client.grade([Study(image=photograph())]).results
    read = _naive(graded.grade)
    assert read["number"] not in range(5), "no number of the contract is a number of the scale"
    assert read["icdr"] in list(screening_pb2.IcdrGrade.keys())[1:]
    empty = screening_pb2.GradeExamResponse()
    assert empty.patient.icdr == screening_pb2.ICDR_GRADE_UNSPECIFIED
    assert empty.patient.referral == screening_pb2.REFERRAL_UNSPECIFIED


def _two_points(bundle: Path) -> Path:
    manifest = json.loads((bundle / "manifest.json").read_text())
    points = manifest["calibration"]["image"]["operating_points"]
    points.append({**points[0], "name": "strict", "threshold": 1.0})
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    return bundle


def test_a_caller_or_the_server_chooses_the_operating_point_and_the_answer_names_it(tmp_path: Path) -> None:
    bundle = _two_points(write_bundle(tmp_path / "b"))
    studies = [Study(image=photograph(i)) for i in range(20)]
    with RunningServer(bundle) as running, running.client() as client:
        assert [p.name for p in client.model().operating_points["image"].points] == ["screening", "strict"]
        for name, used in (("", "screening"), ("strict", "strict")):
            for result in client.grade(studies, name).results:
                graded = result.grade.graded
                assert graded.referral_basis.operating_point.name == used
                by_grade = (icdr_from(graded.icdr) or 0) >= 2
                if by_grade:
                    assert graded.referral == screening_pb2.REFERRAL_REFER
                    assert graded.referral_basis.by_grade_alone == (
                        graded.referral_basis.probability < graded.referral_basis.operating_point.threshold
                    )
        with pytest.raises(InputError, match=r"operating_point: no operating point 'lax'.*screening, strict"):
            client.grade(studies[:1], "lax")
        note = client.grade([Study(note="macula")], "strict").results[0].grade.graded
        assert note.referral_basis.operating_point.name == "default", "a subset without that point says which it took"
    with RunningServer(bundle, "--operating-point", "strict") as running, running.client() as client:
        (result,) = client.grade(studies[:1]).results
        assert result.grade.graded.referral_basis.operating_point.name == "strict"
    with pytest.raises(CheckFailed, match="no operating point 'lax'"), RunningServer(bundle, "--operating-point", "lax"):
        pass


def test_the_worst_gradable_eye_decides_an_exam(client: Client) -> None:
    def photo(seed: int, eye: str) -> screening_pb2.ExamStudy:
        return screening_pb2.ExamStudy(
            eye=eye, study=study_pb2.Study(id=f"{eye}{seed}", image=study_pb2.Image(encoded=photograph(seed)))
        )

    request = screening_pb2.GradeExamRequest(
        id="visit", studies=[photo(i, "EYE_RIGHT" if i < 4 else "EYE_LEFT") for i in range(8)]
    )
    request.studies.add(eye="EYE_LEFT", study=study_pb2.Study(image=study_pb2.Image(encoded=b"junk")))
    response = client.grade_exam(request)
    found = [icdr_from(r.grade.graded.icdr) for r in response.results]
    grades = [-1 if grade is None else grade for grade in found]
    assert grades[-1] == -1
    assert response.id == "visit"
    assert [e.eye for e in response.eyes] == [study_pb2.EYE_RIGHT, study_pb2.EYE_LEFT]
    assert icdr_from(response.eyes[0].icdr) == max(grades[:4])
    assert icdr_from(response.eyes[1].icdr) == max(grades[4:])
    assert grades[response.eyes[1].deciding_result] == max(grades[4:])
    assert icdr_from(response.patient.icdr) == max(grades)
    assert response.patient.complete
    for eye, recorded, words in (("EYE_RIGHT", "EYE_LEFT", "different eyes"), (77, "EYE_LEFT", "does not know")):
        odd = screening_pb2.GradeExamRequest()
        odd.studies.add(eye=eye, study=photo(1, "EYE_LEFT").study).study.record.eye = recorded
        (refused,) = client.grade_exam(odd).results
        assert words in refused.error.message
    nameless = screening_pb2.GradeExamRequest(studies=[screening_pb2.ExamStudy(study=photo(1, "EYE_LEFT").study)])
    answer = client.grade_exam(nameless)
    assert "eye" in answer.results[0].error.message
    assert not answer.patient.complete
    assert answer.patient.referral == screening_pb2.REFERRAL_UNSPECIFIED


def test_the_eye_of_an_exam_reaches_the_model_and_may_not_contradict_the_file(client: Client) -> None:
    def ask(study: study_pb2.Study) -> Any:
        shown = screening_pb2.ExamStudy(eye=study_pb2.EYE_LEFT, study=study)
        return client.grade_exam(screening_pb2.GradeExamRequest(studies=[shown])).results[0]

    image = study_pb2.Image(encoded=photograph())
    with_record = ask(study_pb2.Study(image=image, record=study_pb2.Record(age_years=60)))
    assert "eye" not in with_record.grade.imputed_fields
    alone = ask(study_pb2.Study(image=image))
    assert list(alone.grade.modalities) == [study_pb2.MODALITY_IMAGE], "an eye alone makes no record"
    scan = dicom(np.asarray(Image.open(io.BytesIO(photograph())).convert("RGB")), ImageLaterality="R")
    assert "contradicts the DICOM" in ask(study_pb2.Study(image=study_pb2.Image(encoded=scan))).error.message


def test_what_the_caller_left_out_and_the_file_or_the_exam_told_is_named(client: Client) -> None:
    pixels = np.asarray(Image.open(io.BytesIO(photograph())).convert("RGB"))
    scan = dicom(pixels, ImageLaterality="R", PatientAge="061Y", PatientSex="F")
    image = study_pb2.Image(encoded=scan)
    known = study_pb2.Study(image=image, record=study_pb2.Record(diabetes_years=4, sex=study_pb2.SEX_FEMALE))
    (graded,) = client.grade_exam(screening_pb2.GradeExamRequest(studies=[screening_pb2.ExamStudy(study=known)])).results
    header = screening_pb2.FACT_SOURCE_DICOM_HEADER
    assert {each.field: each.source for each in graded.grade.filled_fields} == {
        "record.age_years": header,
        "record.eye": header,
    }
    plain = study_pb2.Study(image=study_pb2.Image(encoded=photograph()), record=study_pb2.Record(age_years=61))
    exam = screening_pb2.GradeExamRequest(studies=[screening_pb2.ExamStudy(eye=study_pb2.EYE_LEFT, study=plain)])
    (told,) = client.grade_exam(exam).results
    assert [(each.field, each.source) for each in told.grade.filled_fields] == [("record.eye", screening_pb2.FACT_SOURCE_EXAM)]
    plain.record.eye = study_pb2.EYE_LEFT
    exam.studies[0].study.CopyFrom(plain)
    assert not client.grade_exam(exam).results[0].grade.filled_fields


def test_an_eye_alone_refers_or_leaves_the_patient_undecided_and_never_clears(client: Client) -> None:
    said = set()
    for seed in range(12):
        study = study_pb2.Study(image=study_pb2.Image(encoded=photograph(seed)))
        shown = screening_pb2.ExamStudy(eye=study_pb2.EYE_LEFT, study=study)
        answer = client.grade_exam(screening_pb2.GradeExamRequest(studies=[shown]))
        (eye,) = answer.eyes
        said.add((eye.referral, answer.patient.referral))
    assert said <= {
        (screening_pb2.REFERRAL_REFER, screening_pb2.REFERRAL_REFER),
        (screening_pb2.REFERRAL_NOT_REFERABLE, screening_pb2.REFERRAL_UNDECIDED),
    }


@pytest.mark.parametrize(
    ("findings", "referral"),
    [
        ({Eye.RIGHT: 0, Eye.LEFT: 1}, "REFERRAL_NOT_REFERABLE"),
        ({Eye.RIGHT: 0, Eye.LEFT: None}, "REFERRAL_UNDECIDED"),
        ({Eye.RIGHT: 0}, "REFERRAL_UNDECIDED"),
        ({Eye.RIGHT: 3, Eye.LEFT: None}, "REFERRAL_REFER"),
        ({Eye.RIGHT: None, Eye.LEFT: None}, "REFERRAL_UNSPECIFIED"),
    ],
)
def test_only_two_graded_eyes_can_clear_a_patient(findings: dict[Eye, int | None], referral: str, bundle_path: Path) -> None:
    def found(grade: int | None) -> Finding | None:
        return None if grade is None else Finding(icdr=grade, referable=grade >= 2, probability=grade / 4)

    verdict = judge([(eye, found(grade)) for eye, grade in findings.items()])
    message = exam_to("visit", [], verdict, Bundle.open(bundle_path))
    assert screening_pb2.Referral.Name(message.patient.referral) == referral


def test_unlike_and_undecided_photographs_are_withheld_where_the_server_is_told_to(tmp_path: Path) -> None:
    add_trust(write_bundle(tmp_path / "b"), limit=1e-6)
    with RunningServer(tmp_path / "b") as server, server.client() as told:
        (result,) = told.grade([Study(image=photograph(3))]).results
        assert result.grade.WhichOneof("verdict") == "graded", "without a policy the grade stands, with a warning beside it"
        assert result.grade.novelty.unlike_training
        assert len(result.grade.graded.icdr_set.grades) == 5
        assert result.grade.graded.icdr_set.coverage == 0.9
        assert "unlike the photographs" in grade_line(Path("a.jpg"), result.grade)
    with RunningServer(tmp_path / "b", "--abstain", "out-of-distribution") as server, server.client() as told:
        (result,) = told.grade([Study(image=photograph(3))]).results
        assert result.grade.abstained.reason == "OUT_OF_DISTRIBUTION"
        assert (result.grade.graded.icdr, result.grade.graded.referral) == (0, 0)
        assert result.grade.novelty.unlike_training
        visit = screening_pb2.GradeExamRequest(
            studies=[
                screening_pb2.ExamStudy(
                    eye=study_pb2.EYE_LEFT, study=study_pb2.Study(image=study_pb2.Image(encoded=photograph(3)))
                ),
                screening_pb2.ExamStudy(
                    eye=study_pb2.EYE_RIGHT, study=study_pb2.Study(image=study_pb2.Image(encoded=photograph(4)))
                ),
            ]
        )
        exam = told.grade_exam(visit)
        assert not any(eye.gradable for eye in exam.eyes)
        assert exam.patient.referral == screening_pb2.REFERRAL_UNSPECIFIED


def test_evidence_maps_come_with_grades_where_they_are_asked_for_and_proven(tmp_path: Path, client: Client) -> None:
    with pytest.raises(UntrainedError, match="never checked"):
        client.grade([Study(image=photograph(1))], evidence_map=True)
    path = add_occlusion(write_bundle(tmp_path / "b"))
    grey = io.BytesIO()
    Image.new("RGB", (600, 600), (120, 120, 120)).save(grey, "JPEG")
    studies = [Study(image=photograph(1)), Study(note="macula"), Study(image=grey.getvalue()), Study(image=b"no picture")]
    with RunningServer(path) as server, server.client() as opened:
        plain, asked = opened.grade(studies), opened.grade(studies, evidence_map=True)
        exam = screening_pb2.GradeExamRequest(evidence_map=True)
        exam.studies.add(eye=study_pb2.EYE_LEFT).study.image.encoded = photograph(1)
        (of_exam,) = opened.grade_exam(exam).results
    assert not any(result.grade.HasField("evidence_map") for result in plain.results)
    assert [result.grade.HasField("evidence_map") for result in asked.results] == [True, False, False, False]
    assert asked.results[3].HasField("error")
    found = asked.results[0].grade.evidence_map
    assert len(found.cells) == found.rows * found.columns
    engine = open_engine(path)
    expected = engine.evidence_map(engine.prepare(studies[0]))
    np.testing.assert_allclose(found.cells, expected.cells_RR.ravel(), atol=1e-5)
    assert (found.frame.left, found.frame.bottom) == pytest.approx((expected.frame[0], expected.frame[3]))
    assert list(of_exam.grade.evidence_map.cells) == pytest.approx(list(found.cells), abs=1e-5)
    for one, other in zip(plain.results, asked.results, strict=True):
        assert one.grade.graded == other.grade.graded

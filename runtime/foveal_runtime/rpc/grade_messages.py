"""Grades, referrals and exams as protobuf. No policy, no arithmetic, no I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from foveal_runtime._proto import screening_pb2, study_pb2
from foveal_runtime.engine.answers import Ask, check_evidence
from foveal_runtime.errors import FovealError, StudyError
from foveal_runtime.rpc.messages import (
    EYE_OF,
    EYE_TO,
    MODALITY_TO,
    embedding_to,
    filled_to,
    known,
    model_ref_to,
    operating_point_to,
    quality_to,
    timing_to,
)
from foveal_runtime.rpc.status import status_of
from foveal_runtime.study.labels import ICDR, SDRG
from foveal_runtime.study.study import Eye, Modality

if TYPE_CHECKING:
    from foveal_runtime.bundle.bundle import Bundle
    from foveal_runtime.bundle.manifest import Manifest
    from foveal_runtime.engine.answers import EvidenceMap
    from foveal_runtime.engine.grading import Abstention, Grades
    from foveal_runtime.serving.request import Answer
    from foveal_runtime.study.exam import ExamVerdict, Finding

ICDR_TO: dict[int, Any] = {
    0: screening_pb2.ICDR_GRADE_NO_RETINOPATHY,
    1: screening_pb2.ICDR_GRADE_MILD,
    2: screening_pb2.ICDR_GRADE_MODERATE,
    3: screening_pb2.ICDR_GRADE_SEVERE,
    4: screening_pb2.ICDR_GRADE_PROLIFERATIVE,
}
ICDR_OF: dict[Any, int] = {number: grade for grade, number in ICDR_TO.items()}
REFERRAL_TO: dict[bool | None, Any] = {
    None: screening_pb2.REFERRAL_UNSPECIFIED,
    True: screening_pb2.REFERRAL_REFER,
    False: screening_pb2.REFERRAL_NOT_REFERABLE,
}
"""Of a decision that was taken by a reader or by the model; of a patient it may be undecided as well."""
REFERRAL_OF: dict[Any, bool] = {number: refer for refer, number in REFERRAL_TO.items() if refer is not None}
SDRG_TO: dict[int, Any] = {grade: screening_pb2.SdrgGrade.Value(f"SDRG_GRADE_R{grade}") for grade in range(5)}


def grading_ask(request: Any, manifest: Manifest) -> Ask:
    """What a request for grades asks of each study.

    Raises:
        UntrainedError: it asks for evidence maps, which this bundle has none of.
    """
    if request.evidence_map:
        check_evidence(manifest)
    return Ask(evidence=request.evidence_map)


def grade_to(answer: Answer, grades: Grades, abstains: Abstention | None = None) -> screening_pb2.Grade:
    """The message for a graded study; one whose photograph can't be graded carries no grade, nor one that is withheld."""
    outcome = answer.outcome
    message = screening_pb2.Grade(
        quality=quality_to(outcome.quality),
        modalities=[MODALITY_TO[m] for m in Modality if m in outcome.subset],
        imputed_fields=outcome.imputed,
        filled_fields=filled_to(outcome.from_header, screening_pb2.FACT_SOURCE_DICOM_HEADER),
        truncated_fields=["note"] if outcome.truncated else [],
        timing=timing_to(answer),
        unverified_heads=list(grades.unverified),
    )
    if outcome.novelty is not None:
        message.novelty.CopyFrom(screening_pb2.Novelty(distance=outcome.novelty, unlike_training=outcome.novelty > 1))
    if not outcome.gradable:
        message.ungradable.CopyFrom(screening_pb2.Ungradable(reason=message.quality.status, message=message.quality.message))
    elif abstains is not None:
        message.abstained.CopyFrom(screening_pb2.Abstained(reason=abstains.reason.name, message=abstains.message))
    else:
        message.graded.CopyFrom(_graded_to(grades))
        if outcome.evidence is not None:
            message.evidence_map.CopyFrom(_evidence_to(outcome.evidence))
    return message


def _evidence_to(found: EvidenceMap) -> screening_pb2.EvidenceMap:
    left, top, right, bottom = found.frame
    return screening_pb2.EvidenceMap(
        rows=found.cells_RR.shape[0],
        columns=found.cells_RR.shape[1],
        cells=found.cells_RR.ravel().tolist(),
        frame=screening_pb2.Frame(left=left, top=top, right=right, bottom=bottom),
        largest_log_odds=found.log_odds,
    )


def _graded_to(grades: Grades) -> screening_pb2.Graded:
    message = screening_pb2.Graded(
        heads=[
            screening_pb2.HeadResult(
                head=head,
                classes=[
                    screening_pb2.ClassProbability(name=name, probability=probability)
                    for name, probability in zip(grade.names, grade.probabilities, strict=True)
                ],
                likeliest=grade.name,
            )
            for head, grade in grades.schemes.items()
        ]
    )
    if ICDR in grades.schemes:
        message.icdr = ICDR_TO[grades.schemes[ICDR].grade]
    if SDRG in grades.schemes:
        message.sdrg = SDRG_TO[grades.schemes[SDRG].grade]
    if grades.referable is not None:
        message.referral = referral_to(grades.referable.decision)
        message.referral_basis.CopyFrom(
            screening_pb2.ReferralBasis(
                probability=grades.referable.probability,
                operating_point=operating_point_to(grades.referable.operating_point),
                by_grade_alone=grades.referable.by_grade_alone,
            )
        )
    if grades.icdr_set is not None:
        found = grades.icdr_set
        message.icdr_set.CopyFrom(
            screening_pb2.GradeSet(grades=[ICDR_TO[grade] for grade in found.grades], coverage=found.coverage)
        )
    return message


def referral_to(decision: bool | None) -> Any:
    """The number for a referral decision; None is none."""
    if decision is None:
        return screening_pb2.REFERRAL_UNSPECIFIED
    return screening_pb2.REFERRAL_REFER if decision else screening_pb2.REFERRAL_NOT_REFERABLE


def icdr_from(number: int) -> int | None:
    """The grade of the ICDR scale, 0 to 4, that a number of the contract stands for; None for none."""
    return ICDR_OF.get(number)


def study_with_eye(item: screening_pb2.ExamStudy) -> study_pb2.Study:
    """The study of an exam with the eye that stands beside it, where its record has room for it: the model reads it there.

    A record that says nothing stays so: with an eye alone it would become a modality of its own.
    """
    study = item.study
    if study.record.ByteSize() == 0 or study.record.eye or item.eye not in (study_pb2.EYE_RIGHT, study_pb2.EYE_LEFT):
        return study
    whole = study_pb2.Study()
    whole.CopyFrom(study)
    whole.record.eye = item.eye
    return whole


def exam_to(exam_id: str, results: list[Any], verdict: ExamVerdict, bundle: Bundle) -> screening_pb2.GradeExamResponse:
    """The message for a visit."""
    worst = verdict.worst.finding if verdict.worst is not None else None
    return screening_pb2.GradeExamResponse(
        id=exam_id,
        results=results,
        eyes=[
            screening_pb2.EyeGrade(
                eye=EYE_TO[eye.eye],
                gradable=eye.finding is not None,
                icdr=_icdr_to(eye.finding),
                referral=referral_to(None if eye.finding is None else eye.finding.referable),
                referable_probability=eye.finding.probability if eye.finding is not None else None,
                deciding_result=eye.deciding,
            )
            for eye in verdict.eyes
        ],
        patient=screening_pb2.PatientGrade(
            icdr=_icdr_to(worst),
            referral=screening_pb2.REFERRAL_UNDECIDED if verdict.undecided else referral_to(verdict.referable),
            deciding_eye=EYE_TO[verdict.worst.eye] if verdict.worst is not None else None,
            complete=verdict.complete,
        ),
        model=model_ref_to(bundle),
    )


def _icdr_to(finding: Finding | None) -> Any:
    return screening_pb2.ICDR_GRADE_UNSPECIFIED if finding is None else ICDR_TO[finding.icdr]


def eye_of(item: screening_pb2.ExamStudy, answer: Answer | FovealError) -> Eye | None:
    """Which eye a photograph of an exam shows; None for one that failed and whose eye nobody told.

    Raises:
        StudyError: nobody told, two places contradict each other, or a value that this server does not know.
    """
    told = known(EYE_OF, item.eye, "eye")
    recorded = EYE_OF.get(item.study.record.eye)
    if told is not None and recorded is not None and told is not recorded:
        raise StudyError("eye and study.record.eye name different eyes; mend one of them", field="eye")
    eye = told or recorded
    if isinstance(answer, FovealError):
        return eye
    seen = answer.outcome.eye
    if eye is None and seen is None:
        raise StudyError("a photograph of an exam needs its eye; set it", field="eye")
    if eye is not None and seen is not None and eye is not seen:
        raise StudyError("eye contradicts the DICOM file's header; mend one of them", field="eye")
    return eye or seen


def embed_result(study_id: str, answer: Answer | FovealError, path: str) -> Any:
    """The result message of one embedded study."""
    if isinstance(answer, FovealError):
        return screening_pb2.EmbedResult(id=study_id, error=status_of(answer, path=path))
    return screening_pb2.EmbedResult(id=study_id, embedding=embedding_to(answer))

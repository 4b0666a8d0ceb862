"""Protobuf messages to domain types and back. No policy, no arithmetic, no I/O."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from foveal_runtime import __version__
from foveal_runtime._proto import model_pb2, screening_pb2, study_pb2
from foveal_runtime.bundle.honesty import warnings_of
from foveal_runtime.bundle.manifest import Evidence, Precision
from foveal_runtime.engine.answers import VectorKind
from foveal_runtime.errors import StudyError
from foveal_runtime.photo.imaging import Crop
from foveal_runtime.photo.quality import Quality
from foveal_runtime.photo.raw import pack_raw
from foveal_runtime.study.study import Eye, Modality, Record, Sex, Study

if TYPE_CHECKING:
    from foveal_runtime.bundle.bundle import Bundle
    from foveal_runtime.bundle.calibration import OperatingPoint
    from foveal_runtime.serving.request import Answer

_T = TypeVar("_T")

SEX_OF: dict[Any, Sex | None] = {
    study_pb2.SEX_UNSPECIFIED: None,
    study_pb2.SEX_MALE: Sex.MALE,
    study_pb2.SEX_FEMALE: Sex.FEMALE,
}
EYE_OF: dict[Any, Eye | None] = {study_pb2.EYE_UNSPECIFIED: None, study_pb2.EYE_RIGHT: Eye.RIGHT, study_pb2.EYE_LEFT: Eye.LEFT}
KIND_OF: dict[Any, VectorKind] = {
    study_pb2.VECTOR_KIND_JOINT: VectorKind.JOINT,
    study_pb2.VECTOR_KIND_IMAGE: VectorKind.IMAGE,
    study_pb2.VECTOR_KIND_TEXT: VectorKind.TEXT,
    study_pb2.VECTOR_KIND_STRUCTURED: VectorKind.STRUCTURED,
}
"""The stubs' enum numbers; typed loosely, since a newer client may send any number."""
SEX_TO = {sex: number for number, sex in SEX_OF.items()}
EYE_TO = {eye: number for number, eye in EYE_OF.items()}
KIND_TO = {kind: number for number, kind in KIND_OF.items()}
MODALITY_TO = {
    Modality.IMAGE: study_pb2.MODALITY_IMAGE,
    Modality.TEXT: study_pb2.MODALITY_TEXT,
    Modality.STRUCTURED: study_pb2.MODALITY_STRUCTURED,
}
PRECISION_TO: dict[Precision, Any] = {
    Precision.FP32: model_pb2.PRECISION_FP32,
    Precision.FP16: model_pb2.PRECISION_FP16,
    Precision.INT8: model_pb2.PRECISION_INT8,
}
PRECISION_OF: dict[Any, Precision] = {number: precision for precision, number in PRECISION_TO.items()}
PROVIDER_TO: dict[str, Any] = {
    "cpu": model_pb2.PROVIDER_CPU,
    "cuda": model_pb2.PROVIDER_CUDA,
    "tensorrt": model_pb2.PROVIDER_TENSORRT,
    "tensorrt-rtx": model_pb2.PROVIDER_TENSORRT_RTX,
    "openvino": model_pb2.PROVIDER_OPENVINO,
}
_CROP_TO = {Crop.FIELD: model_pb2.CROP_FIELD, Crop.NONE: model_pb2.CROP_NONE}
_EVIDENCE_TO = {
    Evidence.PROVEN: model_pb2.EVIDENCE_STATUS_PROVEN,
    Evidence.CHANCE: model_pb2.EVIDENCE_STATUS_CHANCE,
    Evidence.UNVERIFIED: model_pb2.EVIDENCE_STATUS_UNVERIFIED,
}
_SAMPLES = {
    study_pb2.SAMPLE_TYPE_UINT8: "uint8",
    study_pb2.SAMPLE_TYPE_UINT16: "uint16",
    study_pb2.SAMPLE_TYPE_FLOAT32: "float32",
}


def study_from(message: study_pb2.Study) -> Study:
    """A study as the runtime knows it.

    Raises:
        StudyError: a value outside its range, or an enum value this server does not know.
    """
    image: bytes | None = None
    which = message.image.WhichOneof("data")
    if which == "encoded":
        image = message.image.encoded
        if not image:
            raise StudyError("image.encoded is empty; send the file's bytes, or leave the image out", field="image.encoded")
    elif which == "raw":
        raw = message.image.raw
        image = pack_raw(raw.pixels, raw.width, raw.height, known(_SAMPLES, raw.sample_type, "image.raw.sample_type"))
    return Study(
        id=message.id,
        image=image,
        note=message.note or None,
        record=_record_from(message.record) if message.HasField("record") else None,
    )


def _record_from(message: study_pb2.Record) -> Record:
    return Record(
        age_years=message.age_years if message.HasField("age_years") else None,
        sex=known(SEX_OF, message.sex, "record.sex"),
        eye=known(EYE_OF, message.eye, "record.eye"),
        diabetes_years=message.diabetes_years if message.HasField("diabetes_years") else None,
        insulin=message.insulin if message.HasField("insulin") else None,
        diabetes=message.diabetes if message.HasField("diabetes") else None,
    )


def known(table: dict[Any, _T], number: int, field: str) -> _T:
    """What an enum's number stands for.

    Raises:
        StudyError: a number of a newer client.
    """
    if number not in table:
        what = "not set" if number == 0 else f"{number}, which this server does not know"
        raise StudyError(f"{field} is {what}; set it to a value of the contract", field=field)
    return table[number]


def kinds_from(numbers: Iterable[int]) -> frozenset[VectorKind]:
    """Vector kinds; none means joint.

    Raises:
        StudyError: a number that is no kind.
    """
    return frozenset(known(KIND_OF, number, "kinds") for number in numbers) or frozenset({VectorKind.JOINT})


def study_to(study: Study) -> study_pb2.Study:
    """The message for a study."""
    message = study_pb2.Study(id=study.id, note=study.note or "")
    if study.image is not None:
        message.image.encoded = study.image
    if study.record is not None:
        record = study.record
        message.record.CopyFrom(
            study_pb2.Record(
                age_years=record.age_years,
                sex=SEX_TO[record.sex],
                eye=EYE_TO[record.eye],
                diabetes_years=record.diabetes_years,
                insulin=record.insulin,
                diabetes=record.diabetes,
            )
        )
    return message


def quality_to(quality: Quality | None) -> screening_pb2.ImageQuality | None:
    """The message for a verdict on a photograph; None without one."""
    if quality is None:
        return None
    number = screening_pb2.QualityStatus.Value(f"QUALITY_STATUS_{quality.name}")
    return screening_pb2.ImageQuality(status=number, message=quality.sentence)


def timing_to(answer: Answer) -> screening_pb2.Timing:
    """Where the time went."""
    outcome = answer.outcome
    return screening_pb2.Timing(
        queue_ms=answer.queue_ms,
        decode_ms=outcome.prepare_ms,
        compute_ms=outcome.compute_ms,
        batch_size=outcome.batch_size,
        cached=answer.cached,
    )


def filled_to(fields: Iterable[str], source: Any) -> list[screening_pb2.FilledField]:
    """The message for fields that were found elsewhere."""
    return [screening_pb2.FilledField(field=field, source=source) for field in fields]


def embedding_to(answer: Answer) -> screening_pb2.Embedding:
    """The message for an embedded study."""
    outcome = answer.outcome
    return screening_pb2.Embedding(
        vectors=[
            screening_pb2.Vector(kind=KIND_TO[kind], values=vector.tolist())
            for kind, vector in sorted(outcome.vectors.items(), key=lambda pair: list(VectorKind).index(pair[0]))
        ],
        quality=quality_to(outcome.quality),
        imputed_fields=outcome.imputed,
        filled_fields=filled_to(outcome.from_header, screening_pb2.FACT_SOURCE_DICOM_HEADER),
        truncated_fields=["note"] if outcome.truncated else [],
        timing=timing_to(answer),
    )


def model_ref_to(bundle: Bundle) -> model_pb2.ModelRef:
    """What answers."""
    return model_pb2.ModelRef(
        bundle_sha256=bundle.sha256,
        space_id=bundle.manifest.space_id,
        precision=PRECISION_TO[bundle.manifest.precision],
        foveal_version=__version__,
        signature_verified=bundle.is_verified,
    )


def operating_point_to(point: OperatingPoint) -> model_pb2.OperatingPoint:
    """The message for an operating point."""
    return model_pb2.OperatingPoint(
        name=point.name,
        threshold=point.threshold,
        sensitivity=point.sensitivity,
        specificity=point.specificity,
        studies=point.studies,
        sensitivity_low=point.sensitivity_low,
        patients=point.patients,
    )


def model_to(bundle: Bundle) -> model_pb2.GetModelResponse:
    """Everything the manifest says; provider, workers and limits are the server's to add."""
    manifest = bundle.manifest
    message = model_pb2.GetModelResponse(
        model=model_ref_to(bundle),
        profile=manifest.profile,
        embedding_dim=manifest.embedding_dim,
        evidence_maps=manifest.occlusion is not None and manifest.occlusion.is_proven,
        image=model_pb2.ImagePreprocessing(
            side_px=manifest.image.side_px,
            crop=_CROP_TO[manifest.image.crop],
            mean=manifest.image.mean,
            std=manifest.image.std,
            decode=manifest.image.decode,
            resample=manifest.image.resample,
        ),
        text=model_pb2.TextPreprocessing(max_tokens=manifest.text.max_tokens, kept_tokens=manifest.text.kept_tokens),
        trained_heads=manifest.trained_heads,
        trained_subsets=manifest.trained_subsets,
        aligned_modalities=[MODALITY_TO[m] for m in manifest.aligned],
        tolerances=model_pb2.Tolerances(**manifest.tolerances.model_dump()),
        variants=bundle.served,
    )
    for name, calibration in manifest.calibration.items():
        message.operating_points[name].points.extend(map(operating_point_to, calibration.operating_points))
    for name, heads in manifest.evidence.items():
        for head, evidence in heads.items():
            figures = evidence.model_dump(exclude={"status"})
            message.evidence[name].heads[head].CopyFrom(model_pb2.HeadEvidence(status=_EVIDENCE_TO[evidence.status], **figures))
    if manifest.trained_on is not None:
        message.trained_on.CopyFrom(model_pb2.TrainedOn(**manifest.trained_on.model_dump()))
    message.warnings.extend(warnings_of(manifest))
    message.parity.update(manifest.parity)
    return message

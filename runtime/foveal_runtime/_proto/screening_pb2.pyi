from . import model_pb2 as _model_pb2
from . import study_pb2 as _study_pb2
from google.rpc import status_pb2 as _status_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class FactSource(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FACT_SOURCE_UNSPECIFIED: _ClassVar[FactSource]
    FACT_SOURCE_DICOM_HEADER: _ClassVar[FactSource]
    FACT_SOURCE_EXAM: _ClassVar[FactSource]

class IcdrGrade(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ICDR_GRADE_UNSPECIFIED: _ClassVar[IcdrGrade]
    ICDR_GRADE_NO_RETINOPATHY: _ClassVar[IcdrGrade]
    ICDR_GRADE_MILD: _ClassVar[IcdrGrade]
    ICDR_GRADE_MODERATE: _ClassVar[IcdrGrade]
    ICDR_GRADE_SEVERE: _ClassVar[IcdrGrade]
    ICDR_GRADE_PROLIFERATIVE: _ClassVar[IcdrGrade]

class SdrgGrade(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SDRG_GRADE_UNSPECIFIED: _ClassVar[SdrgGrade]
    SDRG_GRADE_R0: _ClassVar[SdrgGrade]
    SDRG_GRADE_R1: _ClassVar[SdrgGrade]
    SDRG_GRADE_R2: _ClassVar[SdrgGrade]
    SDRG_GRADE_R3: _ClassVar[SdrgGrade]
    SDRG_GRADE_R4: _ClassVar[SdrgGrade]

class Referral(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REFERRAL_UNSPECIFIED: _ClassVar[Referral]
    REFERRAL_REFER: _ClassVar[Referral]
    REFERRAL_NOT_REFERABLE: _ClassVar[Referral]
    REFERRAL_UNDECIDED: _ClassVar[Referral]

class QualityStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    QUALITY_STATUS_UNSPECIFIED: _ClassVar[QualityStatus]
    QUALITY_STATUS_GRADABLE: _ClassVar[QualityStatus]
    QUALITY_STATUS_TOO_DARK: _ClassVar[QualityStatus]
    QUALITY_STATUS_OUT_OF_FOCUS: _ClassVar[QualityStatus]
    QUALITY_STATUS_FIELD_MISSING: _ClassVar[QualityStatus]
    QUALITY_STATUS_NOT_FUNDUS: _ClassVar[QualityStatus]
FACT_SOURCE_UNSPECIFIED: FactSource
FACT_SOURCE_DICOM_HEADER: FactSource
FACT_SOURCE_EXAM: FactSource
ICDR_GRADE_UNSPECIFIED: IcdrGrade
ICDR_GRADE_NO_RETINOPATHY: IcdrGrade
ICDR_GRADE_MILD: IcdrGrade
ICDR_GRADE_MODERATE: IcdrGrade
ICDR_GRADE_SEVERE: IcdrGrade
ICDR_GRADE_PROLIFERATIVE: IcdrGrade
SDRG_GRADE_UNSPECIFIED: SdrgGrade
SDRG_GRADE_R0: SdrgGrade
SDRG_GRADE_R1: SdrgGrade
SDRG_GRADE_R2: SdrgGrade
SDRG_GRADE_R3: SdrgGrade
SDRG_GRADE_R4: SdrgGrade
REFERRAL_UNSPECIFIED: Referral
REFERRAL_REFER: Referral
REFERRAL_NOT_REFERABLE: Referral
REFERRAL_UNDECIDED: Referral
QUALITY_STATUS_UNSPECIFIED: QualityStatus
QUALITY_STATUS_GRADABLE: QualityStatus
QUALITY_STATUS_TOO_DARK: QualityStatus
QUALITY_STATUS_OUT_OF_FOCUS: QualityStatus
QUALITY_STATUS_FIELD_MISSING: QualityStatus
QUALITY_STATUS_NOT_FUNDUS: QualityStatus

class GradeRequest(_message.Message):
    __slots__ = ("studies", "operating_point", "evidence_map")
    STUDIES_FIELD_NUMBER: _ClassVar[int]
    OPERATING_POINT_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_MAP_FIELD_NUMBER: _ClassVar[int]
    studies: _containers.RepeatedCompositeFieldContainer[_study_pb2.Study]
    operating_point: str
    evidence_map: bool
    def __init__(self, studies: _Optional[_Iterable[_Union[_study_pb2.Study, _Mapping]]] = ..., operating_point: _Optional[str] = ..., evidence_map: _Optional[bool] = ...) -> None: ...

class GradeResponse(_message.Message):
    __slots__ = ("results", "model")
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[GradeResult]
    model: _model_pb2.ModelRef
    def __init__(self, results: _Optional[_Iterable[_Union[GradeResult, _Mapping]]] = ..., model: _Optional[_Union[_model_pb2.ModelRef, _Mapping]] = ...) -> None: ...

class GradeResult(_message.Message):
    __slots__ = ("id", "grade", "error")
    ID_FIELD_NUMBER: _ClassVar[int]
    GRADE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    id: str
    grade: Grade
    error: _status_pb2.Status
    def __init__(self, id: _Optional[str] = ..., grade: _Optional[_Union[Grade, _Mapping]] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ...) -> None: ...

class Grade(_message.Message):
    __slots__ = ("graded", "ungradable", "abstained", "quality", "modalities", "imputed_fields", "truncated_fields", "timing", "unverified_heads", "filled_fields", "novelty", "evidence_map")
    GRADED_FIELD_NUMBER: _ClassVar[int]
    UNGRADABLE_FIELD_NUMBER: _ClassVar[int]
    ABSTAINED_FIELD_NUMBER: _ClassVar[int]
    QUALITY_FIELD_NUMBER: _ClassVar[int]
    MODALITIES_FIELD_NUMBER: _ClassVar[int]
    IMPUTED_FIELDS_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_FIELDS_FIELD_NUMBER: _ClassVar[int]
    TIMING_FIELD_NUMBER: _ClassVar[int]
    UNVERIFIED_HEADS_FIELD_NUMBER: _ClassVar[int]
    FILLED_FIELDS_FIELD_NUMBER: _ClassVar[int]
    NOVELTY_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_MAP_FIELD_NUMBER: _ClassVar[int]
    graded: Graded
    ungradable: Ungradable
    abstained: Abstained
    quality: ImageQuality
    modalities: _containers.RepeatedScalarFieldContainer[_study_pb2.Modality]
    imputed_fields: _containers.RepeatedScalarFieldContainer[str]
    truncated_fields: _containers.RepeatedScalarFieldContainer[str]
    timing: Timing
    unverified_heads: _containers.RepeatedScalarFieldContainer[str]
    filled_fields: _containers.RepeatedCompositeFieldContainer[FilledField]
    novelty: Novelty
    evidence_map: EvidenceMap
    def __init__(self, graded: _Optional[_Union[Graded, _Mapping]] = ..., ungradable: _Optional[_Union[Ungradable, _Mapping]] = ..., abstained: _Optional[_Union[Abstained, _Mapping]] = ..., quality: _Optional[_Union[ImageQuality, _Mapping]] = ..., modalities: _Optional[_Iterable[_Union[_study_pb2.Modality, str]]] = ..., imputed_fields: _Optional[_Iterable[str]] = ..., truncated_fields: _Optional[_Iterable[str]] = ..., timing: _Optional[_Union[Timing, _Mapping]] = ..., unverified_heads: _Optional[_Iterable[str]] = ..., filled_fields: _Optional[_Iterable[_Union[FilledField, _Mapping]]] = ..., novelty: _Optional[_Union[Novelty, _Mapping]] = ..., evidence_map: _Optional[_Union[EvidenceMap, _Mapping]] = ...) -> None: ...

class EvidenceMap(_message.Message):
    __slots__ = ("rows", "columns", "cells", "frame", "largest_log_odds")
    ROWS_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    CELLS_FIELD_NUMBER: _ClassVar[int]
    FRAME_FIELD_NUMBER: _ClassVar[int]
    LARGEST_LOG_ODDS_FIELD_NUMBER: _ClassVar[int]
    rows: int
    columns: int
    cells: _containers.RepeatedScalarFieldContainer[float]
    frame: Frame
    largest_log_odds: float
    def __init__(self, rows: _Optional[int] = ..., columns: _Optional[int] = ..., cells: _Optional[_Iterable[float]] = ..., frame: _Optional[_Union[Frame, _Mapping]] = ..., largest_log_odds: _Optional[float] = ...) -> None: ...

class Frame(_message.Message):
    __slots__ = ("left", "top", "right", "bottom")
    LEFT_FIELD_NUMBER: _ClassVar[int]
    TOP_FIELD_NUMBER: _ClassVar[int]
    RIGHT_FIELD_NUMBER: _ClassVar[int]
    BOTTOM_FIELD_NUMBER: _ClassVar[int]
    left: float
    top: float
    right: float
    bottom: float
    def __init__(self, left: _Optional[float] = ..., top: _Optional[float] = ..., right: _Optional[float] = ..., bottom: _Optional[float] = ...) -> None: ...

class Novelty(_message.Message):
    __slots__ = ("distance", "unlike_training")
    DISTANCE_FIELD_NUMBER: _ClassVar[int]
    UNLIKE_TRAINING_FIELD_NUMBER: _ClassVar[int]
    distance: float
    unlike_training: bool
    def __init__(self, distance: _Optional[float] = ..., unlike_training: _Optional[bool] = ...) -> None: ...

class FilledField(_message.Message):
    __slots__ = ("field", "source")
    FIELD_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    field: str
    source: FactSource
    def __init__(self, field: _Optional[str] = ..., source: _Optional[_Union[FactSource, str]] = ...) -> None: ...

class Graded(_message.Message):
    __slots__ = ("heads", "icdr", "sdrg", "referral", "referral_basis", "icdr_set")
    HEADS_FIELD_NUMBER: _ClassVar[int]
    ICDR_FIELD_NUMBER: _ClassVar[int]
    SDRG_FIELD_NUMBER: _ClassVar[int]
    REFERRAL_FIELD_NUMBER: _ClassVar[int]
    REFERRAL_BASIS_FIELD_NUMBER: _ClassVar[int]
    ICDR_SET_FIELD_NUMBER: _ClassVar[int]
    heads: _containers.RepeatedCompositeFieldContainer[HeadResult]
    icdr: IcdrGrade
    sdrg: SdrgGrade
    referral: Referral
    referral_basis: ReferralBasis
    icdr_set: GradeSet
    def __init__(self, heads: _Optional[_Iterable[_Union[HeadResult, _Mapping]]] = ..., icdr: _Optional[_Union[IcdrGrade, str]] = ..., sdrg: _Optional[_Union[SdrgGrade, str]] = ..., referral: _Optional[_Union[Referral, str]] = ..., referral_basis: _Optional[_Union[ReferralBasis, _Mapping]] = ..., icdr_set: _Optional[_Union[GradeSet, _Mapping]] = ...) -> None: ...

class GradeSet(_message.Message):
    __slots__ = ("grades", "coverage")
    GRADES_FIELD_NUMBER: _ClassVar[int]
    COVERAGE_FIELD_NUMBER: _ClassVar[int]
    grades: _containers.RepeatedScalarFieldContainer[IcdrGrade]
    coverage: float
    def __init__(self, grades: _Optional[_Iterable[_Union[IcdrGrade, str]]] = ..., coverage: _Optional[float] = ...) -> None: ...

class HeadResult(_message.Message):
    __slots__ = ("head", "classes", "likeliest")
    HEAD_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    LIKELIEST_FIELD_NUMBER: _ClassVar[int]
    head: str
    classes: _containers.RepeatedCompositeFieldContainer[ClassProbability]
    likeliest: str
    def __init__(self, head: _Optional[str] = ..., classes: _Optional[_Iterable[_Union[ClassProbability, _Mapping]]] = ..., likeliest: _Optional[str] = ...) -> None: ...

class ClassProbability(_message.Message):
    __slots__ = ("name", "probability")
    NAME_FIELD_NUMBER: _ClassVar[int]
    PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    name: str
    probability: float
    def __init__(self, name: _Optional[str] = ..., probability: _Optional[float] = ...) -> None: ...

class ReferralBasis(_message.Message):
    __slots__ = ("probability", "operating_point", "by_grade_alone")
    PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    OPERATING_POINT_FIELD_NUMBER: _ClassVar[int]
    BY_GRADE_ALONE_FIELD_NUMBER: _ClassVar[int]
    probability: float
    operating_point: _model_pb2.OperatingPoint
    by_grade_alone: bool
    def __init__(self, probability: _Optional[float] = ..., operating_point: _Optional[_Union[_model_pb2.OperatingPoint, _Mapping]] = ..., by_grade_alone: _Optional[bool] = ...) -> None: ...

class Ungradable(_message.Message):
    __slots__ = ("reason", "message")
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    reason: QualityStatus
    message: str
    def __init__(self, reason: _Optional[_Union[QualityStatus, str]] = ..., message: _Optional[str] = ...) -> None: ...

class Abstained(_message.Message):
    __slots__ = ("reason", "message")
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    reason: str
    message: str
    def __init__(self, reason: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class ImageQuality(_message.Message):
    __slots__ = ("status", "message")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    status: QualityStatus
    message: str
    def __init__(self, status: _Optional[_Union[QualityStatus, str]] = ..., message: _Optional[str] = ...) -> None: ...

class Timing(_message.Message):
    __slots__ = ("queue_ms", "decode_ms", "compute_ms", "batch_size", "cached")
    QUEUE_MS_FIELD_NUMBER: _ClassVar[int]
    DECODE_MS_FIELD_NUMBER: _ClassVar[int]
    COMPUTE_MS_FIELD_NUMBER: _ClassVar[int]
    BATCH_SIZE_FIELD_NUMBER: _ClassVar[int]
    CACHED_FIELD_NUMBER: _ClassVar[int]
    queue_ms: float
    decode_ms: float
    compute_ms: float
    batch_size: int
    cached: bool
    def __init__(self, queue_ms: _Optional[float] = ..., decode_ms: _Optional[float] = ..., compute_ms: _Optional[float] = ..., batch_size: _Optional[int] = ..., cached: _Optional[bool] = ...) -> None: ...

class EmbedRequest(_message.Message):
    __slots__ = ("studies", "kinds")
    STUDIES_FIELD_NUMBER: _ClassVar[int]
    KINDS_FIELD_NUMBER: _ClassVar[int]
    studies: _containers.RepeatedCompositeFieldContainer[_study_pb2.Study]
    kinds: _containers.RepeatedScalarFieldContainer[_study_pb2.VectorKind]
    def __init__(self, studies: _Optional[_Iterable[_Union[_study_pb2.Study, _Mapping]]] = ..., kinds: _Optional[_Iterable[_Union[_study_pb2.VectorKind, str]]] = ...) -> None: ...

class EmbedResponse(_message.Message):
    __slots__ = ("results", "model")
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[EmbedResult]
    model: _model_pb2.ModelRef
    def __init__(self, results: _Optional[_Iterable[_Union[EmbedResult, _Mapping]]] = ..., model: _Optional[_Union[_model_pb2.ModelRef, _Mapping]] = ...) -> None: ...

class EmbedResult(_message.Message):
    __slots__ = ("id", "embedding", "error")
    ID_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    id: str
    embedding: Embedding
    error: _status_pb2.Status
    def __init__(self, id: _Optional[str] = ..., embedding: _Optional[_Union[Embedding, _Mapping]] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ...) -> None: ...

class Embedding(_message.Message):
    __slots__ = ("vectors", "quality", "imputed_fields", "truncated_fields", "timing", "filled_fields")
    VECTORS_FIELD_NUMBER: _ClassVar[int]
    QUALITY_FIELD_NUMBER: _ClassVar[int]
    IMPUTED_FIELDS_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_FIELDS_FIELD_NUMBER: _ClassVar[int]
    TIMING_FIELD_NUMBER: _ClassVar[int]
    FILLED_FIELDS_FIELD_NUMBER: _ClassVar[int]
    vectors: _containers.RepeatedCompositeFieldContainer[Vector]
    quality: ImageQuality
    imputed_fields: _containers.RepeatedScalarFieldContainer[str]
    truncated_fields: _containers.RepeatedScalarFieldContainer[str]
    timing: Timing
    filled_fields: _containers.RepeatedCompositeFieldContainer[FilledField]
    def __init__(self, vectors: _Optional[_Iterable[_Union[Vector, _Mapping]]] = ..., quality: _Optional[_Union[ImageQuality, _Mapping]] = ..., imputed_fields: _Optional[_Iterable[str]] = ..., truncated_fields: _Optional[_Iterable[str]] = ..., timing: _Optional[_Union[Timing, _Mapping]] = ..., filled_fields: _Optional[_Iterable[_Union[FilledField, _Mapping]]] = ...) -> None: ...

class Vector(_message.Message):
    __slots__ = ("kind", "values")
    KIND_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    kind: _study_pb2.VectorKind
    values: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, kind: _Optional[_Union[_study_pb2.VectorKind, str]] = ..., values: _Optional[_Iterable[float]] = ...) -> None: ...

class GradeStreamRequest(_message.Message):
    __slots__ = ("study", "operating_point", "sequence")
    STUDY_FIELD_NUMBER: _ClassVar[int]
    OPERATING_POINT_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    study: _study_pb2.Study
    operating_point: str
    sequence: int
    def __init__(self, study: _Optional[_Union[_study_pb2.Study, _Mapping]] = ..., operating_point: _Optional[str] = ..., sequence: _Optional[int] = ...) -> None: ...

class GradeStreamResponse(_message.Message):
    __slots__ = ("result", "model", "sequence")
    RESULT_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    result: GradeResult
    model: _model_pb2.ModelRef
    sequence: int
    def __init__(self, result: _Optional[_Union[GradeResult, _Mapping]] = ..., model: _Optional[_Union[_model_pb2.ModelRef, _Mapping]] = ..., sequence: _Optional[int] = ...) -> None: ...

class EmbedStreamRequest(_message.Message):
    __slots__ = ("study", "kinds", "sequence")
    STUDY_FIELD_NUMBER: _ClassVar[int]
    KINDS_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    study: _study_pb2.Study
    kinds: _containers.RepeatedScalarFieldContainer[_study_pb2.VectorKind]
    sequence: int
    def __init__(self, study: _Optional[_Union[_study_pb2.Study, _Mapping]] = ..., kinds: _Optional[_Iterable[_Union[_study_pb2.VectorKind, str]]] = ..., sequence: _Optional[int] = ...) -> None: ...

class EmbedStreamResponse(_message.Message):
    __slots__ = ("result", "model", "sequence")
    RESULT_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    result: EmbedResult
    model: _model_pb2.ModelRef
    sequence: int
    def __init__(self, result: _Optional[_Union[EmbedResult, _Mapping]] = ..., model: _Optional[_Union[_model_pb2.ModelRef, _Mapping]] = ..., sequence: _Optional[int] = ...) -> None: ...

class GradeExamRequest(_message.Message):
    __slots__ = ("id", "studies", "operating_point", "evidence_map")
    ID_FIELD_NUMBER: _ClassVar[int]
    STUDIES_FIELD_NUMBER: _ClassVar[int]
    OPERATING_POINT_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_MAP_FIELD_NUMBER: _ClassVar[int]
    id: str
    studies: _containers.RepeatedCompositeFieldContainer[ExamStudy]
    operating_point: str
    evidence_map: bool
    def __init__(self, id: _Optional[str] = ..., studies: _Optional[_Iterable[_Union[ExamStudy, _Mapping]]] = ..., operating_point: _Optional[str] = ..., evidence_map: _Optional[bool] = ...) -> None: ...

class ExamStudy(_message.Message):
    __slots__ = ("eye", "study")
    EYE_FIELD_NUMBER: _ClassVar[int]
    STUDY_FIELD_NUMBER: _ClassVar[int]
    eye: _study_pb2.Eye
    study: _study_pb2.Study
    def __init__(self, eye: _Optional[_Union[_study_pb2.Eye, str]] = ..., study: _Optional[_Union[_study_pb2.Study, _Mapping]] = ...) -> None: ...

class GradeExamResponse(_message.Message):
    __slots__ = ("id", "results", "eyes", "patient", "model")
    ID_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    EYES_FIELD_NUMBER: _ClassVar[int]
    PATIENT_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    id: str
    results: _containers.RepeatedCompositeFieldContainer[GradeResult]
    eyes: _containers.RepeatedCompositeFieldContainer[EyeGrade]
    patient: PatientGrade
    model: _model_pb2.ModelRef
    def __init__(self, id: _Optional[str] = ..., results: _Optional[_Iterable[_Union[GradeResult, _Mapping]]] = ..., eyes: _Optional[_Iterable[_Union[EyeGrade, _Mapping]]] = ..., patient: _Optional[_Union[PatientGrade, _Mapping]] = ..., model: _Optional[_Union[_model_pb2.ModelRef, _Mapping]] = ...) -> None: ...

class EyeGrade(_message.Message):
    __slots__ = ("eye", "gradable", "icdr", "referral", "referable_probability", "deciding_result")
    EYE_FIELD_NUMBER: _ClassVar[int]
    GRADABLE_FIELD_NUMBER: _ClassVar[int]
    ICDR_FIELD_NUMBER: _ClassVar[int]
    REFERRAL_FIELD_NUMBER: _ClassVar[int]
    REFERABLE_PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    DECIDING_RESULT_FIELD_NUMBER: _ClassVar[int]
    eye: _study_pb2.Eye
    gradable: bool
    icdr: IcdrGrade
    referral: Referral
    referable_probability: float
    deciding_result: int
    def __init__(self, eye: _Optional[_Union[_study_pb2.Eye, str]] = ..., gradable: _Optional[bool] = ..., icdr: _Optional[_Union[IcdrGrade, str]] = ..., referral: _Optional[_Union[Referral, str]] = ..., referable_probability: _Optional[float] = ..., deciding_result: _Optional[int] = ...) -> None: ...

class PatientGrade(_message.Message):
    __slots__ = ("icdr", "referral", "deciding_eye", "complete")
    ICDR_FIELD_NUMBER: _ClassVar[int]
    REFERRAL_FIELD_NUMBER: _ClassVar[int]
    DECIDING_EYE_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_FIELD_NUMBER: _ClassVar[int]
    icdr: IcdrGrade
    referral: Referral
    deciding_eye: _study_pb2.Eye
    complete: bool
    def __init__(self, icdr: _Optional[_Union[IcdrGrade, str]] = ..., referral: _Optional[_Union[Referral, str]] = ..., deciding_eye: _Optional[_Union[_study_pb2.Eye, str]] = ..., complete: _Optional[bool] = ...) -> None: ...

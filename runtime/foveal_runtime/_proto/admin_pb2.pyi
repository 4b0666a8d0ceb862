from . import model_pb2 as _model_pb2
from . import screening_pb2 as _screening_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ReplicaState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REPLICA_STATE_UNSPECIFIED: _ClassVar[ReplicaState]
    REPLICA_STATE_SERVING: _ClassVar[ReplicaState]
    REPLICA_STATE_BEHIND: _ClassVar[ReplicaState]
    REPLICA_STATE_AWAY: _ClassVar[ReplicaState]
    REPLICA_STATE_UNFIT: _ClassVar[ReplicaState]

class BundleEvent(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    BUNDLE_EVENT_UNSPECIFIED: _ClassVar[BundleEvent]
    BUNDLE_EVENT_SERVING: _ClassVar[BundleEvent]
    BUNDLE_EVENT_UPGRADED: _ClassVar[BundleEvent]
    BUNDLE_EVENT_ROLLED_BACK: _ClassVar[BundleEvent]
    BUNDLE_EVENT_REFUSED: _ClassVar[BundleEvent]

class ServingState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SERVING_STATE_UNSPECIFIED: _ClassVar[ServingState]
    SERVING_STATE_SERVING: _ClassVar[ServingState]
    SERVING_STATE_NOT_SERVING: _ClassVar[ServingState]
    SERVING_STATE_ABSENT: _ClassVar[ServingState]

class DriftReferenceKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DRIFT_REFERENCE_KIND_UNSPECIFIED: _ClassVar[DriftReferenceKind]
    DRIFT_REFERENCE_KIND_OWN: _ClassVar[DriftReferenceKind]
    DRIFT_REFERENCE_KIND_BUNDLE: _ClassVar[DriftReferenceKind]
REPLICA_STATE_UNSPECIFIED: ReplicaState
REPLICA_STATE_SERVING: ReplicaState
REPLICA_STATE_BEHIND: ReplicaState
REPLICA_STATE_AWAY: ReplicaState
REPLICA_STATE_UNFIT: ReplicaState
BUNDLE_EVENT_UNSPECIFIED: BundleEvent
BUNDLE_EVENT_SERVING: BundleEvent
BUNDLE_EVENT_UPGRADED: BundleEvent
BUNDLE_EVENT_ROLLED_BACK: BundleEvent
BUNDLE_EVENT_REFUSED: BundleEvent
SERVING_STATE_UNSPECIFIED: ServingState
SERVING_STATE_SERVING: ServingState
SERVING_STATE_NOT_SERVING: ServingState
SERVING_STATE_ABSENT: ServingState
DRIFT_REFERENCE_KIND_UNSPECIFIED: DriftReferenceKind
DRIFT_REFERENCE_KIND_OWN: DriftReferenceKind
DRIFT_REFERENCE_KIND_BUNDLE: DriftReferenceKind

class SelfTestRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class SelfTestResponse(_message.Message):
    __slots__ = ("passed", "studies", "min_cosine", "max_abs_embedding", "max_abs_probability", "icdr_flips", "referable_flips", "neighbour_dependence", "failures", "model")
    PASSED_FIELD_NUMBER: _ClassVar[int]
    STUDIES_FIELD_NUMBER: _ClassVar[int]
    MIN_COSINE_FIELD_NUMBER: _ClassVar[int]
    MAX_ABS_EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    MAX_ABS_PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    ICDR_FLIPS_FIELD_NUMBER: _ClassVar[int]
    REFERABLE_FLIPS_FIELD_NUMBER: _ClassVar[int]
    NEIGHBOUR_DEPENDENCE_FIELD_NUMBER: _ClassVar[int]
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    passed: bool
    studies: int
    min_cosine: float
    max_abs_embedding: float
    max_abs_probability: float
    icdr_flips: int
    referable_flips: int
    neighbour_dependence: float
    failures: _containers.RepeatedCompositeFieldContainer[Drift]
    model: _model_pb2.ModelRef
    def __init__(self, passed: _Optional[bool] = ..., studies: _Optional[int] = ..., min_cosine: _Optional[float] = ..., max_abs_embedding: _Optional[float] = ..., max_abs_probability: _Optional[float] = ..., icdr_flips: _Optional[int] = ..., referable_flips: _Optional[int] = ..., neighbour_dependence: _Optional[float] = ..., failures: _Optional[_Iterable[_Union[Drift, _Mapping]]] = ..., model: _Optional[_Union[_model_pb2.ModelRef, _Mapping]] = ...) -> None: ...

class Drift(_message.Message):
    __slots__ = ("study", "subset", "quantity", "got", "limit")
    STUDY_FIELD_NUMBER: _ClassVar[int]
    SUBSET_FIELD_NUMBER: _ClassVar[int]
    QUANTITY_FIELD_NUMBER: _ClassVar[int]
    GOT_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    study: str
    subset: str
    quantity: str
    got: float
    limit: float
    def __init__(self, study: _Optional[str] = ..., subset: _Optional[str] = ..., quantity: _Optional[str] = ..., got: _Optional[float] = ..., limit: _Optional[float] = ...) -> None: ...

class ReloadRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ReloadResponse(_message.Message):
    __slots__ = ("model", "changed")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    model: _model_pb2.ModelRef
    changed: bool
    def __init__(self, model: _Optional[_Union[_model_pb2.ModelRef, _Mapping]] = ..., changed: _Optional[bool] = ...) -> None: ...

class GetStatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetStatusResponse(_message.Message):
    __slots__ = ("model", "screening", "archive", "reason", "uptime_s", "workers_ready", "workers_wanted", "workers_lost", "queued_studies", "queued_bytes", "self_test_passed", "models", "history", "certificate", "last_self_test", "self_test_age_s", "latency", "archive_replicas")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SCREENING_FIELD_NUMBER: _ClassVar[int]
    ARCHIVE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    UPTIME_S_FIELD_NUMBER: _ClassVar[int]
    WORKERS_READY_FIELD_NUMBER: _ClassVar[int]
    WORKERS_WANTED_FIELD_NUMBER: _ClassVar[int]
    WORKERS_LOST_FIELD_NUMBER: _ClassVar[int]
    QUEUED_STUDIES_FIELD_NUMBER: _ClassVar[int]
    QUEUED_BYTES_FIELD_NUMBER: _ClassVar[int]
    SELF_TEST_PASSED_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    HISTORY_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    LAST_SELF_TEST_FIELD_NUMBER: _ClassVar[int]
    SELF_TEST_AGE_S_FIELD_NUMBER: _ClassVar[int]
    LATENCY_FIELD_NUMBER: _ClassVar[int]
    ARCHIVE_REPLICAS_FIELD_NUMBER: _ClassVar[int]
    model: _model_pb2.ModelRef
    screening: ServingState
    archive: ServingState
    reason: str
    uptime_s: float
    workers_ready: int
    workers_wanted: int
    workers_lost: int
    queued_studies: int
    queued_bytes: int
    self_test_passed: bool
    models: _containers.RepeatedCompositeFieldContainer[LoadedModel]
    history: _containers.RepeatedCompositeFieldContainer[BundleChange]
    certificate: Certificate
    last_self_test: SelfTestResponse
    self_test_age_s: float
    latency: Latency
    archive_replicas: _containers.RepeatedCompositeFieldContainer[ArchiveReplica]
    def __init__(self, model: _Optional[_Union[_model_pb2.ModelRef, _Mapping]] = ..., screening: _Optional[_Union[ServingState, str]] = ..., archive: _Optional[_Union[ServingState, str]] = ..., reason: _Optional[str] = ..., uptime_s: _Optional[float] = ..., workers_ready: _Optional[int] = ..., workers_wanted: _Optional[int] = ..., workers_lost: _Optional[int] = ..., queued_studies: _Optional[int] = ..., queued_bytes: _Optional[int] = ..., self_test_passed: _Optional[bool] = ..., models: _Optional[_Iterable[_Union[LoadedModel, _Mapping]]] = ..., history: _Optional[_Iterable[_Union[BundleChange, _Mapping]]] = ..., certificate: _Optional[_Union[Certificate, _Mapping]] = ..., last_self_test: _Optional[_Union[SelfTestResponse, _Mapping]] = ..., self_test_age_s: _Optional[float] = ..., latency: _Optional[_Union[Latency, _Mapping]] = ..., archive_replicas: _Optional[_Iterable[_Union[ArchiveReplica, _Mapping]]] = ...) -> None: ...

class ArchiveReplica(_message.Message):
    __slots__ = ("number", "state", "lag_s", "reads")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    LAG_S_FIELD_NUMBER: _ClassVar[int]
    READS_FIELD_NUMBER: _ClassVar[int]
    number: int
    state: ReplicaState
    lag_s: float
    reads: int
    def __init__(self, number: _Optional[int] = ..., state: _Optional[_Union[ReplicaState, str]] = ..., lag_s: _Optional[float] = ..., reads: _Optional[int] = ...) -> None: ...

class LoadedModel(_message.Message):
    __slots__ = ("name", "model", "healthy")
    NAME_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    HEALTHY_FIELD_NUMBER: _ClassVar[int]
    name: str
    model: _model_pb2.ModelRef
    healthy: bool
    def __init__(self, name: _Optional[str] = ..., model: _Optional[_Union[_model_pb2.ModelRef, _Mapping]] = ..., healthy: _Optional[bool] = ...) -> None: ...

class BundleChange(_message.Message):
    __slots__ = ("at", "name", "event", "bundle_sha256", "reason")
    AT_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_SHA256_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    at: str
    name: str
    event: BundleEvent
    bundle_sha256: str
    reason: str
    def __init__(self, at: _Optional[str] = ..., name: _Optional[str] = ..., event: _Optional[_Union[BundleEvent, str]] = ..., bundle_sha256: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class Certificate(_message.Message):
    __slots__ = ("names", "issuer", "ends", "days_left", "asks_callers", "current")
    NAMES_FIELD_NUMBER: _ClassVar[int]
    ISSUER_FIELD_NUMBER: _ClassVar[int]
    ENDS_FIELD_NUMBER: _ClassVar[int]
    DAYS_LEFT_FIELD_NUMBER: _ClassVar[int]
    ASKS_CALLERS_FIELD_NUMBER: _ClassVar[int]
    CURRENT_FIELD_NUMBER: _ClassVar[int]
    names: _containers.RepeatedScalarFieldContainer[str]
    issuer: str
    ends: str
    days_left: float
    asks_callers: bool
    current: bool
    def __init__(self, names: _Optional[_Iterable[str]] = ..., issuer: _Optional[str] = ..., ends: _Optional[str] = ..., days_left: _Optional[float] = ..., asks_callers: _Optional[bool] = ..., current: _Optional[bool] = ...) -> None: ...

class Latency(_message.Message):
    __slots__ = ("calls", "p50_ms", "p99_ms")
    CALLS_FIELD_NUMBER: _ClassVar[int]
    P50_MS_FIELD_NUMBER: _ClassVar[int]
    P99_MS_FIELD_NUMBER: _ClassVar[int]
    calls: int
    p50_ms: float
    p99_ms: float
    def __init__(self, calls: _Optional[int] = ..., p50_ms: _Optional[float] = ..., p99_ms: _Optional[float] = ...) -> None: ...

class GetDriftRequest(_message.Message):
    __slots__ = ("weeks",)
    WEEKS_FIELD_NUMBER: _ClassVar[int]
    weeks: int
    def __init__(self, weeks: _Optional[int] = ...) -> None: ...

class GetDriftResponse(_message.Message):
    __slots__ = ("counted", "cameras")
    COUNTED_FIELD_NUMBER: _ClassVar[int]
    CAMERAS_FIELD_NUMBER: _ClassVar[int]
    counted: bool
    cameras: _containers.RepeatedCompositeFieldContainer[CameraDrift]
    def __init__(self, counted: _Optional[bool] = ..., cameras: _Optional[_Iterable[_Union[CameraDrift, _Mapping]]] = ...) -> None: ...

class CameraDrift(_message.Message):
    __slots__ = ("camera", "device", "photographs", "references", "weeks")
    CAMERA_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    PHOTOGRAPHS_FIELD_NUMBER: _ClassVar[int]
    REFERENCES_FIELD_NUMBER: _ClassVar[int]
    WEEKS_FIELD_NUMBER: _ClassVar[int]
    camera: str
    device: str
    photographs: int
    references: _containers.RepeatedCompositeFieldContainer[DriftReference]
    weeks: _containers.RepeatedCompositeFieldContainer[DriftWeek]
    def __init__(self, camera: _Optional[str] = ..., device: _Optional[str] = ..., photographs: _Optional[int] = ..., references: _Optional[_Iterable[_Union[DriftReference, _Mapping]]] = ..., weeks: _Optional[_Iterable[_Union[DriftWeek, _Mapping]]] = ...) -> None: ...

class DriftReference(_message.Message):
    __slots__ = ("kind", "photographs", "alarm", "evidence")
    class EvidenceEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    KIND_FIELD_NUMBER: _ClassVar[int]
    PHOTOGRAPHS_FIELD_NUMBER: _ClassVar[int]
    ALARM_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    kind: DriftReferenceKind
    photographs: int
    alarm: DriftAlarm
    evidence: _containers.ScalarMap[str, float]
    def __init__(self, kind: _Optional[_Union[DriftReferenceKind, str]] = ..., photographs: _Optional[int] = ..., alarm: _Optional[_Union[DriftAlarm, _Mapping]] = ..., evidence: _Optional[_Mapping[str, float]] = ...) -> None: ...

class DriftAlarm(_message.Message):
    __slots__ = ("since", "signals")
    SINCE_FIELD_NUMBER: _ClassVar[int]
    SIGNALS_FIELD_NUMBER: _ClassVar[int]
    since: str
    signals: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, since: _Optional[str] = ..., signals: _Optional[_Iterable[str]] = ...) -> None: ...

class DriftWeek(_message.Message):
    __slots__ = ("week", "photographs", "quality", "icdr", "unlike_training", "means")
    class MeansEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    WEEK_FIELD_NUMBER: _ClassVar[int]
    PHOTOGRAPHS_FIELD_NUMBER: _ClassVar[int]
    QUALITY_FIELD_NUMBER: _ClassVar[int]
    ICDR_FIELD_NUMBER: _ClassVar[int]
    UNLIKE_TRAINING_FIELD_NUMBER: _ClassVar[int]
    MEANS_FIELD_NUMBER: _ClassVar[int]
    week: str
    photographs: int
    quality: _containers.RepeatedCompositeFieldContainer[QualityCount]
    icdr: _containers.RepeatedScalarFieldContainer[int]
    unlike_training: int
    means: _containers.ScalarMap[str, float]
    def __init__(self, week: _Optional[str] = ..., photographs: _Optional[int] = ..., quality: _Optional[_Iterable[_Union[QualityCount, _Mapping]]] = ..., icdr: _Optional[_Iterable[int]] = ..., unlike_training: _Optional[int] = ..., means: _Optional[_Mapping[str, float]] = ...) -> None: ...

class QualityCount(_message.Message):
    __slots__ = ("status", "photographs")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    PHOTOGRAPHS_FIELD_NUMBER: _ClassVar[int]
    status: _screening_pb2.QualityStatus
    photographs: int
    def __init__(self, status: _Optional[_Union[_screening_pb2.QualityStatus, str]] = ..., photographs: _Optional[int] = ...) -> None: ...

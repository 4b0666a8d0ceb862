from . import model_pb2 as _model_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ServingState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SERVING_STATE_UNSPECIFIED: _ClassVar[ServingState]
    SERVING_STATE_SERVING: _ClassVar[ServingState]
    SERVING_STATE_NOT_SERVING: _ClassVar[ServingState]
    SERVING_STATE_ABSENT: _ClassVar[ServingState]
SERVING_STATE_UNSPECIFIED: ServingState
SERVING_STATE_SERVING: ServingState
SERVING_STATE_NOT_SERVING: ServingState
SERVING_STATE_ABSENT: ServingState

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
    __slots__ = ("model", "screening", "archive", "reason", "uptime_s", "workers_ready", "workers_wanted", "workers_lost", "queued_studies", "queued_bytes", "self_test_passed")
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
    def __init__(self, model: _Optional[_Union[_model_pb2.ModelRef, _Mapping]] = ..., screening: _Optional[_Union[ServingState, str]] = ..., archive: _Optional[_Union[ServingState, str]] = ..., reason: _Optional[str] = ..., uptime_s: _Optional[float] = ..., workers_ready: _Optional[int] = ..., workers_wanted: _Optional[int] = ..., workers_lost: _Optional[int] = ..., queued_studies: _Optional[int] = ..., queued_bytes: _Optional[int] = ..., self_test_passed: _Optional[bool] = ...) -> None: ...

from . import model_pb2 as _model_pb2
from . import screening_pb2 as _screening_pb2
from . import study_pb2 as _study_pb2
from google.protobuf import field_mask_pb2 as _field_mask_pb2
from google.rpc import status_pb2 as _status_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Fact(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FACT_UNSPECIFIED: _ClassVar[Fact]
    FACT_ID: _ClassVar[Fact]
    FACT_PATIENT: _ClassVar[Fact]
    FACT_CAMERA: _ClassVar[Fact]
    FACT_SITE: _ClassVar[Fact]
    FACT_SOURCE: _ClassVar[Fact]
FACT_UNSPECIFIED: Fact
FACT_ID: Fact
FACT_PATIENT: Fact
FACT_CAMERA: Fact
FACT_SITE: Fact
FACT_SOURCE: Fact

class Facts(_message.Message):
    __slots__ = ("id", "patient", "eye", "camera", "site", "acquired", "icdr", "referral", "source", "attributes")
    class AttributesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    PATIENT_FIELD_NUMBER: _ClassVar[int]
    EYE_FIELD_NUMBER: _ClassVar[int]
    CAMERA_FIELD_NUMBER: _ClassVar[int]
    SITE_FIELD_NUMBER: _ClassVar[int]
    ACQUIRED_FIELD_NUMBER: _ClassVar[int]
    ICDR_FIELD_NUMBER: _ClassVar[int]
    REFERRAL_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    id: str
    patient: str
    eye: _study_pb2.Eye
    camera: str
    site: str
    acquired: str
    icdr: _screening_pb2.IcdrGrade
    referral: _screening_pb2.Referral
    source: str
    attributes: _containers.ScalarMap[str, str]
    def __init__(self, id: _Optional[str] = ..., patient: _Optional[str] = ..., eye: _Optional[_Union[_study_pb2.Eye, str]] = ..., camera: _Optional[str] = ..., site: _Optional[str] = ..., acquired: _Optional[str] = ..., icdr: _Optional[_Union[_screening_pb2.IcdrGrade, str]] = ..., referral: _Optional[_Union[_screening_pb2.Referral, str]] = ..., source: _Optional[str] = ..., attributes: _Optional[_Mapping[str, str]] = ...) -> None: ...

class Entry(_message.Message):
    __slots__ = ("facts", "study", "vectors")
    FACTS_FIELD_NUMBER: _ClassVar[int]
    STUDY_FIELD_NUMBER: _ClassVar[int]
    VECTORS_FIELD_NUMBER: _ClassVar[int]
    facts: Facts
    study: _study_pb2.Study
    vectors: VectorSet
    def __init__(self, facts: _Optional[_Union[Facts, _Mapping]] = ..., study: _Optional[_Union[_study_pb2.Study, _Mapping]] = ..., vectors: _Optional[_Union[VectorSet, _Mapping]] = ...) -> None: ...

class VectorSet(_message.Message):
    __slots__ = ("vectors",)
    VECTORS_FIELD_NUMBER: _ClassVar[int]
    vectors: _containers.RepeatedCompositeFieldContainer[_screening_pb2.Vector]
    def __init__(self, vectors: _Optional[_Iterable[_Union[_screening_pb2.Vector, _Mapping]]] = ...) -> None: ...

class UpsertRequest(_message.Message):
    __slots__ = ("entries", "kinds", "space_id")
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    KINDS_FIELD_NUMBER: _ClassVar[int]
    SPACE_ID_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[Entry]
    kinds: _containers.RepeatedScalarFieldContainer[_study_pb2.VectorKind]
    space_id: str
    def __init__(self, entries: _Optional[_Iterable[_Union[Entry, _Mapping]]] = ..., kinds: _Optional[_Iterable[_Union[_study_pb2.VectorKind, str]]] = ..., space_id: _Optional[str] = ...) -> None: ...

class UpsertResponse(_message.Message):
    __slots__ = ("results", "model")
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[UpsertResult]
    model: _model_pb2.ModelRef
    def __init__(self, results: _Optional[_Iterable[_Union[UpsertResult, _Mapping]]] = ..., model: _Optional[_Union[_model_pb2.ModelRef, _Mapping]] = ...) -> None: ...

class UpsertResult(_message.Message):
    __slots__ = ("id", "stored", "error")
    ID_FIELD_NUMBER: _ClassVar[int]
    STORED_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    id: str
    stored: Stored
    error: _status_pb2.Status
    def __init__(self, id: _Optional[str] = ..., stored: _Optional[_Union[Stored, _Mapping]] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ...) -> None: ...

class Stored(_message.Message):
    __slots__ = ("kinds", "quality")
    KINDS_FIELD_NUMBER: _ClassVar[int]
    QUALITY_FIELD_NUMBER: _ClassVar[int]
    kinds: _containers.RepeatedScalarFieldContainer[_study_pb2.VectorKind]
    quality: _screening_pb2.ImageQuality
    def __init__(self, kinds: _Optional[_Iterable[_Union[_study_pb2.VectorKind, str]]] = ..., quality: _Optional[_Union[_screening_pb2.ImageQuality, _Mapping]] = ...) -> None: ...

class UpsertStreamRequest(_message.Message):
    __slots__ = ("entry", "kinds", "space_id", "sequence")
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    KINDS_FIELD_NUMBER: _ClassVar[int]
    SPACE_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    entry: Entry
    kinds: _containers.RepeatedScalarFieldContainer[_study_pb2.VectorKind]
    space_id: str
    sequence: int
    def __init__(self, entry: _Optional[_Union[Entry, _Mapping]] = ..., kinds: _Optional[_Iterable[_Union[_study_pb2.VectorKind, str]]] = ..., space_id: _Optional[str] = ..., sequence: _Optional[int] = ...) -> None: ...

class UpsertStreamResponse(_message.Message):
    __slots__ = ("result", "sequence")
    RESULT_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    result: UpsertResult
    sequence: int
    def __init__(self, result: _Optional[_Union[UpsertResult, _Mapping]] = ..., sequence: _Optional[int] = ...) -> None: ...

class UpdateFactsRequest(_message.Message):
    __slots__ = ("facts", "update_mask")
    FACTS_FIELD_NUMBER: _ClassVar[int]
    UPDATE_MASK_FIELD_NUMBER: _ClassVar[int]
    facts: Facts
    update_mask: _field_mask_pb2.FieldMask
    def __init__(self, facts: _Optional[_Union[Facts, _Mapping]] = ..., update_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ...) -> None: ...

class UpdateFactsResponse(_message.Message):
    __slots__ = ("entry",)
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    entry: StoredEntry
    def __init__(self, entry: _Optional[_Union[StoredEntry, _Mapping]] = ...) -> None: ...

class DeleteRequest(_message.Message):
    __slots__ = ("ids", "kind")
    IDS_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    ids: _containers.RepeatedScalarFieldContainer[str]
    kind: _study_pb2.VectorKind
    def __init__(self, ids: _Optional[_Iterable[str]] = ..., kind: _Optional[_Union[_study_pb2.VectorKind, str]] = ...) -> None: ...

class DeleteResponse(_message.Message):
    __slots__ = ("removed", "removed_entries")
    REMOVED_FIELD_NUMBER: _ClassVar[int]
    REMOVED_ENTRIES_FIELD_NUMBER: _ClassVar[int]
    removed: int
    removed_entries: int
    def __init__(self, removed: _Optional[int] = ..., removed_entries: _Optional[int] = ...) -> None: ...

class DeleteByFilterRequest(_message.Message):
    __slots__ = ("filter", "dry_run")
    FILTER_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    filter: Filter
    dry_run: bool
    def __init__(self, filter: _Optional[_Union[Filter, _Mapping]] = ..., dry_run: _Optional[bool] = ...) -> None: ...

class DeleteByFilterResponse(_message.Message):
    __slots__ = ("entries", "vectors", "dry_run")
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    VECTORS_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    entries: int
    vectors: int
    dry_run: bool
    def __init__(self, entries: _Optional[int] = ..., vectors: _Optional[int] = ..., dry_run: _Optional[bool] = ...) -> None: ...

class GetRequest(_message.Message):
    __slots__ = ("ids", "kind", "with_vectors", "page_size", "page_token")
    IDS_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    WITH_VECTORS_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    ids: _containers.RepeatedScalarFieldContainer[str]
    kind: _study_pb2.VectorKind
    with_vectors: bool
    page_size: int
    page_token: str
    def __init__(self, ids: _Optional[_Iterable[str]] = ..., kind: _Optional[_Union[_study_pb2.VectorKind, str]] = ..., with_vectors: _Optional[bool] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class GetResponse(_message.Message):
    __slots__ = ("entries", "next_page_token")
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[StoredEntry]
    next_page_token: str
    def __init__(self, entries: _Optional[_Iterable[_Union[StoredEntry, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class ListRequest(_message.Message):
    __slots__ = ("filter", "with_vectors", "page_size", "page_token")
    FILTER_FIELD_NUMBER: _ClassVar[int]
    WITH_VECTORS_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    filter: Filter
    with_vectors: bool
    page_size: int
    page_token: str
    def __init__(self, filter: _Optional[_Union[Filter, _Mapping]] = ..., with_vectors: _Optional[bool] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListResponse(_message.Message):
    __slots__ = ("entries", "next_page_token")
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[StoredEntry]
    next_page_token: str
    def __init__(self, entries: _Optional[_Iterable[_Union[StoredEntry, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class StoredEntry(_message.Message):
    __slots__ = ("facts", "kinds", "vectors", "precision", "content_sha256")
    FACTS_FIELD_NUMBER: _ClassVar[int]
    KINDS_FIELD_NUMBER: _ClassVar[int]
    VECTORS_FIELD_NUMBER: _ClassVar[int]
    PRECISION_FIELD_NUMBER: _ClassVar[int]
    CONTENT_SHA256_FIELD_NUMBER: _ClassVar[int]
    facts: Facts
    kinds: _containers.RepeatedScalarFieldContainer[_study_pb2.VectorKind]
    vectors: _containers.RepeatedCompositeFieldContainer[_screening_pb2.Vector]
    precision: _model_pb2.Precision
    content_sha256: bytes
    def __init__(self, facts: _Optional[_Union[Facts, _Mapping]] = ..., kinds: _Optional[_Iterable[_Union[_study_pb2.VectorKind, str]]] = ..., vectors: _Optional[_Iterable[_Union[_screening_pb2.Vector, _Mapping]]] = ..., precision: _Optional[_Union[_model_pb2.Precision, str]] = ..., content_sha256: _Optional[bytes] = ...) -> None: ...

class SearchRequest(_message.Message):
    __slots__ = ("study", "vector", "id", "query_kind", "target_kind", "k", "filter", "exact", "with_vectors", "space_id")
    STUDY_FIELD_NUMBER: _ClassVar[int]
    VECTOR_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    QUERY_KIND_FIELD_NUMBER: _ClassVar[int]
    TARGET_KIND_FIELD_NUMBER: _ClassVar[int]
    K_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    EXACT_FIELD_NUMBER: _ClassVar[int]
    WITH_VECTORS_FIELD_NUMBER: _ClassVar[int]
    SPACE_ID_FIELD_NUMBER: _ClassVar[int]
    study: _study_pb2.Study
    vector: _screening_pb2.Vector
    id: str
    query_kind: _study_pb2.VectorKind
    target_kind: _study_pb2.VectorKind
    k: int
    filter: Filter
    exact: bool
    with_vectors: bool
    space_id: str
    def __init__(self, study: _Optional[_Union[_study_pb2.Study, _Mapping]] = ..., vector: _Optional[_Union[_screening_pb2.Vector, _Mapping]] = ..., id: _Optional[str] = ..., query_kind: _Optional[_Union[_study_pb2.VectorKind, str]] = ..., target_kind: _Optional[_Union[_study_pb2.VectorKind, str]] = ..., k: _Optional[int] = ..., filter: _Optional[_Union[Filter, _Mapping]] = ..., exact: _Optional[bool] = ..., with_vectors: _Optional[bool] = ..., space_id: _Optional[str] = ...) -> None: ...

class SearchResponse(_message.Message):
    __slots__ = ("hits", "exact", "query_kind", "target_kind")
    HITS_FIELD_NUMBER: _ClassVar[int]
    EXACT_FIELD_NUMBER: _ClassVar[int]
    QUERY_KIND_FIELD_NUMBER: _ClassVar[int]
    TARGET_KIND_FIELD_NUMBER: _ClassVar[int]
    hits: _containers.RepeatedCompositeFieldContainer[Hit]
    exact: bool
    query_kind: _study_pb2.VectorKind
    target_kind: _study_pb2.VectorKind
    def __init__(self, hits: _Optional[_Iterable[_Union[Hit, _Mapping]]] = ..., exact: _Optional[bool] = ..., query_kind: _Optional[_Union[_study_pb2.VectorKind, str]] = ..., target_kind: _Optional[_Union[_study_pb2.VectorKind, str]] = ...) -> None: ...

class Hit(_message.Message):
    __slots__ = ("score", "entry")
    SCORE_FIELD_NUMBER: _ClassVar[int]
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    score: float
    entry: StoredEntry
    def __init__(self, score: _Optional[float] = ..., entry: _Optional[_Union[StoredEntry, _Mapping]] = ...) -> None: ...

class Filter(_message.Message):
    __slots__ = ("all", "any", "fact", "acquired", "icdr", "referral", "attribute", "eye", "precision")
    ALL_FIELD_NUMBER: _ClassVar[int]
    ANY_FIELD_NUMBER: _ClassVar[int]
    NOT_FIELD_NUMBER: _ClassVar[int]
    FACT_FIELD_NUMBER: _ClassVar[int]
    ACQUIRED_FIELD_NUMBER: _ClassVar[int]
    ICDR_FIELD_NUMBER: _ClassVar[int]
    REFERRAL_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTE_FIELD_NUMBER: _ClassVar[int]
    EYE_FIELD_NUMBER: _ClassVar[int]
    PRECISION_FIELD_NUMBER: _ClassVar[int]
    all: FilterList
    any: FilterList
    fact: FactIn
    acquired: DateRange
    icdr: GradeRange
    referral: _screening_pb2.Referral
    attribute: AttributeEquals
    eye: _study_pb2.Eye
    precision: _model_pb2.Precision
    def __init__(self, all: _Optional[_Union[FilterList, _Mapping]] = ..., any: _Optional[_Union[FilterList, _Mapping]] = ..., fact: _Optional[_Union[FactIn, _Mapping]] = ..., acquired: _Optional[_Union[DateRange, _Mapping]] = ..., icdr: _Optional[_Union[GradeRange, _Mapping]] = ..., referral: _Optional[_Union[_screening_pb2.Referral, str]] = ..., attribute: _Optional[_Union[AttributeEquals, _Mapping]] = ..., eye: _Optional[_Union[_study_pb2.Eye, str]] = ..., precision: _Optional[_Union[_model_pb2.Precision, str]] = ..., **kwargs) -> None: ...

class FilterList(_message.Message):
    __slots__ = ("filters",)
    FILTERS_FIELD_NUMBER: _ClassVar[int]
    filters: _containers.RepeatedCompositeFieldContainer[Filter]
    def __init__(self, filters: _Optional[_Iterable[_Union[Filter, _Mapping]]] = ...) -> None: ...

class FactIn(_message.Message):
    __slots__ = ("fact", "values")
    FACT_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    fact: Fact
    values: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, fact: _Optional[_Union[Fact, str]] = ..., values: _Optional[_Iterable[str]] = ...) -> None: ...

class DateRange(_message.Message):
    __slots__ = ("to",)
    FROM_FIELD_NUMBER: _ClassVar[int]
    TO_FIELD_NUMBER: _ClassVar[int]
    to: str
    def __init__(self, to: _Optional[str] = ..., **kwargs) -> None: ...

class GradeRange(_message.Message):
    __slots__ = ("at_least", "at_most")
    AT_LEAST_FIELD_NUMBER: _ClassVar[int]
    AT_MOST_FIELD_NUMBER: _ClassVar[int]
    at_least: _screening_pb2.IcdrGrade
    at_most: _screening_pb2.IcdrGrade
    def __init__(self, at_least: _Optional[_Union[_screening_pb2.IcdrGrade, str]] = ..., at_most: _Optional[_Union[_screening_pb2.IcdrGrade, str]] = ...) -> None: ...

class AttributeEquals(_message.Message):
    __slots__ = ("key", "value")
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    key: str
    value: str
    def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...

class StatsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class StatsResponse(_message.Message):
    __slots__ = ("space_id", "entries", "counts", "bytes_on_disk", "server_version", "collection")
    SPACE_ID_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    BYTES_ON_DISK_FIELD_NUMBER: _ClassVar[int]
    SERVER_VERSION_FIELD_NUMBER: _ClassVar[int]
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    space_id: str
    entries: int
    counts: _containers.RepeatedCompositeFieldContainer[KindCount]
    bytes_on_disk: int
    server_version: str
    collection: str
    def __init__(self, space_id: _Optional[str] = ..., entries: _Optional[int] = ..., counts: _Optional[_Iterable[_Union[KindCount, _Mapping]]] = ..., bytes_on_disk: _Optional[int] = ..., server_version: _Optional[str] = ..., collection: _Optional[str] = ...) -> None: ...

class KindCount(_message.Message):
    __slots__ = ("kind", "count", "indexed", "recall")
    KIND_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    INDEXED_FIELD_NUMBER: _ClassVar[int]
    RECALL_FIELD_NUMBER: _ClassVar[int]
    kind: _study_pb2.VectorKind
    count: int
    indexed: bool
    recall: float
    def __init__(self, kind: _Optional[_Union[_study_pb2.VectorKind, str]] = ..., count: _Optional[int] = ..., indexed: _Optional[bool] = ..., recall: _Optional[float] = ...) -> None: ...

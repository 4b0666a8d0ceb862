from . import study_pb2 as _study_pb2
from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Precision(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PRECISION_UNSPECIFIED: _ClassVar[Precision]
    PRECISION_FP32: _ClassVar[Precision]
    PRECISION_FP16: _ClassVar[Precision]
    PRECISION_INT8: _ClassVar[Precision]

class Provider(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PROVIDER_UNSPECIFIED: _ClassVar[Provider]
    PROVIDER_CPU: _ClassVar[Provider]
    PROVIDER_CUDA: _ClassVar[Provider]
    PROVIDER_TENSORRT: _ClassVar[Provider]
    PROVIDER_TENSORRT_RTX: _ClassVar[Provider]
    PROVIDER_OPENVINO: _ClassVar[Provider]

class EvidenceStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EVIDENCE_STATUS_UNSPECIFIED: _ClassVar[EvidenceStatus]
    EVIDENCE_STATUS_PROVEN: _ClassVar[EvidenceStatus]
    EVIDENCE_STATUS_CHANCE: _ClassVar[EvidenceStatus]
    EVIDENCE_STATUS_UNVERIFIED: _ClassVar[EvidenceStatus]

class Crop(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CROP_UNSPECIFIED: _ClassVar[Crop]
    CROP_FIELD: _ClassVar[Crop]
    CROP_NONE: _ClassVar[Crop]
PRECISION_UNSPECIFIED: Precision
PRECISION_FP32: Precision
PRECISION_FP16: Precision
PRECISION_INT8: Precision
PROVIDER_UNSPECIFIED: Provider
PROVIDER_CPU: Provider
PROVIDER_CUDA: Provider
PROVIDER_TENSORRT: Provider
PROVIDER_TENSORRT_RTX: Provider
PROVIDER_OPENVINO: Provider
EVIDENCE_STATUS_UNSPECIFIED: EvidenceStatus
EVIDENCE_STATUS_PROVEN: EvidenceStatus
EVIDENCE_STATUS_CHANCE: EvidenceStatus
EVIDENCE_STATUS_UNVERIFIED: EvidenceStatus
CROP_UNSPECIFIED: Crop
CROP_FIELD: Crop
CROP_NONE: Crop

class ModelRef(_message.Message):
    __slots__ = ("bundle_sha256", "space_id", "precision", "foveal_version", "signature_verified")
    BUNDLE_SHA256_FIELD_NUMBER: _ClassVar[int]
    SPACE_ID_FIELD_NUMBER: _ClassVar[int]
    PRECISION_FIELD_NUMBER: _ClassVar[int]
    FOVEAL_VERSION_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_VERIFIED_FIELD_NUMBER: _ClassVar[int]
    bundle_sha256: str
    space_id: str
    precision: Precision
    foveal_version: str
    signature_verified: bool
    def __init__(self, bundle_sha256: _Optional[str] = ..., space_id: _Optional[str] = ..., precision: _Optional[_Union[Precision, str]] = ..., foveal_version: _Optional[str] = ..., signature_verified: _Optional[bool] = ...) -> None: ...

class GetModelRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetModelResponse(_message.Message):
    __slots__ = ("model", "profile", "provider", "workers", "threads", "embedding_dim", "image", "text", "trained_heads", "trained_subsets", "aligned_modalities", "operating_points", "tolerances", "parity", "limits", "evidence", "trained_on", "warnings", "variants", "evidence_maps")
    class OperatingPointsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: OperatingPoints
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[OperatingPoints, _Mapping]] = ...) -> None: ...
    class EvidenceEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: SubsetEvidence
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[SubsetEvidence, _Mapping]] = ...) -> None: ...
    class VariantsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    THREADS_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_DIM_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    TRAINED_HEADS_FIELD_NUMBER: _ClassVar[int]
    TRAINED_SUBSETS_FIELD_NUMBER: _ClassVar[int]
    ALIGNED_MODALITIES_FIELD_NUMBER: _ClassVar[int]
    OPERATING_POINTS_FIELD_NUMBER: _ClassVar[int]
    TOLERANCES_FIELD_NUMBER: _ClassVar[int]
    PARITY_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    TRAINED_ON_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    VARIANTS_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_MAPS_FIELD_NUMBER: _ClassVar[int]
    model: ModelRef
    profile: str
    provider: Provider
    workers: int
    threads: int
    embedding_dim: int
    image: ImagePreprocessing
    text: TextPreprocessing
    trained_heads: _containers.RepeatedScalarFieldContainer[str]
    trained_subsets: _containers.RepeatedScalarFieldContainer[str]
    aligned_modalities: _containers.RepeatedScalarFieldContainer[_study_pb2.Modality]
    operating_points: _containers.MessageMap[str, OperatingPoints]
    tolerances: Tolerances
    parity: _struct_pb2.Struct
    limits: Limits
    evidence: _containers.MessageMap[str, SubsetEvidence]
    trained_on: TrainedOn
    warnings: _containers.RepeatedScalarFieldContainer[str]
    variants: _containers.ScalarMap[str, str]
    evidence_maps: bool
    def __init__(self, model: _Optional[_Union[ModelRef, _Mapping]] = ..., profile: _Optional[str] = ..., provider: _Optional[_Union[Provider, str]] = ..., workers: _Optional[int] = ..., threads: _Optional[int] = ..., embedding_dim: _Optional[int] = ..., image: _Optional[_Union[ImagePreprocessing, _Mapping]] = ..., text: _Optional[_Union[TextPreprocessing, _Mapping]] = ..., trained_heads: _Optional[_Iterable[str]] = ..., trained_subsets: _Optional[_Iterable[str]] = ..., aligned_modalities: _Optional[_Iterable[_Union[_study_pb2.Modality, str]]] = ..., operating_points: _Optional[_Mapping[str, OperatingPoints]] = ..., tolerances: _Optional[_Union[Tolerances, _Mapping]] = ..., parity: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., limits: _Optional[_Union[Limits, _Mapping]] = ..., evidence: _Optional[_Mapping[str, SubsetEvidence]] = ..., trained_on: _Optional[_Union[TrainedOn, _Mapping]] = ..., warnings: _Optional[_Iterable[str]] = ..., variants: _Optional[_Mapping[str, str]] = ..., evidence_maps: _Optional[bool] = ...) -> None: ...

class TrainedOn(_message.Message):
    __slots__ = ("datasets", "studies", "patients", "validation_studies", "cameras")
    DATASETS_FIELD_NUMBER: _ClassVar[int]
    STUDIES_FIELD_NUMBER: _ClassVar[int]
    PATIENTS_FIELD_NUMBER: _ClassVar[int]
    VALIDATION_STUDIES_FIELD_NUMBER: _ClassVar[int]
    CAMERAS_FIELD_NUMBER: _ClassVar[int]
    datasets: _containers.RepeatedScalarFieldContainer[str]
    studies: int
    patients: int
    validation_studies: int
    cameras: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, datasets: _Optional[_Iterable[str]] = ..., studies: _Optional[int] = ..., patients: _Optional[int] = ..., validation_studies: _Optional[int] = ..., cameras: _Optional[_Iterable[str]] = ...) -> None: ...

class SubsetEvidence(_message.Message):
    __slots__ = ("heads",)
    class HeadsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: HeadEvidence
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[HeadEvidence, _Mapping]] = ...) -> None: ...
    HEADS_FIELD_NUMBER: _ClassVar[int]
    heads: _containers.MessageMap[str, HeadEvidence]
    def __init__(self, heads: _Optional[_Mapping[str, HeadEvidence]] = ...) -> None: ...

class HeadEvidence(_message.Message):
    __slots__ = ("status", "studies", "positives", "kappa", "kappa_low", "kappa_high", "auroc", "auroc_low", "auroc_high")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    STUDIES_FIELD_NUMBER: _ClassVar[int]
    POSITIVES_FIELD_NUMBER: _ClassVar[int]
    KAPPA_FIELD_NUMBER: _ClassVar[int]
    KAPPA_LOW_FIELD_NUMBER: _ClassVar[int]
    KAPPA_HIGH_FIELD_NUMBER: _ClassVar[int]
    AUROC_FIELD_NUMBER: _ClassVar[int]
    AUROC_LOW_FIELD_NUMBER: _ClassVar[int]
    AUROC_HIGH_FIELD_NUMBER: _ClassVar[int]
    status: EvidenceStatus
    studies: int
    positives: int
    kappa: float
    kappa_low: float
    kappa_high: float
    auroc: float
    auroc_low: float
    auroc_high: float
    def __init__(self, status: _Optional[_Union[EvidenceStatus, str]] = ..., studies: _Optional[int] = ..., positives: _Optional[int] = ..., kappa: _Optional[float] = ..., kappa_low: _Optional[float] = ..., kappa_high: _Optional[float] = ..., auroc: _Optional[float] = ..., auroc_low: _Optional[float] = ..., auroc_high: _Optional[float] = ...) -> None: ...

class ImagePreprocessing(_message.Message):
    __slots__ = ("side_px", "crop", "mean", "std", "decode", "resample")
    SIDE_PX_FIELD_NUMBER: _ClassVar[int]
    CROP_FIELD_NUMBER: _ClassVar[int]
    MEAN_FIELD_NUMBER: _ClassVar[int]
    STD_FIELD_NUMBER: _ClassVar[int]
    DECODE_FIELD_NUMBER: _ClassVar[int]
    RESAMPLE_FIELD_NUMBER: _ClassVar[int]
    side_px: int
    crop: Crop
    mean: _containers.RepeatedScalarFieldContainer[float]
    std: _containers.RepeatedScalarFieldContainer[float]
    decode: str
    resample: str
    def __init__(self, side_px: _Optional[int] = ..., crop: _Optional[_Union[Crop, str]] = ..., mean: _Optional[_Iterable[float]] = ..., std: _Optional[_Iterable[float]] = ..., decode: _Optional[str] = ..., resample: _Optional[str] = ...) -> None: ...

class TextPreprocessing(_message.Message):
    __slots__ = ("max_tokens", "kept_tokens")
    MAX_TOKENS_FIELD_NUMBER: _ClassVar[int]
    KEPT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    max_tokens: int
    kept_tokens: int
    def __init__(self, max_tokens: _Optional[int] = ..., kept_tokens: _Optional[int] = ...) -> None: ...

class OperatingPoints(_message.Message):
    __slots__ = ("points",)
    POINTS_FIELD_NUMBER: _ClassVar[int]
    points: _containers.RepeatedCompositeFieldContainer[OperatingPoint]
    def __init__(self, points: _Optional[_Iterable[_Union[OperatingPoint, _Mapping]]] = ...) -> None: ...

class OperatingPoint(_message.Message):
    __slots__ = ("name", "threshold", "sensitivity", "specificity", "studies", "sensitivity_low", "patients")
    NAME_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    SENSITIVITY_FIELD_NUMBER: _ClassVar[int]
    SPECIFICITY_FIELD_NUMBER: _ClassVar[int]
    STUDIES_FIELD_NUMBER: _ClassVar[int]
    SENSITIVITY_LOW_FIELD_NUMBER: _ClassVar[int]
    PATIENTS_FIELD_NUMBER: _ClassVar[int]
    name: str
    threshold: float
    sensitivity: float
    specificity: float
    studies: int
    sensitivity_low: float
    patients: int
    def __init__(self, name: _Optional[str] = ..., threshold: _Optional[float] = ..., sensitivity: _Optional[float] = ..., specificity: _Optional[float] = ..., studies: _Optional[int] = ..., sensitivity_low: _Optional[float] = ..., patients: _Optional[int] = ...) -> None: ...

class Tolerances(_message.Message):
    __slots__ = ("min_cosine", "max_abs_embedding", "max_abs_probability", "icdr_flips", "referable_flips", "neighbour_dependence", "golden_cosine", "sdrg_flips", "tie_margin", "probability", "referable_shift", "kappa_drop", "sensitivity_drop", "calibration_rise", "neighbour_overlap")
    MIN_COSINE_FIELD_NUMBER: _ClassVar[int]
    MAX_ABS_EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    MAX_ABS_PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    ICDR_FLIPS_FIELD_NUMBER: _ClassVar[int]
    REFERABLE_FLIPS_FIELD_NUMBER: _ClassVar[int]
    NEIGHBOUR_DEPENDENCE_FIELD_NUMBER: _ClassVar[int]
    GOLDEN_COSINE_FIELD_NUMBER: _ClassVar[int]
    SDRG_FLIPS_FIELD_NUMBER: _ClassVar[int]
    TIE_MARGIN_FIELD_NUMBER: _ClassVar[int]
    PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    REFERABLE_SHIFT_FIELD_NUMBER: _ClassVar[int]
    KAPPA_DROP_FIELD_NUMBER: _ClassVar[int]
    SENSITIVITY_DROP_FIELD_NUMBER: _ClassVar[int]
    CALIBRATION_RISE_FIELD_NUMBER: _ClassVar[int]
    NEIGHBOUR_OVERLAP_FIELD_NUMBER: _ClassVar[int]
    min_cosine: float
    max_abs_embedding: float
    max_abs_probability: float
    icdr_flips: float
    referable_flips: float
    neighbour_dependence: float
    golden_cosine: float
    sdrg_flips: float
    tie_margin: float
    probability: float
    referable_shift: float
    kappa_drop: float
    sensitivity_drop: float
    calibration_rise: float
    neighbour_overlap: float
    def __init__(self, min_cosine: _Optional[float] = ..., max_abs_embedding: _Optional[float] = ..., max_abs_probability: _Optional[float] = ..., icdr_flips: _Optional[float] = ..., referable_flips: _Optional[float] = ..., neighbour_dependence: _Optional[float] = ..., golden_cosine: _Optional[float] = ..., sdrg_flips: _Optional[float] = ..., tie_margin: _Optional[float] = ..., probability: _Optional[float] = ..., referable_shift: _Optional[float] = ..., kappa_drop: _Optional[float] = ..., sensitivity_drop: _Optional[float] = ..., calibration_rise: _Optional[float] = ..., neighbour_overlap: _Optional[float] = ...) -> None: ...

class Limits(_message.Message):
    __slots__ = ("max_message_bytes", "max_studies", "max_image_pixels", "max_queued_studies", "max_queued_bytes", "stream_window", "max_hits", "max_ids", "max_page_entries", "max_filter_nodes", "max_archive_calls", "max_calls", "max_calls_per_caller", "max_calls_per_s", "max_received_bytes", "max_decode_s", "max_decoded_bytes", "max_lost_workers_per_caller", "lost_workers_s", "max_filter_depth", "max_elements")
    class MaxElementsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    MAX_MESSAGE_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_STUDIES_FIELD_NUMBER: _ClassVar[int]
    MAX_IMAGE_PIXELS_FIELD_NUMBER: _ClassVar[int]
    MAX_QUEUED_STUDIES_FIELD_NUMBER: _ClassVar[int]
    MAX_QUEUED_BYTES_FIELD_NUMBER: _ClassVar[int]
    STREAM_WINDOW_FIELD_NUMBER: _ClassVar[int]
    MAX_HITS_FIELD_NUMBER: _ClassVar[int]
    MAX_IDS_FIELD_NUMBER: _ClassVar[int]
    MAX_PAGE_ENTRIES_FIELD_NUMBER: _ClassVar[int]
    MAX_FILTER_NODES_FIELD_NUMBER: _ClassVar[int]
    MAX_ARCHIVE_CALLS_FIELD_NUMBER: _ClassVar[int]
    MAX_CALLS_FIELD_NUMBER: _ClassVar[int]
    MAX_CALLS_PER_CALLER_FIELD_NUMBER: _ClassVar[int]
    MAX_CALLS_PER_S_FIELD_NUMBER: _ClassVar[int]
    MAX_RECEIVED_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_DECODE_S_FIELD_NUMBER: _ClassVar[int]
    MAX_DECODED_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_LOST_WORKERS_PER_CALLER_FIELD_NUMBER: _ClassVar[int]
    LOST_WORKERS_S_FIELD_NUMBER: _ClassVar[int]
    MAX_FILTER_DEPTH_FIELD_NUMBER: _ClassVar[int]
    MAX_ELEMENTS_FIELD_NUMBER: _ClassVar[int]
    max_message_bytes: int
    max_studies: int
    max_image_pixels: int
    max_queued_studies: int
    max_queued_bytes: int
    stream_window: int
    max_hits: int
    max_ids: int
    max_page_entries: int
    max_filter_nodes: int
    max_archive_calls: int
    max_calls: int
    max_calls_per_caller: int
    max_calls_per_s: float
    max_received_bytes: int
    max_decode_s: float
    max_decoded_bytes: int
    max_lost_workers_per_caller: int
    lost_workers_s: float
    max_filter_depth: int
    max_elements: _containers.ScalarMap[str, int]
    def __init__(self, max_message_bytes: _Optional[int] = ..., max_studies: _Optional[int] = ..., max_image_pixels: _Optional[int] = ..., max_queued_studies: _Optional[int] = ..., max_queued_bytes: _Optional[int] = ..., stream_window: _Optional[int] = ..., max_hits: _Optional[int] = ..., max_ids: _Optional[int] = ..., max_page_entries: _Optional[int] = ..., max_filter_nodes: _Optional[int] = ..., max_archive_calls: _Optional[int] = ..., max_calls: _Optional[int] = ..., max_calls_per_caller: _Optional[int] = ..., max_calls_per_s: _Optional[float] = ..., max_received_bytes: _Optional[int] = ..., max_decode_s: _Optional[float] = ..., max_decoded_bytes: _Optional[int] = ..., max_lost_workers_per_caller: _Optional[int] = ..., lost_workers_s: _Optional[float] = ..., max_filter_depth: _Optional[int] = ..., max_elements: _Optional[_Mapping[str, int]] = ...) -> None: ...

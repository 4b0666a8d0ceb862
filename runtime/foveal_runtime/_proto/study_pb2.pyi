from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SampleType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SAMPLE_TYPE_UNSPECIFIED: _ClassVar[SampleType]
    SAMPLE_TYPE_UINT8: _ClassVar[SampleType]
    SAMPLE_TYPE_UINT16: _ClassVar[SampleType]
    SAMPLE_TYPE_FLOAT32: _ClassVar[SampleType]

class Sex(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SEX_UNSPECIFIED: _ClassVar[Sex]
    SEX_MALE: _ClassVar[Sex]
    SEX_FEMALE: _ClassVar[Sex]

class Eye(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EYE_UNSPECIFIED: _ClassVar[Eye]
    EYE_RIGHT: _ClassVar[Eye]
    EYE_LEFT: _ClassVar[Eye]

class Modality(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MODALITY_UNSPECIFIED: _ClassVar[Modality]
    MODALITY_IMAGE: _ClassVar[Modality]
    MODALITY_TEXT: _ClassVar[Modality]
    MODALITY_STRUCTURED: _ClassVar[Modality]

class VectorKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    VECTOR_KIND_UNSPECIFIED: _ClassVar[VectorKind]
    VECTOR_KIND_JOINT: _ClassVar[VectorKind]
    VECTOR_KIND_IMAGE: _ClassVar[VectorKind]
    VECTOR_KIND_TEXT: _ClassVar[VectorKind]
    VECTOR_KIND_STRUCTURED: _ClassVar[VectorKind]
SAMPLE_TYPE_UNSPECIFIED: SampleType
SAMPLE_TYPE_UINT8: SampleType
SAMPLE_TYPE_UINT16: SampleType
SAMPLE_TYPE_FLOAT32: SampleType
SEX_UNSPECIFIED: Sex
SEX_MALE: Sex
SEX_FEMALE: Sex
EYE_UNSPECIFIED: Eye
EYE_RIGHT: Eye
EYE_LEFT: Eye
MODALITY_UNSPECIFIED: Modality
MODALITY_IMAGE: Modality
MODALITY_TEXT: Modality
MODALITY_STRUCTURED: Modality
VECTOR_KIND_UNSPECIFIED: VectorKind
VECTOR_KIND_JOINT: VectorKind
VECTOR_KIND_IMAGE: VectorKind
VECTOR_KIND_TEXT: VectorKind
VECTOR_KIND_STRUCTURED: VectorKind

class Study(_message.Message):
    __slots__ = ("id", "image", "note", "record")
    ID_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    RECORD_FIELD_NUMBER: _ClassVar[int]
    id: str
    image: Image
    note: str
    record: Record
    def __init__(self, id: _Optional[str] = ..., image: _Optional[_Union[Image, _Mapping]] = ..., note: _Optional[str] = ..., record: _Optional[_Union[Record, _Mapping]] = ...) -> None: ...

class Image(_message.Message):
    __slots__ = ("encoded", "raw")
    ENCODED_FIELD_NUMBER: _ClassVar[int]
    RAW_FIELD_NUMBER: _ClassVar[int]
    encoded: bytes
    raw: RawImage
    def __init__(self, encoded: _Optional[bytes] = ..., raw: _Optional[_Union[RawImage, _Mapping]] = ...) -> None: ...

class RawImage(_message.Message):
    __slots__ = ("pixels", "width", "height", "sample_type")
    PIXELS_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_TYPE_FIELD_NUMBER: _ClassVar[int]
    pixels: bytes
    width: int
    height: int
    sample_type: SampleType
    def __init__(self, pixels: _Optional[bytes] = ..., width: _Optional[int] = ..., height: _Optional[int] = ..., sample_type: _Optional[_Union[SampleType, str]] = ...) -> None: ...

class Record(_message.Message):
    __slots__ = ("age_years", "sex", "eye", "diabetes_years", "insulin", "diabetes")
    AGE_YEARS_FIELD_NUMBER: _ClassVar[int]
    SEX_FIELD_NUMBER: _ClassVar[int]
    EYE_FIELD_NUMBER: _ClassVar[int]
    DIABETES_YEARS_FIELD_NUMBER: _ClassVar[int]
    INSULIN_FIELD_NUMBER: _ClassVar[int]
    DIABETES_FIELD_NUMBER: _ClassVar[int]
    age_years: float
    sex: Sex
    eye: Eye
    diabetes_years: float
    insulin: bool
    diabetes: bool
    def __init__(self, age_years: _Optional[float] = ..., sex: _Optional[_Union[Sex, str]] = ..., eye: _Optional[_Union[Eye, str]] = ..., diabetes_years: _Optional[float] = ..., insulin: _Optional[bool] = ..., diabetes: _Optional[bool] = ...) -> None: ...

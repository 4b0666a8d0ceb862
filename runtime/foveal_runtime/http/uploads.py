"""Photographs as a browser or `curl -F` sends them, as messages of the contract: forms, and bodies that are a photograph.

A form's parts are named by the fields they fill: `image` is a photograph, `note` and `record.age_years` belong to its study,
`operating_point` to the request. `request` is the whole request as JSON, whose studies then get the photographs in order. Where
studies lie in a message is read from its descriptor.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor  # type: ignore[import-untyped]

from foveal_runtime._proto import study_pb2
from foveal_runtime.errors import InputError, StudyError
from foveal_runtime.http.multipart import Part, parts_of
from foveal_runtime.http.transcoding import field_names, message_of, read_json
from foveal_runtime.rpc.counts import Counts

IMAGE, REQUEST = "image", "request"
"""Names of parts."""
FORM = "multipart/form-data"
PHOTOGRAPHS = ("image/jpeg", "image/png", "image/tiff", "image/webp", "application/dicom", "application/octet-stream")
"""Media types of a body that is one photograph; what it is is told by its bytes."""
_STUDY = study_pb2.Study.DESCRIPTOR.full_name
_EYES = {"right": study_pb2.EYE_RIGHT, "left": study_pb2.EYE_LEFT}
"""Parts of an exam that are photographs of that eye."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a request holds its studies."""

    outer: FieldDescriptor | None
    """The repeated field whose elements hold one each; None where the request itself holds one."""
    inner: FieldDescriptor | None
    """The field of the element that is the study; None where the element itself is."""
    has_eye: bool
    """Whether an eye stands beside the study."""


@cache
def place_of(descriptor: Descriptor) -> Place | None:
    """Where a kind of request holds studies; None where it holds none."""
    for field in descriptor.fields:
        if field.type != FieldDescriptor.TYPE_MESSAGE:
            continue
        kind = field.message_type
        if kind.full_name == _STUDY:
            return Place(field, None, False) if field.is_repeated else Place(None, field, False)
        inner = next((each for each in kind.fields if each.message_type and each.message_type.full_name == _STUDY), None)
        if field.is_repeated and inner is not None:
            return Place(field, inner, "eye" in kind.fields_by_name)
    return None


def from_photograph(body: bytes, message: Any) -> Any:
    """Fill an empty request with one study that is a photograph.

    Raises:
        InputError: the body is empty.
    """
    return _with_photographs(message, [(body, None)])


def from_form(body: bytes, content_type: str, message: Any, limits: Counts) -> Any:
    """Fill an empty request from a form.

    Args:
        body: of the request.
        content_type: with the boundary.
        message: to fill; `place_of` is somewhere.
        limits: most elements of each repeated field.

    Raises:
        InputError: it is no form, or a part does not fit; no value is quoted.
    """
    place = place_of(message.DESCRIPTOR)
    assert place is not None
    photographs: list[tuple[bytes, int | None]] = []
    document: dict[str, Any] = {}
    fields: list[tuple[str, Part]] = []
    for part in parts_of(body, content_type):
        name = part.name
        if name == IMAGE or (place.has_eye and name in _EYES):
            photographs.append((part.content, _EYES.get(name)))
        elif name == REQUEST:
            document = read_json(part.content)
        else:
            fields.append((name, part))
    message_of(document, message, limits)
    _with_photographs(message, photographs)
    for name, part in fields:
        _set(message, place, name, part)
    return message


def _with_photographs(message: Any, photographs: list[tuple[bytes, int | None]]) -> Any:
    """Give studies without a photograph theirs, in order, and each that is left over a study of its own."""
    place = place_of(message.DESCRIPTOR)
    assert place is not None
    waiting = [each for each in _studies(message, place) if not each[1].HasField("image")]
    for photograph, eye in photographs:
        if not photograph:
            raise StudyError("a photograph is empty; send the file's bytes", field="image.encoded")
        element, study = waiting.pop(0) if waiting else _add(message, place)
        study.image.encoded = photograph
        if eye is not None:
            element.eye = eye
    return message


def _studies(message: Any, place: Place) -> Iterator[tuple[Any, Any]]:
    """Elements that hold studies, and the studies."""
    if place.outer is None:
        assert place.inner is not None
        if message.HasField(place.inner.name):
            yield message, getattr(message, place.inner.name)
        return
    for element in getattr(message, place.outer.name):
        if place.inner is None:
            yield element, element
        elif element.HasField(place.inner.name):
            yield element, getattr(element, place.inner.name)


def _add(message: Any, place: Place) -> tuple[Any, Any]:
    if place.outer is None:
        assert place.inner is not None
        if message.HasField(place.inner.name):
            raise InputError(f"the request takes one study and has {place.inner.name} already; send one photograph")
        study = getattr(message, place.inner.name)
        study.SetInParent()
        return message, study
    element = getattr(message, place.outer.name).add()
    if place.inner is None:
        return element, element
    study = getattr(element, place.inner.name)
    study.SetInParent()
    return element, study


def _set(message: Any, place: Place, name: str, part: Part) -> None:
    """Set the field that a part is named after: of the request, else of its one study or of what holds that."""
    first = name.partition(".")[0]
    if first in field_names(message.DESCRIPTOR) and (place.outer is None or first != place.outer.name):
        _assign(message, name, part)
        return
    there = list(_studies(message, place)) or [_add(message, place)]
    if len(there) > 1:
        raise InputError(
            "a form of several photographs has parts that could be any one's; send what belongs to each in a part named "
            "request, as JSON"
        )
    element, study = there[0]
    _assign(study if first in field_names(study.DESCRIPTOR) else element, name, part)


def _assign(target: Any, name: str, part: Part) -> None:
    *path, last = name.split(".")
    for step in path:
        field = field_names(target.DESCRIPTOR).get(step)
        if field is None or field.type != FieldDescriptor.TYPE_MESSAGE or field.is_repeated:
            raise _no_field(target)
        target = getattr(target, field.name)
    field = field_names(target.DESCRIPTOR).get(last)
    if field is None or field.type in (FieldDescriptor.TYPE_MESSAGE, FieldDescriptor.TYPE_BYTES):
        raise _no_field(target)
    value = _value(field, part)
    try:
        if field.is_repeated:
            getattr(target, field.name).append(value)
        else:
            setattr(target, field.name, value)
    except (ValueError, TypeError, OverflowError):
        raise StudyError(f"part {field.name} is out of its range; see /openapi.json", field=field.name) from None


def _no_field(target: Any) -> InputError:
    names = ", ".join(field.name for field in target.DESCRIPTOR.fields if field.type != FieldDescriptor.TYPE_BYTES)
    return InputError(
        f"the form has a part that names no field; beside {IMAGE} and {REQUEST}, {target.DESCRIPTOR.name} has {names}, "
        f"written record.age_years where they lie within another"
    )


def _value(field: FieldDescriptor, part: Part) -> Any:
    """A part's text as its field wants it."""
    try:
        text = part.content.decode()
    except UnicodeDecodeError:
        raise StudyError(f"part {field.name} is no UTF-8; send text", field=field.name) from None
    if field.type == FieldDescriptor.TYPE_STRING:
        return text
    word = text.strip()
    if field.type == FieldDescriptor.TYPE_ENUM:
        return _choice(field, word)
    if field.type == FieldDescriptor.TYPE_BOOL:
        if word.lower() not in ("true", "false"):
            raise StudyError(f"part {field.name} is neither true nor false; send one of them", field=field.name)
        return word.lower() == "true"
    kind = float if field.type in (FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT) else int
    try:
        return kind(word)
    except ValueError:
        raise StudyError(f"part {field.name} is no number; send one", field=field.name) from None


def _choice(field: FieldDescriptor, word: str) -> int:
    """An enum's number by its name, or by the end of it: `female` is SEX_FEMALE."""
    values = {each.name: each.number for each in field.enum_type.values}
    ends = {name.lower(): number for name, number in values.items()}
    unset = next(name for name, number in values.items() if number == 0).removesuffix("UNSPECIFIED").lower()
    found = ends.get(word.lower(), ends.get(unset + word.lower().replace("-", "_")))
    if found is None:
        names = ", ".join(name.removeprefix(unset) for name, number in ends.items() if number)
        raise StudyError(f"part {field.name} is none of {names}", field=field.name)
    return int(found)

"""Messages of the contract as JSON and back, by protobuf's own mapping (ProtoJSON).

What a document holds is counted and compared with the descriptors before anything is made of it: one megabyte of JSON can name
a million list elements, and what protobuf says of a value that does not fit would quote the value. No error quotes one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from google.protobuf import json_format  # type: ignore[import-untyped]
from google.protobuf.descriptor import Descriptor, FieldDescriptor  # type: ignore[import-untyped]

from foveal_runtime.errors import InputError, StudyError
from foveal_runtime.rpc.counts import Counts, check_count

MAX_MARKS = 1_000_000
"""Commas, colons and brackets of one document: Python makes up to 100 bytes of each. Base64 has none."""
MAX_NESTED = 50
"""Objects and lists within each other."""
_FIELD_MASK = "google.protobuf.FieldMask"
_WHOLE = frozenset(
    {
        FieldDescriptor.TYPE_INT32, FieldDescriptor.TYPE_INT64, FieldDescriptor.TYPE_UINT32, FieldDescriptor.TYPE_UINT64,
    }
)  # fmt: skip
_TEXT = frozenset({FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES})


def read_json(data: bytes) -> Any:
    """A JSON document; no bytes are an empty object.

    Raises:
        InputError: it is none, or one that would take too much to look at.
    """
    if not data:
        return {}
    marks = sum(data.count(mark) for mark in (b",", b":", b"[", b"{"))
    if marks > MAX_MARKS:
        raise InputError(f"the JSON document has {marks} commas, colons and brackets, at most {MAX_MARKS}; send it in parts")
    try:
        return json.loads(data.decode(), parse_constant=_refuse_constant, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        raise InputError(f"the body is no JSON: it ends to make sense at character {error.pos}; send one JSON object") from None
    except RecursionError:
        raise InputError(f"the JSON document is nested too deeply; at most {MAX_NESTED} levels are allowed") from None
    except ValueError as error:
        why = str(error) if isinstance(error, _Refused) else "it is no UTF-8, or has a number of thousands of digits"
        raise InputError(f"the body is no JSON: {why}; send one JSON object") from None


class _Refused(ValueError):
    """Of a document; quotes nothing of it."""


def _refuse_constant(name: str) -> Any:
    raise _Refused(f"{name} is no number of JSON, write it in quotes")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Refused("an object has a key twice")
    return found


def message_of(document: Any, message: Any, limits: Counts) -> Any:
    """Fill a message from a JSON document.

    Args:
        document: as `read_json` gives it.
        message: an empty one, which is filled and returned.
        limits: most elements of each repeated field.

    Raises:
        InputError: it does not fit the contract, naming the field and quoting no value.
    """
    check_document(document, message.DESCRIPTOR, limits)
    try:
        json_format.ParseDict(document, message)
    except (json_format.ParseError, ValueError, TypeError, OverflowError):
        # Its words hold the caller's values.
        raise InputError(
            f"the JSON document is no {message.DESCRIPTOR.name}: a value is out of its range, no base64, or one of two that "
            f"exclude each other; compare it with /openapi.json"
        ) from None
    return message


def check_document(document: Any, descriptor: Descriptor, limits: Counts, path: str = "", depth: int = 0) -> None:
    """Refuse what can be no message of a kind.

    Args:
        document: part of a JSON document.
        descriptor: of the message that it should be.
        limits: most elements of each repeated field.
        path: of that part in the request.
        depth: of that part.

    Raises:
        StudyError: naming the field by its path.
    """
    if descriptor.full_name == _FIELD_MASK:
        _want(isinstance(document, str), path, "text, field names between commas")
        return
    _want(isinstance(document, dict), path, "an object")
    _want(depth <= MAX_NESTED, path, f"nested no deeper than {MAX_NESTED}")
    names = field_names(descriptor)
    for key, value in document.items():
        field = names.get(key)
        if field is None:
            near = get_close_matches(key, names, n=1)
            mend = (
                f"did you mean {near[0]!r}?" if near else f"it has {', '.join(sorted({f.json_name for f in names.values()}))}"
            )
            raise StudyError(f"{path or 'the request'} has a field that is none of {descriptor.name}; {mend}", field=path)
        where = f"{path}.{field.name}" if path else field.name
        if value is None:
            continue
        if is_map(field):
            _want(isinstance(value, dict), where, "an object")
            check_count(where, len(value), limits[field.full_name])
            inner = field.message_type.fields_by_name["value"]
            for each in value.values():
                _check_value(each, inner, limits, f"{where}[…]", depth)
        elif field.is_repeated:
            _want(isinstance(value, list), where, "a list")
            check_count(where, len(value), limits[field.full_name])
            for i, each in enumerate(value):
                _check_value(each, field, limits, f"{where}[{i}]", depth)
        else:
            _check_value(value, field, limits, where, depth)


def _check_value(value: Any, field: FieldDescriptor, limits: Counts, where: str, depth: int) -> None:
    kind = field.type
    if kind == FieldDescriptor.TYPE_MESSAGE:
        check_document(value, field.message_type, limits, where, depth + 1)
    elif kind == FieldDescriptor.TYPE_BOOL:
        _want(isinstance(value, bool), where, "true or false")
    elif kind in _TEXT:
        _want(isinstance(value, str), where, "text" if kind == FieldDescriptor.TYPE_STRING else "base64 text")
    elif kind == FieldDescriptor.TYPE_ENUM:
        values = field.enum_type.values_by_name
        known = value in values if isinstance(value, str) else isinstance(value, int) and not isinstance(value, bool)
        _want(known, where, f"one of {', '.join(values)}")
    else:
        number = isinstance(value, (int, float, str)) and not isinstance(value, bool)
        _want(number, where, "a whole number" if kind in _WHOLE else "a number")


def _want(fits: bool, where: str, what: str) -> None:
    if not fits:
        raise StudyError(f"{where or 'the request'} is not what the contract has there; want {what}", field=where)


def field_names(descriptor: Descriptor) -> Mapping[str, FieldDescriptor]:
    """A message's fields by both names that ProtoJSON reads: camelCase and as in the .proto."""
    return {**{field.name: field for field in descriptor.fields}, **{field.json_name: field for field in descriptor.fields}}


def is_map(field: FieldDescriptor) -> bool:
    """Whether a field is a map, an object in JSON."""
    return bool(field.type == FieldDescriptor.TYPE_MESSAGE and field.message_type.GetOptions().map_entry)


def json_of(message: Any) -> bytes:
    """A message as JSON. A field without presence is there also where it is empty, false or 0."""
    document = json_format.MessageToDict(message, always_print_fields_with_no_presence=True)
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()

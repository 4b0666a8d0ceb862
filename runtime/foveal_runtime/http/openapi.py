"""The OpenAPI 3.1 document of a server, made of the contract's descriptors: paths of the calls, schemas of their messages.

What the .proto files say of a field is said here: `scripts/proto.py` keeps their comments beside the stubs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor, MethodDescriptor  # type: ignore[import-untyped]

from foveal_runtime import __version__, _proto
from foveal_runtime.http.call import TIMEOUT_HEADER
from foveal_runtime.http.problems import MEDIA_TYPE, STATUSES
from foveal_runtime.http.protocol_schema import ANSWERS, INFER_REQUEST, MODEL_PARAMETERS
from foveal_runtime.http.routes import Route, protocol_routes, routes
from foveal_runtime.http.transcoding import is_map
from foveal_runtime.http.uploads import FORM, IMAGE, PHOTOGRAPHS, REQUEST, place_of
from foveal_runtime.rpc.counts import Counts
from foveal_runtime.rpc.permissions import allowed
from foveal_runtime.rpc.request_id import KEY

COMMENTS = "comments.json"
"""Beside the stubs: by full name, what the .proto files say."""
JSON = "application/json"
Schema = dict[str, Any]
_F = FieldDescriptor
_NUMBERS: Mapping[int, Schema] = {
    _F.TYPE_BOOL: {"type": "boolean"},
    _F.TYPE_STRING: {"type": "string"},
    _F.TYPE_BYTES: {"type": "string", "contentEncoding": "base64"},
    _F.TYPE_INT32: {"type": "integer", "minimum": -(2**31), "maximum": 2**31 - 1},
    _F.TYPE_UINT32: {"type": "integer", "minimum": 0, "maximum": 2**32 - 1},
    # Numbers beyond 2^53 are none in JavaScript.
    _F.TYPE_INT64: {"type": "string", "pattern": "^-?[0-9]{1,19}$"},
    _F.TYPE_UINT64: {"type": "string", "pattern": "^[0-9]{1,19}$"},
    _F.TYPE_DOUBLE: {"anyOf": [{"type": "number"}, {"enum": ["NaN", "Infinity", "-Infinity"]}]},
    _F.TYPE_FLOAT: {"anyOf": [{"type": "number"}, {"enum": ["NaN", "Infinity", "-Infinity"]}]},
}
_WELL_KNOWN: Mapping[str, Schema] = {
    "google.protobuf.FieldMask": {"type": "string", "description": "Names of fields between commas."},
    "google.protobuf.Any": {"type": "object", "properties": {"@type": {"type": "string"}}, "required": ["@type"]},
    "google.protobuf.Duration": {"type": "string"},
}
_PROBLEM: Schema = {
    "type": "object",
    "description": "RFC 9457: what went wrong, and how to mend it. It holds no value of the request.",
    "required": ["type", "title", "status", "detail", "reason", "error"],
    "properties": {
        "type": {"type": "string", "description": "urn:foveal:error: and the reason."},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "reason": {"type": "string", "description": "As in google.rpc.ErrorInfo; docs/reference/errors.md lists them."},
        "code": {"type": "string", "description": "gRPC's code."},
        "domain": {"type": "string"},
        "requestId": {"type": "string"},
        "retryAfterSeconds": {"type": "number"},
        "fieldViolations": {"type": "array", "items": {"type": "object"}},
        "error": {"type": "string", "description": "The detail again, for clients of the Open Inference Protocol."},
    },
}
_ABOUT = (
    "The calls of foveal's gRPC contract over HTTP, as ProtoJSON: fields in camelCase (the .proto's names are read as well), "
    f"bytes in base64, 64-bit numbers as text. `{TIMEOUT_HEADER}: SECONDS` is the deadline, `{KEY}` names a call, "
    "`x-foveal-model` asks for one of several models. Calls of many messages are offered over gRPC alone."
)


def document(limits: Counts) -> dict[str, Any]:
    """The document.

    Args:
        limits: most elements of each repeated field.
    """
    schemas = {"Problem": _PROBLEM}
    for each in routes():
        for kind in (each.call.input_type, each.call.output_type):
            schemas |= dict(_schemas(kind, limits, set(schemas)))
    paths: dict[str, Any] = {}
    for each in routes():
        paths.setdefault(each.path, {})[each.verb.lower()] = _operation(each)
    for each in protocol_routes():
        paths.setdefault(each.path, {})[each.verb.lower()] = _protocol_operation(each)
    word = {"type": "object", "required": ["status"], "properties": {"status": {"enum": ["SERVING", "NOT_SERVING"]}}}
    paths["/healthz"] = {"get": _open("Whether the process answers.", {200: word})}
    paths["/readyz"] = {"get": _open("Whether calls are answered.", {200: word, 503: word})}
    paths["/v2/health/live"], paths["/v2/health/ready"] = paths["/healthz"], paths["/readyz"]
    return {
        "openapi": "3.1.0",
        "info": {"title": "foveal", "version": __version__, "description": _ABOUT, "license": {"name": "Apache-2.0"}},
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "description": "Of `foveal token add`."}},
        },
    }


@cache
def _comments() -> Mapping[str, str]:
    found: Mapping[str, str] = json.loads((files(_proto) / COMMENTS).read_text(encoding="utf-8"))
    return found


def _described(schema: Schema, full_name: str) -> Schema:
    text = _comments().get(full_name)
    return {**schema, "description": text} if text else schema


def _ref(descriptor: Descriptor | EnumDescriptor) -> Schema:
    name = descriptor.full_name
    return dict(_WELL_KNOWN[name]) if name in _WELL_KNOWN else {"$ref": f"#/components/schemas/{_name(name)}"}


def _name(full_name: str) -> str:
    return full_name.removeprefix("foveal.v1.")


def _schemas(descriptor: Descriptor, limits: Counts, done: set[str]) -> Iterator[tuple[str, Schema]]:
    """Those of a message and of all within it."""
    name = _name(descriptor.full_name)
    if name in done or descriptor.full_name in _WELL_KNOWN:
        return
    done.add(name)
    properties = {field.json_name: _described(_of_field(field, limits), field.full_name) for field in descriptor.fields}
    yield name, _described({"type": "object", "properties": properties, "additionalProperties": False}, descriptor.full_name)
    for field in descriptor.fields:
        inner = field.message_type.fields_by_name["value"] if is_map(field) else field
        if inner.type == _F.TYPE_MESSAGE:
            yield from _schemas(inner.message_type, limits, done)
        elif inner.type == _F.TYPE_ENUM and _name(inner.enum_type.full_name) not in done:
            done.add(_name(inner.enum_type.full_name))
            yield _name(inner.enum_type.full_name), _of_enum(inner.enum_type)


def _of_enum(descriptor: EnumDescriptor) -> Schema:
    scope = descriptor.full_name.rpartition(".")[0]
    said = [f"{each.name}: {_comments().get(f'{scope}.{each.name}', '')}" for each in descriptor.values]
    text = _comments().get(descriptor.full_name, "")
    return {"type": "string", "enum": [each.name for each in descriptor.values], "description": "\n".join([text, *said])}


def _of_field(field: FieldDescriptor, limits: Counts) -> Schema:
    if is_map(field):
        inner = _of_value(field.message_type.fields_by_name["value"])
        most = {"maxProperties": limits[field.full_name]} if field.full_name in limits else {}
        return {"type": "object", "additionalProperties": inner, **most}
    if field.is_repeated:
        most = {"maxItems": limits[field.full_name]} if field.full_name in limits else {}
        return {"type": "array", "items": _of_value(field), **most}
    return _of_value(field)


def _of_value(field: FieldDescriptor) -> Schema:
    if field.type == _F.TYPE_MESSAGE:
        return _ref(field.message_type)
    if field.type == _F.TYPE_ENUM:
        return _ref(field.enum_type)
    return dict(_NUMBERS[field.type])


def _operation(route: Route) -> Schema:
    call = route.call
    roles = sorted(allowed(route.method))
    text = _comments().get(call.full_name, "")
    operation: Schema = {
        "operationId": f"{call.containing_service.name}_{call.name}{'_short' if route.is_short else ''}",
        "summary": f"{call.containing_service.name}.{call.name}",
        "description": f"{text}\n\nRole, where the server asks for tokens: {' or '.join(roles)}.",
        "tags": [call.containing_service.name],
        "security": [{"token": roles}, {}],
        "x-foveal-roles": roles,
        "responses": {
            "200": {"description": "The answer.", "content": {JSON: {"schema": _ref(call.output_type)}}},
            **{str(number): _PROBLEM_RESPONSE for number in (*STATUSES, 404, 405)},
        },
    }
    if route.verb == "POST":
        operation["requestBody"] = {"required": False, "content": _bodies(call)}
    return operation


def _protocol_operation(route: Route) -> Schema:
    """Of a path of the Open Inference Protocol, whose JSON is its own and not the contract's."""
    operation = _operation(route)
    name = route.call.name
    operation["operationId"] = f"Inference_{name}{'_version' if '{version}' in route.path else ''}"
    operation["responses"]["200"]["content"] = {JSON: {"schema": ANSWERS[name]}}
    operation["parameters"] = [each for each in MODEL_PARAMETERS if f"{{{each['name']}}}" in route.path]
    if name == "ModelReady":
        operation["responses"]["503"]["content"] = {JSON: {"schema": ANSWERS[name]}, **_PROBLEM_RESPONSE["content"]}
    if name == "ModelInfer":
        operation["requestBody"] = {"content": {JSON: {"schema": INFER_REQUEST}}}
        operation["responses"]["200"]["content"]["application/octet-stream"] = {}
    return operation


_PROBLEM_RESPONSE: Schema = {
    "description": "What went wrong.",
    "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
}


def _bodies(call: MethodDescriptor) -> Schema:
    bodies: Schema = {JSON: {"schema": _ref(call.input_type)}}
    place = place_of(call.input_type)
    if place is None:
        return bodies
    photograph = {
        "type": "string",
        "contentMediaType": "application/octet-stream",
        "description": "A photograph; may come again.",
    }
    images = dict.fromkeys((IMAGE, "right", "left") if place.has_eye else (IMAGE,), photograph)
    form = {
        "type": "object",
        "properties": {**images, REQUEST: _ref(call.input_type)},
        "description": "A part `request` is the request as JSON, whose studies get the photographs in order; others are named "
        "by the field that they set, such as note, record.age_years, operating_point.",
    }
    encoding = {REQUEST: {"contentType": JSON}}
    bodies[FORM] = {"schema": form, "encoding": encoding}
    bodies |= {kind: {"schema": {"type": "string", "contentMediaType": kind}} for kind in PHOTOGRAPHS}
    return bodies


def _open(text: str, answers: Mapping[int, Schema]) -> Schema:
    return {
        "description": text,
        "tags": ["Health"],
        "security": [{}],
        "responses": {
            **{str(number): {"description": text, "content": {JSON: {"schema": schema}}} for number, schema in answers.items()},
            **{str(number): _PROBLEM_RESPONSE for number in (400, 403)},
        },
    }

"""The Open Inference Protocol (KServe v2) over HTTP: its JSON, and raw tensors behind it, to the messages that gRPC has.

An answer is JSON unless its outputs are asked for as raw bytes, which lie behind the JSON then (the binary tensor extension).
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from google.protobuf.descriptor import MethodDescriptor  # type: ignore[import-untyped]
from google.protobuf.message_factory import GetMessageClass  # type: ignore[import-untyped]

from foveal_runtime._proto import open_inference_grpc_pb2 as inference
from foveal_runtime.errors import InputError
from foveal_runtime.http.call import Scope
from foveal_runtime.http.endpoint import JSON, Answer
from foveal_runtime.http.transcoding import read_json
from foveal_runtime.rpc.limits import MAX_TENSORS
from foveal_runtime.rpc.tensors import BYTES, NUMBERS, packed, unpacked

JSON_LENGTH = "inference-header-content-length"
"""Header: bytes of JSON in front of raw tensors."""
_BINARY, _BINARY_ALL, _SIZE = "binary_data", "binary_data_output", "binary_data_size"
"""Parameters of an output, of a request, and of what is raw."""
_KINDS = {bool: "bool_param", int: "int64_param", float: "double_param", str: "string_param"}


def request_of(body: bytes, json_length: str, name: str, version: str) -> Any:
    """A `ModelInferRequest`, all of whose inputs are raw.

    Args:
        body: of the request.
        json_length: header of that name; empty where all is JSON.
        name: of the model.
        version: of the model; empty is any.

    Raises:
        InputError: it is none; no element is quoted.
    """
    if json_length and not (json_length.isdecimal() and int(json_length) <= len(body)):
        raise InputError(f"{JSON_LENGTH} is no number of bytes of the body")
    end = int(json_length) if json_length else len(body)
    document, raw = read_json(body[:end]), memoryview(body)[end:]
    if not isinstance(document, dict):
        raise InputError("the request is no JSON object; send inputs, and outputs where not all are wanted")
    request = inference.ModelInferRequest(model_name=name, model_version=version, id=_text(document.get("id", ""), "id"))
    _parameters(request.parameters, document)
    for i, each in enumerate(_objects(document, "inputs")):
        target = request.inputs.add(name=_text(each.get("name"), "name"), datatype=_text(each.get("datatype"), "datatype"))
        _parameters(target.parameters, each)
        target.shape.extend(_shape(each.get("shape")))
        size = target.parameters[_SIZE].int64_param if _SIZE in target.parameters else None
        if size is None:
            request.raw_input_contents.append(_packed(target, each.get("data"), i))
        elif 0 <= size <= len(raw):
            request.raw_input_contents.append(bytes(raw[:size]))
            raw = raw[size:]
        else:
            raise InputError(f"input {i} says that it has {size} raw bytes, and {len(raw)} are left")
    if len(raw):
        raise InputError(f"{len(raw)} raw bytes are left behind those that inputs say they have")
    for each in _objects(document, "outputs"):
        _parameters(request.outputs.add(name=_text(each.get("name"), "name")).parameters, each)
    return request


def _objects(document: Mapping[str, Any], name: str) -> Iterator[Mapping[str, Any]]:
    found = document.get(name, [])
    if not isinstance(found, list) or len(found) > MAX_TENSORS or not all(isinstance(each, dict) for each in found):
        raise InputError(f"{name} is no list of at most {MAX_TENSORS} objects")
    yield from found


def _text(value: Any, what: str) -> str:
    try:
        if isinstance(value, str) and value.encode() is not None:
            return value
    except UnicodeEncodeError:  # half of a character
        pass
    raise InputError(f"{what} is no text")


def _shape(value: Any) -> list[int]:
    if not isinstance(value, list) or len(value) > 2 or not all(type(each) is int and 0 <= each < 2**31 for each in value):
        raise InputError("shape is none of [N] and [N, 1]")
    return value


def _parameters(target: Any, source: Mapping[str, Any]) -> None:
    found = source.get("parameters") or {}
    if not isinstance(found, dict) or len(found) > MAX_TENSORS:
        raise InputError(f"parameters is no object of at most {MAX_TENSORS}")
    for name, value in found.items():
        if type(value) not in _KINDS or (type(value) is int and abs(value) >= 2**63):
            raise InputError("a parameter is neither text, number, true nor false")
        if isinstance(value, str):
            _text(value, "a parameter")
        setattr(target[_text(name, "a parameter's name")], _KINDS[type(value)], value)


def _packed(target: Any, data: Any, i: int) -> bytes:
    """An input's elements, which are JSON, as raw bytes."""
    values = list(_flat(data, i))
    if target.datatype != BYTES:
        numbers = target.datatype in NUMBERS and all(type(each) in (int, float, bool) for each in values)
        if not numbers:
            raise InputError(f"input {i} has an element that is no number, or no datatype of the protocol")
        try:
            return packed(target.datatype, values)
        except (ValueError, OverflowError, TypeError):
            raise InputError(f"input {i} has an element out of the range of its datatype") from None
    if not all(isinstance(each, str) for each in values):
        raise InputError(f"input {i} has an element that is no text")
    # JSON has no bytes: photographs come in base64, text as it is unless its parameters say base64.
    coded = target.parameters["content_type"].string_param == "base64" if "content_type" in target.parameters else False
    try:
        if coded or target.name == "image":
            return packed(BYTES, [base64.b64decode(each, validate=True) for each in values])
        return packed(BYTES, [each.encode() for each in values])
    except (binascii.Error, ValueError):
        raise InputError(f"input {i} has an element that is no base64, or no text") from None


def _flat(data: Any, i: int, depth: int = 0) -> Iterator[Any]:
    if not isinstance(data, list):
        raise InputError(f"input {i} has no data; send a list, or raw bytes with {_SIZE}")
    for each in data:
        if isinstance(each, list) and depth < 2:
            yield from _flat(each, i, depth + 1)
        else:
            yield each


def response_to(request: Any, response: Any) -> tuple[dict[str, str], bytes]:
    """Headers and body of an answer.

    Args:
        request: as `request_of` made it.
        response: `ModelInferResponse` with raw outputs.
    """
    everywhere = _flag(request.parameters, _BINARY_ALL, False)
    wanted = {each.name: _flag(each.parameters, _BINARY, everywhere) for each in request.outputs}
    outputs, raw = [], []
    for tensor, data in zip(response.outputs, response.raw_output_contents, strict=True):
        parameters: dict[str, Any] = {name: value.string_param for name, value in tensor.parameters.items()}
        output: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}
        if wanted.get(tensor.name, everywhere):
            parameters[_SIZE] = len(data)
            raw.append(data)
        else:
            output["data"] = [_json_of(each) for each in unpacked(tensor.datatype, data, math.prod(tensor.shape), 0)]
        outputs.append({**output, **({"parameters": parameters} if parameters else {})})
    document = {"model_name": response.model_name, "model_version": response.model_version, "outputs": outputs}
    if response.id:
        document["id"] = response.id
    head = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    if not raw:
        return {"content-type": JSON}, head
    return {"content-type": "application/octet-stream", JSON_LENGTH: str(len(head))}, b"".join((head, *raw))


def _flag(parameters: Any, name: str, unsaid: bool) -> bool:
    return bool(parameters[name].bool_param) if name in parameters else unsaid


def _json_of(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    return None if isinstance(value, float) and math.isnan(value) else value


class InferExchange:
    """`ModelInfer`: the protocol's JSON and raw tensors in and out."""

    def __init__(self, scope: Scope, headers: Mapping[str, str]) -> None:
        """Args:
        scope: of ASGI, whose path names the model.
        headers: of the request.
        """
        self._path, self._json_length = scope["path_params"], headers.get(JSON_LENGTH, "")
        self._request: Any = None

    @property
    def is_text(self) -> bool:
        """See `endpoint.Exchange`."""
        return not self._json_length

    def read(self, body: bytes) -> Any:
        """See `endpoint.Exchange`."""
        self._request = request_of(body, self._json_length, self._path["name"], self._path.get("version", ""))
        return self._request

    def write(self, answer: Any) -> Answer:
        """See `endpoint.Exchange`."""
        return 200, *response_to(self._request, answer)


class AskExchange:
    """The other calls: what is asked stands in the path."""

    def __init__(self, call: MethodDescriptor, scope: Scope, headers: Mapping[str, str]) -> None:
        """Args:
        call: whose messages they are.
        scope: of ASGI.
        headers: of the request.
        """
        self._request, self._path = GetMessageClass(call.input_type), scope["path_params"]
        self.is_text = True

    def read(self, body: bytes) -> Any:
        """See `endpoint.Exchange`; a body says nothing."""
        return self._request(**self._path)

    def write(self, answer: Any) -> Answer:
        """See `endpoint.Exchange`. Where the protocol asks whether something is ready, HTTP's status tells it."""
        document = _plain(answer)
        ready = document.get("ready", True)
        return 200 if ready else 503, {"content-type": JSON}, json.dumps(document, separators=(",", ":")).encode()


def _plain(message: Any) -> dict[str, Any]:
    """A message as the protocol has it in JSON: names as they are, and shapes as numbers."""
    found: dict[str, Any] = {}
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        if field.is_repeated:
            found[field.name] = [_plain(each) if hasattr(each, "DESCRIPTOR") else each for each in value]
        else:
            found[field.name] = value
    return found

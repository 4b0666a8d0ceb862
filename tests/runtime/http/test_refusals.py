"""What is wrong over HTTP is named with gRPC's reasons, never with a 5xx, and never with a value that the caller sent."""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from bundles import photograph
from servers import RunningServer

from foveal_runtime.http.transcoding import MAX_MARKS

LARGEST = 1 << 20
NAME = "Jane Doe"
"""Of a patient; no answer and no line of the log may hold it."""
STUDY = "/v1/Screening/Grade"


@pytest.fixture(scope="module")
def door(bundle_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    pytest.importorskip("starlette")
    config = f"max_message_bytes = {LARGEST}\nhttp = '127.0.0.1:0'\nhttp_origins = ['https://foveal.clinic.example']\n"
    with RunningServer(bundle_path, config=config, folder=tmp_path_factory.mktemp("door")) as running:
        yield running
        assert NAME not in running.log
        assert "Traceback" not in running.log


@pytest.fixture(scope="module")
def http(door: RunningServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=door.http, timeout=30) as client:
        yield client


def study(**fields: Any) -> dict[str, Any]:
    return {"json": {"studies": [fields]}}


def body(text: str | bytes, kind: str = "application/json") -> dict[str, Any]:
    return {"content": text if isinstance(text, bytes) else text.encode(), "headers": {"content-type": kind}}


def part(**parts: str) -> dict[str, Any]:
    return {"files": [("image", photograph(1)), *((name, (None, value.encode())) for name, value in parts.items())]}


CASES: dict[str, tuple[dict[str, Any], int, str, str]] = {
    "no JSON": (body(f'{{"studies": "{NAME}'), 400, "INVALID_INPUT", "no JSON"),
    "bytes": (body(b"\xff\xfe\x00"), 400, "INVALID_INPUT", "no JSON"),
    "NaN": (body('{"studies": NaN}'), 400, "INVALID_INPUT", "in quotes"),
    "a key twice": (body('{"studies": [], "studies": []}'), 400, "INVALID_INPUT", "a key twice"),
    "digits": (body('{"studies": ' + "9" * 5000 + "}"), 400, "INVALID_INPUT", "thousands of digits"),
    "nested": (body("[" * 100_000), 400, "INVALID_INPUT", "nested too deeply"),
    "marks": (body('{"studies": [' + "0," * MAX_MARKS + "0]}"), 413, "MESSAGE_TOO_LARGE", "more than"),
    "a list": (body("[]"), 400, "INVALID_STUDY", "want an object"),
    "an unknown field": (study(notes=NAME), 400, "INVALID_STUDY", "did you mean 'note'"),
    "a name as a field": (study(**{NAME: "x"}), 400, "INVALID_STUDY", "studies[0] has a field that is none of Study"),
    "text as a number": (study(record={"ageYears": NAME}), 400, "INVALID_INPUT", "out of its range"),
    "a list as a number": (study(record={"ageYears": [NAME]}), 400, "INVALID_STUDY", "studies[0].record.age_years"),
    "an unknown choice": (study(record={"sex": NAME}), 400, "INVALID_STUDY", "SEX_FEMALE"),
    "no boolean": (study(record={"insulin": NAME}), 400, "INVALID_STUDY", "true or false"),
    "no base64": (study(image={"encoded": "a"}), 400, "INVALID_INPUT", "no base64"),
    "two of one": (
        study(image={"encoded": "AAAA", "raw": {"pixels": "AAAA"}}), 400, "INVALID_INPUT", "exclude each other"
    ),
    "half a character": (body(b'{"studies": [{"note": "\\ud800"}]}'), 400, "INVALID_INPUT", ""),
    "too many": ({"json": {"studies": [{}] * 257}}, 400, "INVALID_STUDY", "studies has 257 elements"),
    "none": ({"json": {}}, 400, "INVALID_INPUT", "0 studies"),
    "no body": ({}, 400, "INVALID_INPUT", "0 studies"),
    "another kind": (body(NAME, "text/plain"), 415, "MEDIA_TYPE_UNKNOWN", "multipart/form-data"),
    "a compressed body": (
        {"content": b"x", "headers": {"content-type": "application/json", "content-encoding": "gzip"}}, 415,
        "MEDIA_TYPE_UNKNOWN", "compressed",
    ),
    "an empty photograph": (body(b"", "image/jpeg"), 400, "INVALID_INPUT", "empty"),
    "no boundary": (body(b"x", "multipart/form-data"), 400, "INVALID_INPUT", "boundary"),
    "half a form": (body(b"--x\r\n\r\n", "multipart/form-data; boundary=x"), 400, "INVALID_INPUT", "last boundary"),
    "no form": (body(NAME, "multipart/form-data; boundary=x"), 400, "INVALID_INPUT", "no multipart/form-data"),
    "a part of no field": (part(patient=NAME), 400, "INVALID_INPUT", "names no field"),
    "a part within none": (part(**{"record.name": NAME}), 400, "INVALID_INPUT", "Record has"),
    "a part deeper": (part(**{"note.x.y": NAME}), 400, "INVALID_INPUT", "names no field"),
    "a part that is no number": (part(**{"record.age_years": NAME}), 400, "INVALID_STUDY", "no number"),
    "a part that is no boolean": (part(**{"record.insulin": NAME}), 400, "INVALID_STUDY", "neither true nor false"),
    "a part that is no choice": (part(**{"record.eye": NAME}), 400, "INVALID_STUDY", "none of right, left"),
    "a part for two": (
        {"files": [("image", photograph(1)), ("image", photograph(2)), ("note", (None, NAME.encode()))]},
        400, "INVALID_INPUT", "request",
    ),
    "an empty part": ({"files": [("image", b"")]}, 400, "INVALID_STUDY", "a photograph is empty"),
    "parts": ({"files": [("image", b"x")] * 1025}, 400, "INVALID_INPUT", "more than 1024 parts"),
    "no deadline": (study(note="x") | {"headers": {"x-foveal-timeout": NAME}}, 400, "INVALID_INPUT", "x-foveal-timeout"),
    "a negative deadline": (study(note="x") | {"headers": {"x-foveal-timeout": "-1"}}, 400, "INVALID_INPUT", "seconds"),
    "no number as a deadline": (study(note="x") | {"headers": {"x-foveal-timeout": "nan"}}, 400, "INVALID_INPUT", "seconds"),
    "parameters": (study(note="x") | {"params": {"patient": NAME}}, 400, "INVALID_INPUT", "not behind the path"),
    "too large": (body(b"x" * (LARGEST + 1), "image/jpeg"), 413, "MESSAGE_TOO_LARGE", str(LARGEST)),
    "too much base64": (body("x" * (LARGEST // 2 + 1)), 413, "MESSAGE_TOO_LARGE", str(LARGEST // 2)),
    "too large in chunks": (
        {"content": iter([b"x" * LARGEST, b"x"]), "headers": {"content-type": "image/jpeg"}}, 413, "MESSAGE_TOO_LARGE", "more",
    ),
    "a page of elsewhere": (study(note="x") | {"headers": {"origin": "https://evil.example"}}, 403, "ORIGIN_REFUSED", "page"),
    "a page of nowhere": (study(note="x") | {"headers": {"origin": "null"}}, 403, "ORIGIN_REFUSED", "page"),
    "another host": (study(note="x") | {"headers": {"host": "evil.example"}}, 403, "ORIGIN_REFUSED", "host"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_is_wrong_is_named_and_nothing_of_it_is_quoted(http: httpx.Client, name: str) -> None:
    given, status, reason, words = CASES[name]
    answer = http.post(STUDY, **given)
    document = answer.json()
    assert (answer.status_code, document["reason"]) == (status, reason), document
    assert words in document["detail"]
    assert answer.headers["content-type"] == "application/problem+json"
    assert document["type"] == f"urn:foveal:error:{reason}"
    assert document["status"] == status
    assert NAME not in answer.text


def test_a_small_document_of_a_million_elements_is_refused_before_it_is_read() -> None:
    from foveal_runtime.errors import InputError
    from foveal_runtime.http.transcoding import read_json

    with pytest.raises(InputError, match="commas, colons and brackets"):
        read_json(b"[" + b"0," * MAX_MARKS + b"0]")
    large = base64.b64encode(b"x" * 2_000_000).decode()
    assert read_json(json.dumps({"image": large}).encode())["image"] == large


@pytest.mark.parametrize(
    ("verb", "path", "status"),
    [
        ("GET", "/v1/nothing", 404),
        ("POST", "/v1/Screening/GradeStream", 404),
        ("GET", "/v1/grade", 405),
        ("PUT", "/v1/model", 405),
        ("DELETE", "/openapi.json", 405),
        ("POST", "/healthz", 405),
        ("GET", "/v1/grade/", 404),
        ("GET", "//v1/model", 404),
        ("GET", "/v1/%2e%2e/model", 404),
        ("OPTIONS", "/v1/grade", 405),
    ],
)
def test_paths_and_methods_that_are_none_say_so(http: httpx.Client, verb: str, path: str, status: int) -> None:
    answer = http.request(verb, path)
    assert answer.status_code == status
    assert answer.json()["status"] == status
    assert ("allow" in answer.headers) == (status == 405)


@pytest.mark.parametrize("headers", [{}, {"origin": "https://foveal.clinic.example", "host": "foveal.clinic.example"}])
def test_own_pages_and_those_of_the_named_proxy_may_call(http: httpx.Client, door: RunningServer, headers: Any) -> None:
    own = {"origin": door.http}
    assert http.get("/v1/model", headers=headers or own).status_code == 200


def test_a_deadline_that_is_over_is_one(http: httpx.Client) -> None:
    answer = http.post(STUDY, json={"studies": [{"note": "x"}]}, headers={"x-foveal-timeout": "0.000001"})
    assert (answer.status_code, answer.json()["reason"]) == (504, "DEADLINE")


def test_a_large_upload_that_is_refused_leaves_the_connection_usable(http: httpx.Client) -> None:
    for _ in range(3):
        assert http.post(STUDY, **body(b"x" * (LARGEST + 1), "image/jpeg")).status_code == 413
        assert http.post(STUDY, json={"studies": [{"note": "x"}]}).status_code == 200


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"POST /v1/grade HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: x\r\n\r\n",
        b"POST /v1/grade HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
        b"POST /v1/grade HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    ],
)
def test_what_is_no_request_is_answered_as_the_callers_fault_or_not_at_all(
    door: RunningServer, http: httpx.Client, sent: bytes
) -> None:
    host, port = door.http.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as raw:
        raw.sendall(sent)
        raw.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: raw.recv(65536), b""))
    assert answer == b"" or answer.startswith(b"HTTP/1.1 4")
    assert http.get("/v1/model").status_code == 200


def test_a_header_of_bytes_is_no_name(http: httpx.Client) -> None:
    answer = http.get("/v1/model", headers={"x-request-id": b"\xff\xfe", "x-foveal-model": b"\xff"})
    assert answer.status_code == 400
    assert len(answer.headers["x-request-id"]) == 32

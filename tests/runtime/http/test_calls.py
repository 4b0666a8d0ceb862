"""Grading over HTTP: curl, httpx and Node's fetch get what gRPC gives, of JSON, forms and photographs alone."""

from __future__ import annotations

import base64
import io
import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from bundles import photograph
from dicoms import dicom
from google.protobuf import json_format
from PIL import Image
from servers import RunningServer

from foveal_runtime._proto import screening_pb2
from foveal_runtime.study.study import Eye, Record, Sex, Study

NODE = """
const [url, path] = process.argv.slice(2);
const form = new FormData();
form.append('image', new Blob([require('fs').readFileSync(path)]), 'left.jpg');
fetch(url + '/v1/grade', { method: 'POST', body: form })
  .then(async (answer) => console.log(JSON.stringify({ status: answer.status, body: await answer.json() })));
"""


@pytest.fixture(scope="module")
def door(bundle_path: Path) -> Iterator[RunningServer]:
    pytest.importorskip("starlette")
    with RunningServer(bundle_path, "--http", "127.0.0.1:0") as running:
        yield running


@pytest.fixture(scope="module")
def http(door: RunningServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=door.http, timeout=30) as client:
        yield client


@pytest.fixture(scope="module")
def over_grpc(door: RunningServer) -> dict[str, Any]:
    """What gRPC says of `photograph(1)`, as JSON, without times."""
    with door.client() as client:
        return untimed(json_of(client.grade([Study(image=photograph(1))])))


def json_of(message: Any) -> dict[str, Any]:
    found: dict[str, Any] = json_format.MessageToDict(message, always_print_fields_with_no_presence=True)
    return found


def untimed(document: dict[str, Any]) -> dict[str, Any]:
    for result in document["results"]:
        (result.get("grade") or result.get("embedding") or {}).pop("timing", None)
    return document


def test_curl_grades_a_photograph(door: RunningServer, over_grpc: dict[str, Any], tmp_path: Path) -> None:
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("curl is not installed")
    (tmp_path / "left.jpg").write_bytes(photograph(1))
    command = [curl, "-sS", "-f", "-F", f"image=@{tmp_path / 'left.jpg'}", f"{door.http}/v1/grade"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert untimed(json.loads(done.stdout)) == over_grpc


def test_nodes_fetch_grades_a_photograph(door: RunningServer, over_grpc: dict[str, Any], tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    (tmp_path / "left.jpg").write_bytes(photograph(1))
    (tmp_path / "grade.cjs").write_text(NODE)
    command = [node, str(tmp_path / "grade.cjs"), door.http, str(tmp_path / "left.jpg")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["status"] == 200
    assert untimed(answer["body"]) == over_grpc


@pytest.mark.parametrize("path", ["/v1/grade", "/v1/Screening/Grade"])
def test_every_way_to_send_a_photograph_gives_the_same_grades(http: httpx.Client, over_grpc: dict[str, Any], path: str) -> None:
    image = photograph(1)
    ways: list[dict[str, Any]] = [
        {"files": {"image": ("left.jpg", image)}},
        {"content": image, "headers": {"content-type": "image/jpeg"}},
        {"content": image, "headers": {"content-type": "application/octet-stream"}},
        {"json": {"studies": [{"image": {"encoded": base64.b64encode(image).decode()}}]}},
        {"json": {"studies": [{"image": {"encoded": base64.urlsafe_b64encode(image).decode()}}], "operatingPoint": None}},
        {"content": iter([image[:100], image[100:]]), "headers": {"content-type": "image/jpeg"}},
    ]
    for way in ways:
        answer = http.post(path, **way)
        assert answer.status_code == 200, answer.text
        assert untimed(answer.json()) == over_grpc


def test_a_dicom_file_is_a_body_too(http: httpx.Client, door: RunningServer) -> None:
    pytest.importorskip("pydicom")
    pixels = np.asarray(Image.open(io.BytesIO(photograph(1))).convert("RGB"))
    data = dicom(pixels, ImageLaterality="L", PatientAge="061Y")
    answer = http.post("/v1/grade", content=data, headers={"content-type": "application/dicom"})
    assert answer.status_code == 200
    assert {each["field"] for each in answer.json()["results"][0]["grade"]["filledFields"]} >= {"record.eye"}
    assert "Doe" not in answer.text
    with door.client() as client:
        assert untimed(answer.json()) == untimed(json_of(client.grade([Study(image=data)])))


def test_a_forms_parts_are_the_fields_of_a_study(http: httpx.Client, door: RunningServer) -> None:
    form = {
        "id": "visit-7", "note": "drusen, no DR", "record.age_years": "61.5", "record.sex": "female", "record.eye": "LEFT",
        "record.insulin": "false", "record.diabetesYears": "12", "operating_point": "screening",
    }  # fmt: skip
    answer = http.post("/v1/grade", data=form, files={"image": photograph(1)})
    assert answer.status_code == 200, answer.text
    record = Record(age_years=61.5, sex=Sex.FEMALE, eye=Eye.LEFT, insulin=False, diabetes_years=12)
    with door.client() as client:
        study = Study(id="visit-7", image=photograph(1), note="drusen, no DR", record=record)
        expected = client.grade([study], operating_point="screening")
    assert untimed(answer.json()) == untimed(json_of(expected))


def test_photographs_of_a_form_go_to_the_studies_of_its_request_in_order(http: httpx.Client, door: RunningServer) -> None:
    request = {"studies": [{"id": "a", "note": "haze"}, {"id": "b"}], "operatingPoint": "screening"}
    parts = [
        ("request", (None, json.dumps(request), "application/json")),
        *(("image", (f"{i}.jpg", photograph(i))) for i in range(3)),
    ]
    answer = http.post("/v1/grade", files=parts)
    assert answer.status_code == 200, answer.text
    with door.client() as client:
        given = [Study(id="a", note="haze"), Study(id="b"), Study()]
        studies = [replace(each, image=photograph(i)) for i, each in enumerate(given)]
        assert untimed(answer.json()) == untimed(json_of(client.grade(studies, operating_point="screening")))


def test_an_exam_is_a_form_with_a_part_an_eye(http: httpx.Client) -> None:
    parts = [("right", photograph(1)), ("left", photograph(2)), ("left", photograph(3)), ("id", (None, b"visit"))]
    answer = http.post("/v1/exam", files=parts)
    assert answer.status_code == 200, answer.text
    exam = answer.json()
    assert exam["id"] == "visit"
    assert [eye["eye"] for eye in exam["eyes"]] == ["EYE_RIGHT", "EYE_LEFT"]
    assert len(exam["results"]) == 3


def test_a_photograph_that_is_none_fails_by_itself_and_absent_is_not_zero(http: httpx.Client) -> None:
    answer = http.post("/v1/grade", files=[("image", photograph(1)), ("image", b"junk of a patient")])
    assert answer.status_code == 200
    good, bad = answer.json()["results"]
    assert good["grade"]["graded"]["icdr"].startswith("ICDR_GRADE_")
    assert "grade" not in bad
    assert bad["error"]["details"][0]["reason"] == "INVALID_IMAGE"
    assert "junk" not in answer.text


def test_calls_that_ask_nothing_are_read_with_get(http: httpx.Client, door: RunningServer) -> None:
    with door.client() as client:
        assert http.get("/v1/model").json() == json_of(client.model())
    assert http.get("/v1/status").json()["screening"] == "SERVING_STATE_SERVING"
    assert http.post("/v1/Admin/SelfTest").json()["passed"] is True
    assert http.head("/v1/model").status_code == 200


def test_vectors_are_the_numbers_that_grpc_gives(http: httpx.Client, door: RunningServer) -> None:
    answer = http.post("/v1/embed", data={"kinds": "joint"}, files={"image": photograph(1)}).json()
    with door.client() as client:
        (expected,) = client.embed([Study(image=photograph(1))]).results
    read = json_format.ParseDict(answer, screening_pb2.EmbedResponse())
    assert list(read.results[0].embedding.vectors[0].values) == list(expected.embedding.vectors[0].values)


def test_a_call_is_logged_under_its_name_as_over_grpc(http: httpx.Client, door: RunningServer) -> None:
    answer = http.post("/v1/grade", files={"image": photograph(1)}, headers={"x-request-id": "visit-9.left"})
    assert answer.headers["x-request-id"] == "visit-9.left"
    door.wait_for("[visit-9.left]: Grade OK")
    refused = http.post("/v1/grade", json={}, headers={"x-request-id": "empty"})
    assert (refused.status_code, refused.json()["requestId"]) == (400, "empty")
    door.wait_for("[empty]: Grade InputError")
    forged = http.get("/v1/model", headers={"x-request-id": "a%0aERROR forged"})
    assert len(forged.headers["x-request-id"]) == 32


def test_a_model_is_asked_for_by_its_header(http: httpx.Client) -> None:
    assert http.get("/v1/model", headers={"x-foveal-model": "default"}).status_code == 200
    refused = http.get("/v1/model", headers={"x-foveal-model": "another"})
    assert (refused.status_code, refused.json()["reason"]) == (400, "INVALID_INPUT")


def test_health_needs_no_call(http: httpx.Client) -> None:
    assert http.get("/healthz").json() == {"status": "SERVING"}
    assert http.get("/readyz").json() == {"status": "SERVING"}
    assert http.get("/readyz").headers["cache-control"] == "no-store"

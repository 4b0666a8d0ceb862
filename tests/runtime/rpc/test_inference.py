"""The Open Inference Protocol over gRPC and HTTP: the grades that `Screening` gives, and none that passes for a healthy eye."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from bundles import add_trust, photograph, write_bundle
from kserve import arrays, request_of
from servers import RunningServer

from foveal_runtime._proto import open_inference_grpc_pb2 as inference
from foveal_runtime._proto import open_inference_grpc_pb2_grpc as inference_grpc
from foveal_runtime.client.channel import open_channel
from foveal_runtime.engine.answers import VectorKind
from foveal_runtime.rpc.inference_tensors import grade_outputs, graded_tensors, studies_of
from foveal_runtime.rpc.messages import KIND_TO
from foveal_runtime.rpc.status import error_of_rpc
from foveal_runtime.rpc.tensors import packed
from foveal_runtime.study.labels import SCHEME_CLASSES
from foveal_runtime.study.study import Record, Sex, Study

pytest.importorskip("starlette")


def black() -> bytes:
    """A photograph that can't be graded."""
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (320, 240)).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with RunningServer(write_bundle(tmp_path_factory.mktemp("kserve") / "b"), "--http", "127.0.0.1:0") as running:
        yield running


@pytest.fixture(scope="module")
def stub(server: RunningServer) -> Iterator[Any]:
    with open_channel(server.address) as channel:
        yield inference_grpc.GRPCInferenceServiceStub(channel)  # type: ignore[no-untyped-call]


@pytest.fixture(scope="module")
def http(server: RunningServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.http, timeout=30) as client:
        yield client


@pytest.mark.parametrize("raw", [False, True])
def test_tensors_hold_what_screening_says(server: RunningServer, stub: Any, raw: bool) -> None:
    inputs = {
        "image": [photograph(1), b"", photograph(2)],
        "note": [b"", b"drusen", b"haze"],
        "age_years": [61.0, float("nan"), 40.0],
    }
    response = stub.ModelInfer(request_of(raw=raw, sex=[b"female", b"", b""], **inputs), timeout=30)
    assert (response.model_name, response.id) == ("foveal", "visit-7")
    assert bool(response.raw_output_contents) is raw
    got = arrays(response)
    assert tuple(got) == grade_outputs(SCHEME_CLASSES)
    studies = [
        Study(image=photograph(1), record=Record(age_years=61, sex=Sex.FEMALE)),
        Study(note="drusen"),
        Study(image=photograph(2), note="haze", record=Record(age_years=40)),
    ]
    with server.client() as client:
        results = client.grade(studies).results
        model = client.model().model
    assert response.model_version == model.bundle_sha256[:12]
    assert got["verdict"] == [b"graded"] * 3
    assert got["reason"] == [b""] * 3
    for i, result in enumerate(results):
        for head in result.grade.graded.heads:
            row = got[f"{head.head}_probabilities"][i]
            np.testing.assert_allclose(row, [*(each.probability for each in head.classes), 0.0], atol=1e-6)
        assert got["referral"][i] in (b"refer", b"not_referable")


def test_what_has_no_grades_looks_healthy_to_no_program(stub: Any) -> None:
    response = stub.ModelInfer(request_of(image=[photograph(1), black(), b"junk"]), timeout=30)
    got = arrays(response)
    assert got["verdict"] == [b"graded", b"ungradable", b"error"]
    assert got["reason"] == [b"", b"TOO_DARK", b"INVALID_IMAGE"]
    assert got["referral"][1:] == [b"no_decision"] * 2
    for row in got["icdr_probabilities"][1:]:
        assert row.sum() == 1
        assert int(np.argmax(row)) == 5, "the likeliest class is none of the scheme's"
        assert row[0] == 0, "nor has the healthy one anything"
        assert row[2:].sum() >= 0.99, "who adds up what is referable finds it certain"
    labels = next(each for each in response.outputs if each.name == "icdr_probabilities").parameters["labels"].string_param
    assert labels.split("|")[5] == "no answer"
    assert len(labels.split("|")) == 6


def test_a_withheld_answer_has_no_probabilities_either(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "b")
    add_trust(bundle, limit=1e-6)
    with RunningServer(bundle, "--abstain", "out-of-distribution") as server, open_channel(server.address) as channel:
        stub: Any = inference_grpc.GRPCInferenceServiceStub(channel)  # type: ignore[no-untyped-call]
        got = arrays(stub.ModelInfer(request_of(image=[photograph(1)]), timeout=30))
    assert (got["verdict"], got["referral"]) == ([b"abstained"], [b"no_decision"])
    assert got["reason"] == [b"OUT_OF_DISTRIBUTION"]
    assert got["icdr_probabilities"].tolist() == [[0, 0, 0, 0, 0, 1]]


def test_vectors_come_when_they_are_asked_for_and_absent_ones_are_no_numbers(server: RunningServer, stub: Any) -> None:
    request = request_of(("vector_image", "verdict", "vector_joint"), image=[photograph(1), b""], note=[b"", b"haze"])
    response = stub.ModelInfer(request, timeout=30)
    assert [each.name for each in response.outputs] == ["vector_image", "verdict", "vector_joint"]
    got = arrays(response)
    assert np.isnan(got["vector_image"][1]).all()
    kinds = (VectorKind.IMAGE, VectorKind.JOINT)
    with server.client() as client:
        results = client.embed([Study(image=photograph(1)), Study(note="haze")], kinds=kinds).results
    for i, result in enumerate(results):
        for vector in result.embedding.vectors:
            name = next(f"vector_{kind.value}" for kind in kinds if KIND_TO[kind] == vector.kind)
            np.testing.assert_allclose(got[name][i], vector.values, atol=1e-6)


def test_metadata_names_every_tensor_that_is_taken_and_given(stub: Any, http: httpx.Client) -> None:
    assert stub.ServerLive(inference.ServerLiveRequest(), timeout=30).live
    assert stub.ServerReady(inference.ServerReadyRequest(), timeout=30).ready
    assert stub.ModelReady(inference.ModelReadyRequest(name="foveal"), timeout=30).ready
    metadata = stub.ModelMetadata(inference.ModelMetadataRequest(name="foveal"), timeout=30)
    assert {each.name: each.datatype for each in metadata.inputs}["image"] == "BYTES"
    shapes = {each.name: tuple(each.shape) for each in metadata.outputs}
    assert shapes["icdr_probabilities"] == (-1, 6)
    assert shapes["vector_joint"] == (-1, 256)
    assert stub.ServerMetadata(inference.ServerMetadataRequest(), timeout=30).name == "foveal"
    over_http = http.get("/v2/models/foveal").json()
    assert over_http["versions"] == list(metadata.versions)
    assert {each["name"]: tuple(each["shape"]) for each in over_http["outputs"]} == shapes
    version = metadata.versions[0]
    assert http.get(f"/v2/models/foveal/versions/{version}/ready").status_code == 200
    assert http.get("/v2").json()["extensions"] == ["binary_tensor_data"]
    assert http.get("/v2/health/live").status_code == http.get("/v2/health/ready").status_code == 200


@pytest.mark.parametrize("name", ["another", "default ", "canary"])
def test_a_model_that_is_none_is_not_found(stub: Any, http: httpx.Client, name: str) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        stub.ModelMetadata(inference.ModelMetadataRequest(name=name), timeout=30)
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND
    assert http.get(f"/v2/models/{name}").status_code == 404
    assert http.get("/v2/models/foveal/versions/0000000000000000").status_code == 404


def code_and_reason(stub: Any, request: Any) -> tuple[str, str]:
    with pytest.raises(grpc.RpcError) as refused:
        stub.ModelInfer(request, timeout=30)
    return refused.value.code().name, error_of_rpc(refused.value, "").reason


def changed(**fields: Any) -> Any:
    request = request_of(image=[photograph(1)])
    for name, value in fields.items():
        setattr(request.inputs[0], name, value)
    return request


def test_requests_that_do_not_fit_say_so_and_quote_nothing(stub: Any) -> None:
    two = request_of(image=[photograph(1)], note=[b"a", b"b"])
    raw = request_of(raw=True, image=[photograph(1)])
    raw.raw_input_contents[0] = raw.raw_input_contents[0][:-1]
    reshaped = request_of(image=[photograph(1)])
    reshaped.inputs[0].shape[:] = [2]
    huge = request_of(image=[photograph(1)])
    huge.inputs[0].shape[:] = [1 << 40]
    flat = request_of(image=[photograph(1)])
    flat.inputs[0].shape[:] = []
    for request in (
        inference.ModelInferRequest(model_name="foveal"), two, raw, reshaped, huge, flat, changed(name="photo"),
        changed(datatype="FP32"), changed(datatype="COMPLEX"), request_of(note=[b"\xff"]),
        request_of(note=[b"x"], sex=[b"Jane Doe"]),
        request_of(("icdr",), note=[b"x"]), request_of(("verdict", "verdict"), note=[b"x"]), request_of(note=[b"x"] * 257),
        request_of(note=[b"x"], image=[b"x"], age_years=[1.0, 2.0]),
    ):  # fmt: skip
        code, reason = code_and_reason(stub, request)
        assert code == "INVALID_ARGUMENT", request.inputs
        assert reason in ("INVALID_INPUT", "INVALID_STUDY")
    request = request_of(note=[b"x"])
    request.parameters["operating_point"].string_param = "none"
    assert code_and_reason(stub, request)[0] == "INVALID_ARGUMENT"


def test_one_study_that_fails_fails_the_call_with_its_own_reason(stub: Any) -> None:
    assert code_and_reason(stub, request_of(image=[b"junk"])) == ("INVALID_ARGUMENT", "INVALID_IMAGE")
    assert code_and_reason(stub, request_of(image=[b""])) == ("INVALID_ARGUMENT", "INVALID_STUDY")


def infer(http: httpx.Client, document: Any, raw: bytes = b"") -> httpx.Response:
    head = json.dumps(document).encode()
    headers = {"inference-header-content-length": str(len(head))} if raw else {}
    return http.post("/v2/models/foveal/infer", content=head + raw, headers=headers)


def test_http_takes_and_gives_json_and_raw_tensors_alike(stub: Any, http: httpx.Client) -> None:
    expected = arrays(stub.ModelInfer(request_of(image=[photograph(1)], age_years=[61.0]), timeout=30))
    raw = packed("BYTES", [photograph(1)])
    text = base64.b64encode(photograph(1)).decode()
    age = {"name": "age_years", "datatype": "FP64", "shape": [1, 1], "data": [[61]]}
    as_json = {"name": "image", "datatype": "BYTES", "shape": [1], "data": [text]}
    as_raw = {"name": "image", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": len(raw)}}
    for document, behind in (({"id": "a", "inputs": [as_json, age]}, b""), ({"id": "a", "inputs": [age, as_raw]}, raw)):
        answer = infer(http, document, behind)
        assert answer.status_code == 200, answer.text
        outputs = {each["name"]: each for each in answer.json()["outputs"]}
        assert tuple(outputs) == grade_outputs(SCHEME_CLASSES)
        assert outputs["verdict"]["data"] == ["graded"]
        np.testing.assert_allclose(outputs["icdr_probabilities"]["data"], expected["icdr_probabilities"].ravel(), atol=1e-9)
        binary = infer(http, {**document, "parameters": {"binary_data_output": True}}, behind)
        length = int(binary.headers["inference-header-content-length"])
        head, rest = json.loads(binary.content[:length]), binary.content[length:]
        assert sum(each["parameters"]["binary_data_size"] for each in head["outputs"]) == len(rest)
        sizes = [each["parameters"]["binary_data_size"] for each in head["outputs"]]
        icdr = rest[sum(sizes[:3]) : sum(sizes[:4])]
        assert np.frombuffer(icdr).tolist() == outputs["icdr_probabilities"]["data"]
    wanted = {
        "inputs": [as_json],
        "outputs": [{"name": "vector_text"}, {"name": "verdict", "parameters": {"binary_data": True}}],
    }
    mixed = infer(http, wanted)
    length = int(mixed.headers["inference-header-content-length"])
    vector, verdict = json.loads(mixed.content[:length])["outputs"]
    assert vector["data"] == [None] * 256
    assert "data" not in verdict
    assert mixed.content[length:] == packed("BYTES", [b"graded"])


IMAGE = {"name": "note", "datatype": "BYTES", "shape": [1], "data": ["Jane Doe"]}
INPUTS: list[Any] = [
    {}, 1, [1], [{}] * 33, [{**IMAGE, "name": 1}], [{**IMAGE, "name": "\ud800\U0001f600"}], [{**IMAGE, "shape": [1.0]}],
    [{**IMAGE, "shape": [True]}], [{**IMAGE, "shape": [1, 2]}], [{**IMAGE, "data": "x"}], [{**IMAGE, "data": [[[["x"]]]]}],
    [{**IMAGE, "data": [1]}], [{**IMAGE, "data": ["\ud800"]}], [{**IMAGE, "datatype": "FP64"}], [{**IMAGE, "name": "image"}],
    [{**IMAGE, "parameters": {"binary_data_size": 5}}], [{**IMAGE, "parameters": {"binary_data_size": -1}}],
    [{"name": "age_years", "datatype": "INT8", "shape": [1], "data": [1e9]}],
    [{"name": "age_years", "datatype": "UINT8", "shape": [1], "data": [-1]}],
]  # fmt: skip
OTHERS: list[Any] = [{"outputs": [{"name": "x"}]}, {"parameters": {"a": []}}, {"parameters": {"a": 2**70}}, {"id": 7}]
WRONG = [[], *({"inputs": each} for each in INPUTS), *({"inputs": [IMAGE], **each} for each in OTHERS)]


@pytest.mark.parametrize("i", range(len(WRONG)))
def test_http_requests_that_do_not_fit_say_so_and_quote_nothing(http: httpx.Client, i: int) -> None:
    answer = infer(http, WRONG[i])
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"] == answer.json()["detail"]
    assert "Jane" not in answer.text


def test_raw_bytes_that_no_input_names_are_refused(http: httpx.Client) -> None:
    assert infer(http, {"inputs": [IMAGE]}, b"left").status_code == 400
    for length in ("x", "-1", "99999999"):
        answer = http.post("/v2/models/foveal/infer", content=b"{}", headers={"inference-header-content-length": length})
        assert answer.status_code == 400


def test_every_row_has_the_same_classes_whatever_was_trained() -> None:
    from foveal_runtime._proto import screening_pb2

    tensors = {each.name: each for each in graded_tensors([screening_pb2.GradeResult(grade={"graded": {}})], SCHEME_CLASSES)}
    assert tensors["icdr_probabilities"].values == [0, 0, 0, 0, 0, 1]
    assert tensors["referral"].values == [b"no_decision"]
    (study,) = studies_of({"note": [b"x"], "insulin": [b"TRUE"], "diabetes_years": [float("nan")]})
    assert study.record.insulin
    assert not study.record.HasField("diabetes_years")

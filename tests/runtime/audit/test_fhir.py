"""Records as FHIR R4 AuditEvents: what the standard asks for, by its own model where that is installed."""

from __future__ import annotations

from typing import Any

import pytest

from foveal_runtime.audit.fhir import audit_event

CHAIN = {"sequence": 7, "time": "2026-11-26T16:20:01.123Z", "previous": "0" * 64, "hash": "ab" * 32}
GRADED: dict[str, Any] = {
    **CHAIN,
    "call": "Grade",
    "request_id": "visit-7",
    "caller": {"peer": "ipv4:10.0.0.7", "name": "clinic-a"},
    "role": "grade",
    "bundle": {"name": "edge", "sha256": "cd" * 32},
    "photograph": "ef" * 32,
    "alone": True,
    "modalities": ["image"],
    "verdict": "graded",
    "icdr": 2,
    "sdrg": None,
    "referral": "refer",
    "probability": 0.81,
    "operating_point": {"name": "screening", "threshold": 0.3},
}
REJECTED = {
    **CHAIN,
    "call": "Grade",
    "request_id": "x",
    "caller": {"peer": "unix:", "name": ""},
    "role": "",
    "photograph": None,
    "verdict": "rejected",
    "reason": "INVALID_IMAGE",
}
STARTED = {
    **CHAIN,
    "call": "server",
    "verdict": "started",
    "foveal": "0.1.0",
    "settings": {"evidence": ["proven"], "min_gradable": None},
}
READ = {**REJECTED, "call": "Search", "verdict": "searched", "reason": "", "query": "id", "hits": 3}
RECORDS = {"graded": GRADED, "rejected": REJECTED, "started": STARTED, "read": READ}


@pytest.mark.parametrize("record", RECORDS.values(), ids=RECORDS)
def test_what_the_standard_requires_is_there(record: dict[str, Any]) -> None:
    """Cardinalities 1..1 and 1..* of https://hl7.org/fhir/R4/auditevent.html."""
    event = audit_event(record)
    assert event["resourceType"] == "AuditEvent"
    assert event["type"]["code"]
    assert event["type"]["system"]
    assert event["recorded"] == record["time"]
    assert event["agent"]
    assert all(isinstance(agent["requestor"], bool) for agent in event["agent"])
    assert event["source"]["observer"]
    assert all("what" in entity and not ("name" in entity and "query" in entity) for entity in event["entity"])  # sev-1
    assert all(detail["valueString"] for entity in event["entity"] for detail in entity.get("detail", []))


@pytest.mark.parametrize("record", RECORDS.values(), ids=RECORDS)
def test_the_model_of_fhir_resources_accepts_it(record: dict[str, Any]) -> None:
    model = pytest.importorskip("fhir.resources.R4B.auditevent").AuditEvent
    event = audit_event(record)
    parsed = model.model_validate(event)
    assert parsed.agent[0].requestor is event["agent"][0]["requestor"]


def test_an_event_says_who_what_and_how_it_went() -> None:
    event = audit_event(GRADED)
    assert (event["action"], event["outcome"], event["type"]["code"]) == ("E", "0", "110100")
    (agent,) = event["agent"]
    assert (agent["who"], agent["altId"], agent["network"]) == (
        {"display": "clinic-a"},
        "ipv4:10.0.0.7",
        {"address": "10.0.0.7", "type": "2"},
    )
    photograph, bundle, record = event["entity"]
    assert [each["what"]["identifier"]["value"] for each in (photograph, bundle, record)] == ["ef" * 32, "cd" * 32, "ab" * 32]
    details = {each["type"]: each["valueString"] for each in record["detail"]}
    assert details.items() >= {"icdr": "2", "referral": "refer", "operating_point": "name screening, threshold 0.3"}.items()
    refused = audit_event(REJECTED)
    assert (refused["outcome"], refused["outcomeDesc"]) == ("4", "INVALID_IMAGE")
    assert audit_event(READ)["type"]["code"] == "110112"
    assert audit_event(STARTED)["agent"][0]["requestor"] is False

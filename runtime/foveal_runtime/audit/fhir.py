"""A record as an AuditEvent of HL7 FHIR R4 (https://hl7.org/fhir/R4/auditevent.html). Reads no trail.

What FHIR asks for is there: type, recorded, agent with requestor, source with observer. Coded values are those that FHIR names;
the call and its verdict are subtypes of a system of foveal's own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

SUBTYPES = "https://foveal.dev/fhir/audit-subtype"
HASHES = "https://foveal.dev/fhir/sha256"
_DICOM = "http://dicom.nema.org/resources/ontology/DCM"
_SOURCE_TYPES = "http://terminology.hl7.org/CodeSystem/security-source-type"
_ENTITY_TYPES = "http://terminology.hl7.org/CodeSystem/audit-entity-type"
_SERVER = "server"
_QUERY, _ACTIVITY = ("110112", "Query"), ("110100", "Application Activity")
_ACTIONS = {
    "Upsert": "C", "UpsertStream": "C", "UpdateFacts": "U", "Delete": "D", "DeleteByFilter": "D",
    "Get": "R", "List": "R", "Search": "E",
}  # fmt: skip
"""By call; the others execute."""
_QUERIES = ("Get", "List", "Search")
_SUCCESS, _MINOR, _SERIOUS = "0", "4", "8"
_APART = ("sequence", "time", "call", "request_id", "caller", "role", "bundle", "photograph", "verdict", "previous", "hash")
"""Keys with a place of their own; the others are details."""


def audit_event(record: Mapping[str, Any]) -> dict[str, Any]:
    """The AuditEvent of a record of the trail."""
    call, verdict = record["call"], record["verdict"]
    code, display = _QUERY if call in _QUERIES else _ACTIVITY
    event: dict[str, Any] = {
        "resourceType": "AuditEvent",
        "id": f"{record['sequence']}-{record['hash'][:16]}",
        "type": {"system": _DICOM, "code": code, "display": display},
        "subtype": [{"system": SUBTYPES, "code": call}, {"system": SUBTYPES, "code": verdict}],
        "action": _ACTIONS.get(call, "E"),
        "recorded": record["time"],
        "outcome": _SERIOUS if verdict == "interrupted" else _MINOR if verdict == "rejected" else _SUCCESS,
        "agent": [_agent(record)],
        "source": {
            "observer": {"display": "foveal"},
            "type": [{"system": _SOURCE_TYPES, "code": "4", "display": "Application Server"}],
        },
        "entity": [*_objects(record), _trail_entry(record)],
    }
    if record.get("reason"):
        event["outcomeDesc"] = record["reason"]
    return event


def _agent(record: Mapping[str, Any]) -> dict[str, Any]:
    caller = record.get("caller")
    if caller is None:
        return {"who": {"display": "foveal"}, "requestor": False}
    agent: dict[str, Any] = {"who": {"display": caller["name"] or caller["peer"]}, "requestor": True}
    if caller["name"]:
        agent["altId"] = caller["peer"]
    if record.get("role"):
        agent["role"] = [{"text": record["role"]}]
    address = re.fullmatch(r"ipv[46]:(.+)", caller["peer"])
    if address:
        agent["network"] = {"address": address[1], "type": "2"}
    return agent


def _objects(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The photograph and the bundle."""
    found = []
    if record.get("photograph"):
        found.append(_object("photograph", record["photograph"], {}))
    if record.get("bundle"):
        found.append(_object("bundle", record["bundle"]["sha256"], {"name": record["bundle"]["name"]}))
    return found


def _trail_entry(record: Mapping[str, Any]) -> dict[str, Any]:
    """What else the record says, under its own hash."""
    details = {key: value for key, value in record.items() if key not in _APART and value not in (None, "")}
    chain = {"sequence": record["sequence"], "previous": record["previous"], "request_id": record.get("request_id")}
    return _object("record", record["hash"], {**chain, **details})


def _object(name: str, sha256: str, details: Mapping[str, Any]) -> dict[str, Any]:
    entity: dict[str, Any] = {
        "what": {"identifier": {"system": HASHES, "value": sha256}},
        "type": {"system": _ENTITY_TYPES, "code": "2", "display": "System Object"},
        "name": name,
    }
    detail = [{"type": key, "valueString": _text(value)} for key, value in details.items() if value not in (None, "")]
    return {**entity, "detail": detail} if detail else entity


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_text(each)}" for key, each in value.items())
    if isinstance(value, list):
        return ", ".join(map(_text, value)) or "none"
    return str(value).lower() if isinstance(value, bool) else str(value)

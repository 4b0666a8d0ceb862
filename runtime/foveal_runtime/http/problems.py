"""Errors over HTTP: RFC 9457 documents (`application/problem+json`) of the same statuses that gRPC answers with."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from google.rpc import code_pb2, error_details_pb2, status_pb2

from foveal_runtime.errors import MediaTypeError, MessageSizeError

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:foveal:error:"
"""Of a problem's `type`; the reason follows."""
_STATUS_OF: Mapping[str, int] = {
    "CANCELLED": 499,
    "INVALID_ARGUMENT": 400,
    "DEADLINE_EXCEEDED": 504,
    "NOT_FOUND": 404,
    "PERMISSION_DENIED": 403,
    "UNAUTHENTICATED": 401,
    "RESOURCE_EXHAUSTED": 429,
    "FAILED_PRECONDITION": 400,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
}
"""Google's table (google/rpc/code.proto); what is not in it is 500."""
_STATUS_OF_REASON = {MessageSizeError.reason: 413, MediaTypeError.reason: 415}
"""Where HTTP has a status of its own."""
STATUSES = tuple(sorted({*_STATUS_OF.values(), *_STATUS_OF_REASON.values(), 500} - {499, 501}))
"""That a call may end with, beside 200."""


def problem_of(status: status_pb2.Status, request_id: str = "") -> tuple[int, dict[str, str], bytes]:
    """An error as HTTP tells it.

    Args:
        status: of the call.
        request_id: of the call; empty where it has none.

    Returns:
        HTTP's status, headers, and the document.
    """
    code = code_pb2.Code.Name(status.code)
    reason, document = code, dict[str, Any]()
    headers = {"content-type": MEDIA_TYPE}
    for detail in status.details:
        info, bad, retry = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
        if detail.Unpack(info):
            reason = info.reason
            document["domain"] = info.domain
        elif detail.Unpack(bad):
            document["fieldViolations"] = [
                {"field": each.field, "description": each.description, "reason": each.reason} for each in bad.field_violations
            ]
        elif detail.Unpack(retry):
            after_s = retry.retry_delay.ToNanoseconds() / 1e9
            document["retryAfterSeconds"] = after_s
            headers["retry-after"] = str(max(1, math.ceil(after_s)))
    number = _STATUS_OF_REASON.get(reason) or _STATUS_OF.get(code, 500)
    if number == HTTPStatus.UNAUTHORIZED:
        headers["www-authenticate"] = "Bearer"
    return number, headers, _document(number, reason, code, status.message, request_id, document)


def problem(number: int, reason: str, detail: str) -> tuple[int, dict[str, str], bytes]:
    """An error of HTTP alone: a route that is none, a method that a route has not, a page that may not call.

    Args:
        number: HTTP's status.
        reason: as in `ErrorInfo.reason`.
        detail: in words.
    """
    return number, {"content-type": MEDIA_TYPE}, _document(number, reason, "", detail, "", {})


def _document(number: int, reason: str, code: str, detail: str, request_id: str, more: Mapping[str, Any]) -> bytes:
    known = {each.value: each.phrase for each in HTTPStatus}
    document = {
        "type": TYPE_PREFIX + reason,
        "title": known.get(number, "Client Closed Request"),
        "status": number,
        "detail": detail,
        "reason": reason,
        **({"code": code} if code else {}),
        **({"requestId": request_id} if request_id else {}),
        **more,
        # What clients of the Open Inference Protocol read.
        "error": detail,
    }
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()

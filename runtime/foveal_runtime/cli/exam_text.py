"""A visit's answer as text and as a JSON document. Judges nothing: the server's rule does (`study.exam`).

Whatever does not clear the patient says so in words, and why.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from foveal_runtime._proto import screening_pb2
from foveal_runtime.cli.grade_text import said
from foveal_runtime.cli.layout import printable
from foveal_runtime.cli.output import eye_name, grade_document, model_document
from foveal_runtime.rpc.grade_messages import icdr_from
from foveal_runtime.rpc.status import error_of

_REFERRALS = {
    screening_pb2.REFERRAL_REFER: "refer",
    screening_pb2.REFERRAL_NOT_REFERABLE: "not_referable",
    screening_pb2.REFERRAL_UNDECIDED: "undecided",
}
"""By the contract's number; what is not here is no decision."""

Photographs = Sequence[tuple[str, Path]]
"""Eye and file of every photograph, in the order they were sent."""


def exam_document(photographs: Photographs, response: Any) -> dict[str, Any]:
    """The answer as one JSON document; a grade that there is none of is null, never 0."""
    patient = response.patient
    rows = []
    for (eye, file), result in zip(photographs, response.results, strict=True):
        failed = result.WhichOneof("outcome") == "error"
        rows.append({"eye": eye, **grade_document(file, error_of(result.error) if failed else result, response.model)})
    return {
        "id": response.id,
        "photographs": rows,
        "eyes": [_eye_document(photographs, each) for each in response.eyes],
        "patient": {
            "icdr": icdr_from(patient.icdr),
            "referral": _REFERRALS.get(patient.referral),
            "cleared": _cleared(patient),
            "deciding_eye": eye_name(patient.deciding_eye) if patient.deciding_eye else None,
            "complete": patient.complete,
            "says": patient_text(photographs, response),
        },
        "model": model_document(response.model),
    }


def _eye_document(photographs: Photographs, eye: Any) -> dict[str, Any]:
    return {
        "eye": eye_name(eye.eye),
        "gradable": eye.gradable,
        "icdr": icdr_from(eye.icdr),
        "referral": _REFERRALS.get(eye.referral),
        "probability": eye.referable_probability if eye.HasField("referable_probability") else None,
        "deciding_file": str(_deciding(photographs, eye)) if eye.HasField("deciding_result") else None,
    }


def exam_text(photographs: Photographs, response: Any) -> str:
    """A line a photograph, a line an eye, and the patient's."""
    lines = []
    for (eye, file), result in zip(photographs, response.results, strict=True):
        failed = result.WhichOneof("outcome") == "error"
        words = f"FAILED: {error_of(result.error)}" if failed else said(result.grade)
        lines.append(f"{eye} {printable(file)}: {words}")
    lines += [_eye_text(photographs, each) for each in response.eyes]
    return "\n".join([*lines, f"patient: {patient_text(photographs, response)}"]) + "\n"


def _eye_text(photographs: Photographs, eye: Any) -> str:
    name = f"{eye_name(eye.eye)} eye"
    if not eye.gradable:
        return f"{name}: NOT GRADED: none of its photographs could be graded"
    by = f"decided by {printable(_deciding(photographs, eye))}" if eye.HasField("deciding_result") else "decided by no file"
    referral = {"refer": "refer", "not_referable": "not referable"}.get(_REFERRALS.get(eye.referral, ""), "NO DECISION")
    chance = f" (p {eye.referable_probability:.3f})" if eye.HasField("referable_probability") else ""
    return f"{name}: ICDR {icdr_from(eye.icdr)}, {referral}{chance}; {by}"


def patient_text(photographs: Photographs, response: Any) -> str:
    """The patient's verdict in one line; only a whole visit without a referral clears."""
    patient = response.patient
    grade, decided = icdr_from(patient.icdr), eye_name(patient.deciding_eye)
    lacking = _lacking(photographs, response)
    match _REFERRALS.get(patient.referral):
        case "refer":
            rest = f"; {lacking}" if lacking else ""
            return f"REFER: ICDR {grade}, decided by the {decided} eye{rest}"
        case "not_referable" if patient.complete:
            failed = sum(result.WhichOneof("outcome") == "error" for result in response.results)
            rest = f"; {failed} of {len(photographs)} photographs failed and are no part of it" if failed else ""
            return f"not referable: nothing referable was found in either eye (worst ICDR {grade}, {decided} eye){rest}"
        case "undecided":
            return f"UNDECIDED, not cleared: nothing referable was found in what could be graded, but {lacking}"
        case _:
            return f"NO VERDICT, not cleared: {lacking or 'the server decided nothing'}"


def _cleared(patient: Any) -> bool:
    return bool(patient.referral == screening_pb2.REFERRAL_NOT_REFERABLE and patient.complete)


def _lacking(photographs: Photographs, response: Any) -> str:
    """Which eyes were not seen, and what to do about it; empty when both were."""
    given = {eye for eye, _ in photographs}
    seen = {eye_name(eye.eye) for eye in response.eyes if eye.gradable}
    parts = []
    for eye in ("right", "left"):
        if eye not in given:
            parts.append(f"no photograph of the {eye} eye was given (add one)")
        elif eye not in seen:
            parts.append(f"no photograph of the {eye} eye could be graded (take it again)")
    return " and ".join(parts)


def _deciding(photographs: Photographs, eye: Any) -> Path:
    place: int = eye.deciding_result
    return photographs[place][1]

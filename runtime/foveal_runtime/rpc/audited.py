"""Answers as records of the audit trail, written before they leave. Decides nothing and writes no file: `audit.trail` does.

A record says when, by whom and which call; of a study the SHA-256 of its photograph, which modalities it held, what answered
and what it said. No id, note, record or reference of a patient, no name of an entry, no vector, no filter.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from google.rpc import error_details_pb2

from foveal_runtime import __version__
from foveal_runtime._proto import screening_pb2, study_pb2
from foveal_runtime.audit.trail import Trail
from foveal_runtime.errors import FovealError
from foveal_runtime.lifecycle import Event, tell
from foveal_runtime.rpc import access, request_id, shares
from foveal_runtime.rpc.grade_messages import ICDR_OF, SDRG_TO
from foveal_runtime.rpc.permissions import ROLES
from foveal_runtime.rpc.reading import Sent

if TYPE_CHECKING:
    from pathlib import Path

    from foveal_runtime.bundle.bundle import Bundle
    from foveal_runtime.serving.config import ServeConfig

_SDRG_OF = {number: grade for grade, number in SDRG_TO.items()}
RECORDED = {
    "Screening": ("Grade", "GradeExam", "GradeStream", "Embed", "EmbedStream"),
    "Archive": ("Upsert", "UpsertStream", "UpdateFacts", "Delete", "DeleteByFilter", "Get", "List", "Search"),
}
"""Calls that leave records. Others give no result of a study and change none."""
_ROLE_OF = {call: role.value for calls in ROLES.values() for call, roles in calls.items() if len(roles) == 1 for role in roles}


@dataclass(frozen=True, kw_only=True, slots=True)
class Caller:
    """Whom a record names."""

    peer: str
    """Name in the client's certificate, else the machine's address."""
    name: str = ""
    """Of the token that was shown, or of the row of the certificate; empty where none is asked for."""


def current_caller() -> Caller:
    """The caller of the call that runs."""
    return Caller(peer=shares.current().name, name=access.current())


class Audited:
    """Writes records for the calls of one server; without a trail it does nothing."""

    def __init__(self, trail: Trail | None = None, caller: Callable[[], Caller] = current_caller) -> None:
        """Args:
        trail: to write in; None is none.
        caller: whose call runs.
        """
        self._trail, self._caller = trail, caller

    def check(self) -> None:
        """Raises:
        AuditError: nothing may be answered now.
        """
        if self._trail is not None:
            self._trail.check()

    @property
    def refusal(self) -> str:
        """Why nothing may be answered now; empty where it may."""
        if self._trail is None or not self._trail.failure:
            return ""
        return f"the audit trail can't be written ({self._trail.failure})"

    async def graded(
        self,
        call: str,
        bundle: Bundle | None,
        answers: Iterable[tuple[Sent, Any]],
        point: str = "",
        exam: screening_pb2.GradeExamResponse | None = None,
    ) -> None:
        """Record what is answered to studies that were to be graded.

        Args:
            call: its name.
            bundle: that answers; None where none was asked.
            answers: what was sent of each study, and its `GradeResult`.
            point: name of the operating point that was to decide; empty is the default one.
            exam: of the patient whom they are of.

        Raises:
            AuditError: it could not be recorded, and must not be answered.
        """
        if self._trail is None:
            return
        bodies = [{**sent, "point": point, **_of_result(result)} for sent, result in answers]
        if exam is not None:
            bodies.append(_of_exam(exam))
        await self._write(call, bodies, bundle)

    async def embedded(self, call: str, bundle: Bundle | None, answers: Iterable[tuple[Sent, Any]]) -> None:
        """Record the vectors that are given of studies; arguments and error as in `graded`."""
        if self._trail is None:
            return
        bodies = [{**sent, **_refused_or("embedded", result)} for sent, result in answers]
        await self._write(call, bodies, bundle)

    async def stored(self, call: str, bundle: Bundle | None, answers: Iterable[tuple[Sent, Any]]) -> None:
        """Record what became of entries, each an `UpsertResult`; arguments and error as in `graded`."""
        if self._trail is None:
            return
        bodies = [{**sent, **_refused_or("stored", result)} for sent, result in answers]
        await self._write(call, bodies, bundle)

    async def done(self, call: str, verdict: str, bundle: Bundle | None = None, **facts: str | int | bool | None) -> None:
        """Record a call of the archive.

        Args:
            call: its name.
            verdict: `asked` before a change is made, else what was done.
            bundle: that embedded a query.
            facts: counts and hashes.

        Raises:
            AuditError: as in `graded`.
        """
        if self._trail is not None:
            await self._write(call, [{"verdict": verdict, **facts}], bundle)

    async def _write(self, call: str, bodies: Sequence[dict[str, Any]], bundle: Bundle | None) -> None:
        assert self._trail is not None
        caller = self._caller()
        whose = {
            "call": call,
            "request_id": request_id.current(),
            "caller": {"peer": caller.peer, "name": caller.name},
            "role": _ROLE_OF[call] if caller.name else "",
            **({} if bundle is None else {"bundle": bundle_ref(bundle)}),
        }
        await asyncio.wrap_future(self._trail.append([{**whose, **body} for body in bodies]))


def bundle_ref(bundle: Bundle) -> dict[str, str]:
    """Which bundle, by name and by hash."""
    return {"name": bundle.path.name, "sha256": bundle.sha256}


def begin_trail(folder: Path, config: ServeConfig, min_gradable: float | None) -> Trail:
    """Open a server's trail, whose first record then says what its answers depend on beside the bundle.

    Args:
        folder: of the trail.
        config: of the server.
        min_gradable: its threshold of the gradability check; None is the check's own.

    Raises:
        ConfigError: it can't be written, or another server writes it.
        CheckFailed: its chain is broken.
    """
    trail = Trail(folder)
    settings = {
        "operating_point": config.operating_point,
        "evidence": sorted(config.given),
        "abstain": sorted(config.abstain),
        "min_gradable": min_gradable,
        "max_image_pixels": config.max_image_pixels,
    }
    torn = {"torn_bytes": trail.torn_bytes} if trail.torn_bytes else {}
    trail.note({"call": "server", "verdict": "started", "foveal": __version__, "settings": settings, **torn})
    if torn:
        cut = f"an unfinished record of a crash ({trail.torn_bytes} bytes), never answered for, was cut off the audit trail"
        tell(Event.AUDIT_TORN, cut, level=logging.WARNING, bytes=trail.torn_bytes)
    return trail


def _of_result(result: Any) -> dict[str, Any]:
    """What a `GradeResult` says."""
    if result.HasField("error"):
        return {"verdict": "rejected", "reason": reason_of(result.error)}
    grade = result.grade
    body: dict[str, Any] = {
        "modalities": [study_pb2.Modality.Name(m).removeprefix("MODALITY_").lower() for m in grade.modalities],
        "verdict": grade.WhichOneof("verdict") or "unknown",
    }
    if grade.HasField("ungradable"):
        body["reason"] = screening_pb2.QualityStatus.Name(grade.ungradable.reason).removeprefix("QUALITY_STATUS_")
    elif grade.HasField("abstained"):
        body["reason"] = grade.abstained.reason
    elif grade.HasField("graded"):
        graded, basis = grade.graded, grade.graded.referral_basis
        body |= {
            "icdr": ICDR_OF.get(graded.icdr),
            "sdrg": _SDRG_OF.get(graded.sdrg),
            "referral": referral_word(graded.referral),
        }
        if graded.HasField("referral_basis"):
            point = basis.operating_point
            body |= {"probability": basis.probability, "operating_point": {"name": point.name, "threshold": point.threshold}}
    return body


def _of_exam(exam: screening_pb2.GradeExamResponse) -> dict[str, Any]:
    patient = exam.patient
    return {
        "verdict": "exam",
        "photographs": len(exam.results),
        "icdr": ICDR_OF.get(patient.icdr),
        "referral": referral_word(patient.referral),
        "complete": patient.complete,
    }


def _refused_or(verdict: str, result: Any) -> dict[str, Any]:
    """Of a result that holds an error or not."""
    return {"verdict": "rejected", "reason": reason_of(result.error)} if result.HasField("error") else {"verdict": verdict}


def reason_of(status: Any) -> str:
    """The reason in a status; `INTERNAL` where it has none."""
    info = error_details_pb2.ErrorInfo()
    return next((info.reason for detail in status.details if detail.Unpack(info)), FovealError.reason)


def referral_word(number: Any) -> str | None:
    """`refer`, `not_referable`, `undecided`; None for no decision."""
    return None if not number else str(screening_pb2.Referral.Name(number)).removeprefix("REFERRAL_").lower()

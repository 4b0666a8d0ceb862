"""foveal errors to `google.rpc.Status` and back. Knows no RPC."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from google.rpc import code_pb2, error_details_pb2, status_pb2

from foveal_runtime import errors
from foveal_runtime.errors import FovealError, OverloadedError, StudyError, UnavailableError

if TYPE_CHECKING:
    import grpc

DOMAIN = "foveal"
_RETRY_UNAVAILABLE_S = 1.0
_MOST_BYTES = 1024
"""Of a message, which travels three times in metadata; clients refuse more than 8 KB of that, and some messages name what the
caller wrote."""
_PATH = re.compile(r"^((studies|entries)\[\d+\]\.?)?((study|entry)\.?)?")
"""Where in a request a study stands; what follows is the field inside it."""


def status_of(error: Exception, *, path: str = "") -> status_pb2.Status:
    """The status an error is answered with.

    Args:
        error: anything else than a `FovealError` is our own bug, and is answered without its text.
        path: where in the request the study stands, for example `studies[3]`.
    """
    if not isinstance(error, FovealError):
        return status_pb2.Status(
            code=code_pb2.INTERNAL, message=f"internal error ({type(error).__name__}); see the server's log"
        )
    message = _shortened(str(error))
    status = status_pb2.Status(code=code_pb2.Code.Value(error.grpc_code), message=message)
    _add(status, error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN))
    if isinstance(error, StudyError):
        field = ".".join(part for part in (path, error.field if error.field != "study" else "") if part)
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=_shortened(field), description=message, reason=error.reason
        )
        _add(status, error_details_pb2.BadRequest(field_violations=[violation]))
    if isinstance(error, OverloadedError | UnavailableError):
        retry = error_details_pb2.RetryInfo()
        after_s = error.retry_after_s if isinstance(error, OverloadedError) else _RETRY_UNAVAILABLE_S
        retry.retry_delay.FromNanoseconds(int(after_s * 1e9))
        _add(status, retry)
    return status


def _shortened(text: str) -> str:
    data = text.encode(errors="replace")
    if len(data) <= _MOST_BYTES:
        return text
    begin, end = data[: _MOST_BYTES * 2 // 3], data[-_MOST_BYTES // 4 :]
    return f"{begin.decode(errors='ignore')} … {end.decode(errors='ignore')}"


def _add(status: status_pb2.Status, detail: object) -> None:
    status.details.add().Pack(detail)


def error_of(status: status_pb2.Status) -> FovealError:
    """The error a status stands for, as the client raises it: of the class with the same reason, else the same code."""
    reason, field, retry_s = "", "", 1.0
    for detail in status.details:
        info, bad, retry = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
        if detail.Unpack(info):
            reason = info.reason
        elif detail.Unpack(bad) and bad.field_violations:
            field = _PATH.sub("", bad.field_violations[0].field)
        elif detail.Unpack(retry):
            retry_s = retry.retry_delay.ToNanoseconds() / 1e9
    code = code_pb2.Code.Name(status.code)
    kinds = _kinds(FovealError)
    kind = next((k for k in kinds if k.reason == reason), None) or next((k for k in kinds if k.grpc_code == code), FovealError)
    if issubclass(kind, StudyError):
        return kind(status.message, field=field)
    if issubclass(kind, OverloadedError | UnavailableError):
        return kind(status.message, retry_after_s=retry_s)
    return kind(status.message)


def _kinds(root: type[FovealError]) -> list[type[FovealError]]:
    # Only the tree's own classes: a subclass made elsewhere may have another constructor.
    found = [root]
    for kind in root.__subclasses__():
        if kind.__module__ == errors.__name__:
            found += _kinds(kind)
    return found


def error_of_rpc(error: grpc.RpcError, address: str) -> FovealError:
    """The error a failed call stands for; a server that is not there gets a message with its address and the mend."""
    import grpc
    from grpc_status import rpc_status

    code = error.code()
    try:
        rich = rpc_status.from_call(error)
    except (ValueError, AttributeError):
        rich = None
    if rich is None:
        rich = _rich_of_trailers(error)
    if rich is not None and rich.details:
        return error_of(rich)
    details = error.details() or ""
    if code is grpc.StatusCode.UNAVAILABLE:
        return UnavailableError(
            f"no foveal server answers at {address} ({_short(details)}); start one with "
            f"`foveal serve BUNDLE --address {address.split(',')[0]}`, or name another with --address"
        )
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return errors.DeadlineError(f"{address} did not answer before the deadline; allow more time with --timeout")
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in details:
        # gRPC's own refusal, on either side.
        return errors.InputError(f"the message is too large ({_short(details)}); send fewer or smaller studies at once")
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return errors.PreconditionError(
            f"{address} has no such call ({_short(details)}); is it a foveal server of this version?"
        )
    plain = status_pb2.Status(code=code.value[0], message=_short(details))
    return error_of(plain)


def _rich_of_trailers(error: grpc.RpcError) -> status_pb2.Status | None:
    """grpc.aio's errors are no calls; their trailing metadata holds the same status."""
    trailers = getattr(error, "trailing_metadata", lambda: None)() or ()
    for key, value in trailers:
        if key == "grpc-status-details-bin":
            return status_pb2.Status.FromString(value)
    return None


def _short(details: str) -> str:
    return details.splitlines()[0][:200] if details else "no details"
